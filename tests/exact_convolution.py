"""Convolution from its definition, in exact arithmetic and without haste: what every method is judged by."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np


def exact(values: np.ndarray) -> np.ndarray:
    """The same numbers as `Fraction`s."""
    result = np.empty(values.shape, object)
    for place in np.ndindex(values.shape):
        result[place] = Fraction(values[place].item())
    return result


def extended(a: np.ndarray, margins: list[tuple[int, int]], boundary: str, fill_value: Any) -> np.ndarray:
    """`a` and what stands beyond its ends, by NumPy's padding, whose modes have names of their own."""
    if boundary == "zero":
        result = np.full([low + n + high for n, (low, high) in zip(a.shape, margins, strict=True)], fill_value, object)
        result[tuple(slice(low, low + n) for n, (low, _) in zip(a.shape, margins, strict=True))] = a
        return result
    name = {"wrap": "wrap", "reflect": "reflect", "symmetric": "symmetric", "nearest": "edge"}[boundary]
    return np.pad(a, margins, name)


def convolve_exactly(
    a: np.ndarray, b: np.ndarray, mode: str = "full", boundary: str = "zero", fill_value: Any = 0
) -> np.ndarray:
    """`B(i) = Σ_m b(m) a(i - m)` over all axes; the operands hold exact numbers."""
    if mode == "valid":
        if any(n < k for n, k in zip(a.shape, b.shape, strict=True)):
            a, b = b, a
        starts, sizes = [k - 1 for k in b.shape], [n - k + 1 for n, k in zip(a.shape, b.shape, strict=True)]
    elif mode == "same":
        starts, sizes = [(k - 1) // 2 for k in b.shape], list(a.shape)
    else:
        starts, sizes = [0] * a.ndim, [n + k - 1 for n, k in zip(a.shape, b.shape, strict=True)]
    margins = [(k, k) for k in b.shape]  # as far as any sum reaches
    around = extended(a, margins, boundary if mode != "valid" else "zero", fill_value if mode != "valid" else 0)
    result = np.empty(sizes, object)
    for place in product(*map(range, sizes)):
        total: Any = 0
        for tap in product(*map(range, b.shape)):
            at = tuple(i + s - m + k for i, s, m, k in zip(place, starts, tap, b.shape, strict=True))
            total += b[tap] * around[at]
        result[place] = total
    return result
