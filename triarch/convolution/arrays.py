"""Between arrays and tensors of the same memory, and transform lengths that are fast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def tensor_of(array: Array | Tensor) -> Tensor:
    """The array as a tensor: a view where torch can take one."""
    if isinstance(array, Tensor):
        return array
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def like(result: Tensor, example: Array | Tensor) -> Array | Tensor:
    """The result as what the operand was."""
    return result if isinstance(example, Tensor) else result.numpy()


def on_host(x: Any) -> Array:
    """The numbers as an array, contiguous: a copy of what lies on another device."""
    return np.ascontiguousarray(x.detach().cpu().numpy() if isinstance(x, Tensor) else x)


@cache
def next_smooth(least: int) -> int:
    """The smallest even number from `least` on with no prime factor above 7; 1 stays 1."""
    if least <= 2:
        return least
    best = 2 ** math.ceil(math.log2(least))
    for sevens in range(3):
        for fives in range(8):
            for threes in range(8):
                odd = 7**sevens * 5**fives * 3**threes
                if 2 * odd > best:
                    break
                twos = max(1, math.ceil(math.log2(least / odd)))
                best = min(best, odd * 2**twos) if odd * 2**twos >= least else best
    return best


def magnitude_bits(array: Array) -> int:
    """How many bits the largest magnitude of a non-empty integer array takes."""
    if array.dtype == object:
        return max(max(int(array.max()), -int(array.min())), 0).bit_length()
    return max(int(array.max()), -int(array.min())).bit_length()


def batch_numbers(own: tuple[int, ...], common: tuple[int, ...]) -> Array:
    """Which entry of an operand's batch each entry of the common batch takes."""
    return np.broadcast_to(np.arange(math.prod(own)).reshape(own), common).reshape(-1)


def last_axes(ends: Iterable[tuple[int, int]]) -> tuple[Any, ...]:
    """The index of the places from `low` to `high` in each of the last axes."""
    return (..., *(slice(low, high) for low, high in ends))


def part_with_zeros(x: Any, lows: Iterable[int], sizes: Iterable[int]) -> Any:
    """The places from `lows` on in the last axes, zeros where they lie outside; a view where none does."""
    sizes = tuple(sizes)
    lead = x.ndim - len(sizes)
    taken, inside = [], []
    for low, size, n in zip(lows, sizes, x.shape[lead:], strict=True):
        first = min(max(low, 0), n)
        last = max(min(low + size, n), first)
        taken.append((first, last))
        inside.append((first - low, last - low))
    part = x[last_axes(taken)]
    if tuple(part.shape[lead:]) == sizes:
        return part
    shape = tuple(x.shape[:lead]) + sizes
    result = x.new_zeros(shape) if isinstance(x, Tensor) else np.zeros(shape, x.dtype)
    if all(last > first for first, last in taken):
        result[last_axes(inside)] = part
    return result
