"""Integers as balanced limbs: digits in a base 2^w between -2^(w-1) and 2^(w-1), small enough for exact transforms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array

_DIGIT = 48  # bits of which Python integers are put together: whole bytes, and divisible by many widths
WIDTHS = (24, 16, 12, 8, 6, 4, 3, 2, 1)  # its divisors


def limb_count(bits: int, width: int) -> int:
    """How many limbs hold magnitudes of so many bits."""
    return 1 if bits <= width else -(-(bits + 1) // width)


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


def split_objects(values: Array, width: int, count: int) -> Array:
    """The limbs of Python integers of any size, lowest first, as float64 of shape (count, *shape)."""
    if count == 1 or count * width <= 62:
        return split_integers(torch.from_numpy(values.astype(np.int64)), width, count).numpy()
    digits = -(-count * width // _DIGIT) + 1
    size = digits * _DIGIT // 8
    data = b"".join([int(value).to_bytes(size, "little", signed=True) for value in values.reshape(-1)])
    cut = np.frombuffer(data, np.uint8).reshape(-1, size)
    limbs = np.empty((count, values.size))
    carry = np.zeros(values.size, np.int64)
    for limb in range(count):
        first = limb * width
        byte = first // 8
        word = np.zeros((values.size, 8), np.uint8)
        window = cut[:, byte : byte + 8]
        word[:, : window.shape[1]] = window
        if window.shape[1] < 8:  # beyond the highest byte, the sign goes on
            word[:, window.shape[1] :] = np.where(cut[:, -1:] >= 128, 255, 0)
        low = ((word.view("<u8")[:, 0] >> np.uint64(first % 8)) & np.uint64((1 << width) - 1)).astype(np.int64) + carry
        carry = (low >= 1 << (width - 1)).astype(np.int64)
        limbs[limb] = low - (carry << width)
    return limbs.reshape((count, *values.shape))


def join_limbs(parts: Array, width: int) -> Array:
    """`Σ parts[s] 2^(s * width)` as Python integers.

    Args:
        parts: int64 of any sign, (count, *shape).
        width: A divisor of 48 (`WIDTHS`) where there are several parts.
    """
    count = len(parts)
    if count == 1:
        return parts[0].astype(object)
    flat = parts.reshape(count, -1)
    per_digit = _DIGIT // width
    digits = -(-(count + -(-64 // width)) // per_digit)  # the highest part carries up to 64 bits
    places = np.zeros((digits, flat.shape[1]), np.int64)
    carry = np.zeros(flat.shape[1], np.int64)
    for limb in range(digits * per_digit):
        total = carry + flat[limb] if limb < count else carry
        digit, place = divmod(limb, per_digit)
        places[digit] += (total & ((1 << width) - 1)) << (place * width)
        carry = total >> width
    size = digits * _DIGIT // 8 + 1
    data = np.empty((flat.shape[1], size), np.uint8)
    words = np.ascontiguousarray(places.T).astype("<i8", copy=False).view(np.uint8).reshape(flat.shape[1], digits, 8)
    data[:, :-1] = words[:, :, : _DIGIT // 8].reshape(flat.shape[1], -1)
    data[:, -1] = carry & 255  # 0 or -1: the sign
    raw = data.tobytes()
    result = np.empty(flat.shape[1], object)
    result[:] = [int.from_bytes(raw[i : i + size], "little", signed=True) for i in range(0, len(raw), size)]
    return result.reshape(parts.shape[1:])
