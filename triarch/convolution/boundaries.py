"""What stands beyond the ends of a signal: extensions by index, through which gradients flow back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, last_axes

BOUNDARIES = ("zero", "wrap", "reflect", "symmetric", "nearest")


def extended_places(size: int, low: int, high: int, boundary: str) -> Array:
    """Which place of an axis of `size` places each place of its extension by `low` and `high` takes."""
    places = np.arange(-low, size + high)
    if boundary == "wrap":
        return places % size
    if boundary == "nearest":
        return places.clip(0, size - 1)
    if boundary == "symmetric":
        folded = places % (2 * size)
        return np.minimum(folded, 2 * size - 1 - folded)
    if size == 1:
        return np.zeros_like(places)
    folded = places % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)


def extend(signal: Any, margins: list[tuple[int, int]], boundary: str, fill_value: Any) -> Any:
    """The signal with margins on its last axes.

    Args:
        margins: How many places are added before and after, for each of the last axes.
        boundary: One of `BOUNDARIES`; `"zero"` stands for `fill_value` everywhere.
    """
    rank = len(margins)
    if boundary == "zero":
        ends = [(low, low + n) for n, (low, _) in zip(signal.shape[-rank:], margins, strict=True)]
        sizes = tuple(last + high for (_, last), (_, high) in zip(ends, margins, strict=True))
        shape = tuple(signal.shape[: signal.ndim - rank]) + sizes
        is_tensor = isinstance(signal, Tensor)
        result: Any = signal.new_full(shape, fill_value) if is_tensor else np.full(shape, fill_value, signal.dtype)
        result[last_axes(ends)] = signal
        return result
    for axis, (low, high) in enumerate(margins, start=signal.ndim - rank):
        places = extended_places(signal.shape[axis], low, high, boundary)
        if isinstance(signal, Tensor):
            signal = signal.index_select(axis, torch.from_numpy(places).to(signal.device))
        else:
            signal = signal.take(places, axis)
    return signal
