"""Keras's `mixed_precision` names: the number type that a layer computes in and the one its weights are kept in."""

from __future__ import annotations

from typing import Any

import numpy as np

from triarch import registry
from triarch.config import DTypePolicy, dtype_policy, set_dtype_policy
from triarch.serialization import deserialize_keras_object

registry.register("keras")(DTypePolicy)

__all__ = [
    "DTypePolicy",
    "Policy",
    "dtype_policy",
    "get",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]


def get(identifier: Any) -> DTypePolicy:
    """A policy from its name, its config, another policy or None (the global one)."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, dict):
        identifier = deserialize_keras_object(identifier)
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, type):  # NumPy's, or Python's
        identifier = np.dtype(identifier).name
    return DTypePolicy(identifier if isinstance(identifier, str) else str(identifier).removeprefix("torch."))


global_policy = dtype_policy
set_global_policy = set_dtype_policy
Policy = DTypePolicy
