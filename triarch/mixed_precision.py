"""Number types of a layer: the one it computes in and the one its weights are kept in."""

from __future__ import annotations

from typing import Any

from triarch import config, registry
from triarch.serialization import Configurable, deserialize_keras_object
from triarch.variable import torch_dtype

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
_global_policy: DTypePolicy | None = None


@registry.register("keras")
class DTypePolicy(Configurable):
    """`"float32"` and the like for everything, or `"mixed_bfloat16"`: compute in bfloat16, keep weights in float32."""

    def __init__(self, name: str) -> None:
        if name not in _MIXED:
            torch_dtype(name)
        self.name = name
        self.compute_dtype = _MIXED.get(name, name)
        self.variable_dtype = "float32" if name in _MIXED else name

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def get(identifier: Any) -> DTypePolicy:
    """A policy from its name, its config, another policy or None (the global one)."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, dict):
        identifier = deserialize_keras_object(identifier)
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, str):
        return DTypePolicy(identifier)
    return DTypePolicy(str(identifier).removeprefix("torch."))


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are given none."""
    return _global_policy or DTypePolicy(config.floatx())


def set_dtype_policy(policy: str | DTypePolicy | None) -> None:
    """Set the policy of layers that are given none; None goes back to `config.floatx()`."""
    global _global_policy
    _global_policy = None if policy is None else get(policy)


global_policy = dtype_policy
set_global_policy = set_dtype_policy
Policy = DTypePolicy
