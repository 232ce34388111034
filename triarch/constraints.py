"""Conditions on weights: a constraint is called with a weight after each step and gives the nearest allowed value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import config
from triarch.registry import register
from triarch.serialization import Configurable, Lookup
from triarch.tensors import as_float_tensor

_FAMILY = "keras.constraints"

Axis = int | Sequence[int]


def _norms(w: torch.Tensor, axis: Axis) -> torch.Tensor:
    return torch.linalg.vector_norm(w, dim=axis, keepdim=True)


@register(_FAMILY)
class Constraint(Configurable):
    """Base of constraints: a subclass defines `__call__(w)`."""

    def __call__(self, w: Any) -> Any:
        """The value that `w` is replaced with."""
        return w


@register(_FAMILY)
class MaxNorm(Constraint):
    """Vectors along `axis` no longer than `max_value`.

    For a dense kernel `(inputs, units)` axis 0 holds each unit's weights; for a convolution that is `[0, 1, 2]`.
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> torch.Tensor:
        w = as_float_tensor(w)
        norms = _norms(w, self.axis)
        return w * (norms.clamp(0, self.max_value) / (config.epsilon() + norms))


@register(_FAMILY)
class NonNeg(Constraint):
    """No negative weights."""

    def __call__(self, w: Any) -> torch.Tensor:
        return as_float_tensor(w).clamp(min=0)


@register(_FAMILY)
class UnitNorm(Constraint):
    """Vectors along `axis` of length 1."""

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> torch.Tensor:
        w = as_float_tensor(w)
        return w / (config.epsilon() + _norms(w, self.axis))


@register(_FAMILY)
class MinMaxNorm(Constraint):
    """Vectors along `axis` of length `min_value` to `max_value`; a `rate` below 1 goes only that part of the way."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> torch.Tensor:
        w = as_float_tensor(w)
        norms = _norms(w, self.axis)
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (config.epsilon() + norms))


_lookup = Lookup(_FAMILY)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize
max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm
