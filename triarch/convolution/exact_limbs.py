"""Integers as balanced limbs: digits in a base 2^w between -2^(w-1) and 2^(w-1), small enough for exact transforms."""

from __future__ import annotations

import struct
from functools import partial

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array
from triarch.convolution.threads import split_work

_SECONDS_PER_LIMB = 1e-9  # of one thread: only decides how many threads are worth waking


def limb_count(bits: int, width: int) -> int:
    """How many limbs hold magnitudes of so many bits: the largest of balanced limbs falls short of half the range."""
    return 1 if bits <= width else -(-(bits + 2) // width)


def split_integers(values: Tensor, width: int, count: int) -> Tensor:
    """The limbs of int64 numbers, lowest first, as float64 of shape (count, *shape)."""
    if count == 1:
        return values.to(torch.float64)[None]
    limbs = values.new_empty((count, *values.shape), dtype=torch.float64)
    rest = values
    for limb in range(count):
        carry = (rest >> (width - 1)) & 1
        limbs[limb] = (rest & ((1 << width) - 1)) - (carry << width)
        rest = (rest >> width) + carry
    return limbs


def split_objects(values: Array, width: int, count: int) -> Tensor:
    """The limbs of Python integers of any size, lowest first, as float64 of shape (count, *shape)."""
    if count == 1 or count * width <= 62:
        return split_integers(torch.from_numpy(values.astype(np.int64)), width, count)
    from triarch.convolution.compiled import split_words

    words = count * width // 64 + 2
    data = b"".join([value.to_bytes(8 * words, "little", signed=True) for value in values.reshape(-1).tolist()])
    limbs = np.empty((count, values.size))
    work = partial(split_words(), np.frombuffer(data, "<u8").reshape(-1, words), width, limbs)
    split_work(work, values.size, _SECONDS_PER_LIMB * limbs.size)
    return torch.from_numpy(limbs.reshape((count, *values.shape)))


def join_limbs(limbs: Array, width: int) -> Array:
    """`Σ limbs[s] 2^(s * width)` as Python integers.

    Args:
        limbs: float64 up to rounding, of any sign, (count, *shape).
    """
    count = len(limbs)
    if count == 1:
        return np.rint(limbs[0]).astype(np.int64).astype(object)
    from triarch.convolution.compiled import join_words

    flat = np.ascontiguousarray(limbs.reshape(count, -1))
    words = np.empty((flat.shape[1], (count * width + 63) // 64 + 1), np.uint64)
    split_work(partial(join_words(), flat, width, words), len(words), _SECONDS_PER_LIMB * flat.size)
    size = 8 * words.shape[1]
    data = words.astype("<u8", copy=False).tobytes()
    result = np.empty(len(words), object)
    result[:] = [int.from_bytes(number, "little", signed=True) for (number,) in struct.iter_unpack(f"{size}s", data)]
    return result.reshape(limbs.shape[1:])
