"""Integers as balanced limbs: digits in a base 2^w between -2^(w-1) and 2^(w-1), small enough for exact transforms.

Split, multiply, join.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, next_smooth
from triarch.convolution.memory import CHUNK
from triarch.convolution.threads import split_work
from triarch.convolution.transforms import Transform

_FEW_LIMBS = 12  # of either operand, up to which their pairs are multiplied one by one
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


def has_limb_axis(a_limbs: int, b_limbs: int) -> bool:
    """Whether the limbs too are convolved by a transform: where they are many, rather than pair by pair."""
    return min(a_limbs, b_limbs) > _FEW_LIMBS


def multiply_limbs(transform: Transform, wanted: tuple[Any, ...], a: Tensor, b: Tensor) -> Tensor:
    """The convolutions, whole numbers up to rounding, whose sum weighted by powers of the limb's base is the result.

    Args:
        wanted: The index of the window in a convolution of the transform's period.
        a, b: float64 (limbs, *batch, *sizes).
    """
    products = _multiply_spectra(_in_groups(transform.forward, a), _in_groups(transform.forward, b))
    return _in_groups(lambda spectra: transform.inverse(spectra)[wanted], products)


def _in_groups(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The function of all limbs, of a few at a time where one is large: what lies between takes no new pages."""
    several = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    first = function(x[:several])
    if several >= len(x):
        return first
    result = first.new_empty((len(x), *first.shape[1:]))
    result[:several] = first
    for limb in range(several, len(x), several):
        part = slice(limb, limb + several)
        result[part] = function(x[part])
    return result


def _multiply_spectra(a: Tensor, b: Tensor) -> Tensor:
    """The spectra of the products of limbs, those of equal weight together; as many frequencies as the cache holds."""
    count = len(a) + len(b) - 1
    shape = torch.broadcast_shapes(a.shape[1:], b.shape[1:])
    a, b = (x.unflatten(0, (len(x), *(1,) * (len(shape) + 1 - x.ndim))).expand(len(x), *shape) for x in (a, b))
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    result = a.new_empty((count, a.shape[1]))
    multiply = _along_limbs if has_limb_axis(len(a), len(b)) else _pair_by_pair
    several = max(1, CHUNK // count)
    for frequency in range(0, a.shape[1], several):
        part = slice(frequency, frequency + several)
        multiply(a[:, part], b[:, part], result[:, part])
    return result.reshape(count, *shape)


def _pair_by_pair(a: Tensor, b: Tensor, result: Tensor) -> None:
    for weight, spectrum in enumerate(result):
        lowest, highest = max(0, weight - len(b) + 1), min(weight, len(a) - 1)
        torch.mul(a[lowest], b[weight - lowest], out=spectrum)
        for limb in range(lowest + 1, highest + 1):
            spectrum.addcmul_(a[limb], b[weight - limb])


def _along_limbs(a: Tensor, b: Tensor, result: Tensor) -> None:
    points = next_smooth(len(result))
    spectrum = torch.fft.fft(a, points, dim=0).mul_(torch.fft.fft(b, points, dim=0))
    result.copy_(torch.fft.ifft(spectrum, dim=0)[: len(result)])


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
