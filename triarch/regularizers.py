"""Penalties on weights or outputs: a regularizer is called with a tensor and gives a scalar to add to the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from triarch import config
from triarch.registry import register
from triarch.serialization import Configurable, Lookup
from triarch.tensors import as_float_tensor

_FAMILY = "keras.regularizers"


def _factor(value: Any, name: str, default: float = 0.0) -> float:
    if value is None:
        return default
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a non-negative number. Received: {value!r}")
    return float(value)


@register(_FAMILY)
class Regularizer(Configurable):
    """Base of regularizers: a subclass defines `__call__(x)`."""

    def __call__(self, x: Any) -> Any:
        """The penalty on `x`, a scalar."""
        return 0.0


@register(_FAMILY, "l1_l2")
class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x²)`."""

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor(l1, "l1")
        self.l2 = _factor(l2, "l2")

    def __call__(self, x: Any) -> torch.Tensor:
        x = as_float_tensor(x)
        terms = []
        if self.l1:
            terms.append(self.l1 * x.abs().sum())
        if self.l2:
            terms.append(self.l2 * x.square().sum())
        return sum(terms[1:], terms[0]) if terms else x.new_zeros(())


@register(_FAMILY)
class L1(Regularizer):
    """`l1 * sum(|x|)`."""

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor(l1, "l1", 0.01)

    def __call__(self, x: Any) -> torch.Tensor:
        return self.l1 * as_float_tensor(x).abs().sum()


@register(_FAMILY)
class L2(Regularizer):
    """`l2 * sum(x²)`."""

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor(l2, "l2", 0.01)

    def __call__(self, x: Any) -> torch.Tensor:
        return self.l2 * as_float_tensor(x).square().sum()


@register(_FAMILY)
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean |cosine| between different rows (or columns, by `mode`) of a matrix."""

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode must be 'rows' or 'columns'. Received: {mode!r}")
        self.factor = _factor(factor, "factor")
        self.mode = mode

    def __call__(self, x: Any) -> torch.Tensor:
        x = as_float_tensor(x)
        if x.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer needs a matrix. Received: shape {tuple(x.shape)}")
        vectors = F.normalize(x if self.mode == "rows" else x.T, dim=1, eps=config.epsilon())
        cosines = vectors @ vectors.T
        count = len(vectors)
        return self.factor * cosines.triu(1).abs().sum() / (count * (count - 1) / 2)


_lookup = Lookup(_FAMILY)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
