"""Optimizers: rules that turn gradients into updates of the weights, and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from triarch import registry
from triarch.optimizers import schedules
from triarch.optimizers.adam import Adam, Adamax, AdamW, Nadam
from triarch.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from triarch.optimizers.base import Optimizer
from triarch.optimizers.constrained import apply_constraints
from triarch.optimizers.lion import Lion
from triarch.optimizers.sgd import SGD
from triarch.optimizers.torch_adapter import TorchOptimizer
from triarch.serialization import deserialize_keras_object, resolve, serialize_keras_object

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "TorchOptimizer",
    "apply_constraints",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

FAMILY = "keras.optimizers"


def get(identifier: Any) -> Optimizer | TorchOptimizer | torch.optim.Optimizer | None:
    """An optimizer from a name in any case, a config or a class; optimizers (torch's too) and None pass through."""
    if identifier is None or isinstance(identifier, (Optimizer, TorchOptimizer, torch.optim.Optimizer)):
        return identifier
    if isinstance(identifier, Mapping):
        found = deserialize(identifier)
    else:
        found = resolve(FAMILY, _spelling(identifier) if isinstance(identifier, str) else identifier)
    if not isinstance(found, Optimizer):
        raise ValueError(
            "Expected an optimizer: its name, its config or an instance (a `torch.optim` optimizer is one too). "
            f"Received: {identifier!r}"
        )
    return found


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's class and arguments as plain data."""
    return serialize_keras_object(optimizer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The optimizer that `serialize` described."""
    return deserialize_keras_object(
        {"module": FAMILY, **config, "class_name": _spelling(config["class_name"])}, custom_objects
    )


def _spelling(name: str) -> str:
    return name if registry.find(FAMILY, name) is not None else name.lower()
