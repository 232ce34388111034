"""Initializers that draw from a distribution whatever the shape, and random orthogonal matrices."""

from __future__ import annotations

import math
from typing import Any

import torch

from triarch import config, random
from triarch.initializers.base import FAMILY, RandomInitializer, Shape
from triarch.registry import register
from triarch.tensors import dtype_name, torch_dtype


@register(FAMILY, "normal")
class RandomNormal(RandomInitializer):
    """Numbers from a normal distribution."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)


@register(FAMILY)
class TruncatedNormal(RandomInitializer):
    """Numbers from a normal distribution cut off at two standard deviations."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


@register(FAMILY, "uniform")
class RandomUniform(RandomInitializer):
    """Numbers spread evenly over `[minval, maxval)`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)


@register(FAMILY, "OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """`gain` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).

    Axes before the last are taken together as the rows.
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if len(shape) < 2:
            raise ValueError(f"An orthogonal matrix has at least two axes. Received: shape={tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        wanted: torch.dtype = torch_dtype(dtype or config.floatx())  # type: ignore[assignment]
        computed = dtype_name(torch.promote_types(wanted, torch.float32))  # LAPACK has no half floats
        size = (max(rows, columns), min(rows, columns))
        q, r = torch.linalg.qr(random.normal(size, dtype=computed, seed=self.seed))
        q = q * r.diagonal().sign()  # makes the distribution uniform over the orthogonal matrices
        # LAPACK gives columns that lie side by side; weights are gone through by rows.
        return (self.gain * (q.T if rows < columns else q)).reshape(tuple(shape)).contiguous().to(wanted)
