"""The compiled inner loops: weighted sums of shifted copies, block by block in the cache; the limbs of integers.

Letters: `o` a block of the output, `x` a shifted view of the signal, `w` a weight. Complex numbers are pairs of reals,
with offsets twice as long; rank and batch are matters of offsets only. This module is imported when it is first needed,
since importing Numba takes half a second; the machine code is kept on disk between processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from triarch.convolution.memory import BLOCK

# Sums may be reordered and fused; infinities and NaN keep their meaning.
_FLAGS = {"reassoc", "contract", "nsz"}


@njit(fastmath=_FLAGS, inline="always")
def _add_taps(o, signal, base, weights, offsets):
    """`o[j] += Σ_t weights[t] * signal[base + offsets[t] + j]`, eight taps at a time."""
    count, taps = o.size, weights.size
    t = 0
    while t + 8 <= taps:
        x0 = signal[base + offsets[t] : base + offsets[t] + count]
        x1 = signal[base + offsets[t + 1] : base + offsets[t + 1] + count]
        x2 = signal[base + offsets[t + 2] : base + offsets[t + 2] + count]
        x3 = signal[base + offsets[t + 3] : base + offsets[t + 3] + count]
        x4 = signal[base + offsets[t + 4] : base + offsets[t + 4] + count]
        x5 = signal[base + offsets[t + 5] : base + offsets[t + 5] + count]
        x6 = signal[base + offsets[t + 6] : base + offsets[t + 6] + count]
        x7 = signal[base + offsets[t + 7] : base + offsets[t + 7] + count]
        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        w4, w5, w6, w7 = weights[t + 4], weights[t + 5], weights[t + 6], weights[t + 7]
        for j in range(count):
            lower = w0 * x0[j] + w1 * x1[j] + w2 * x2[j] + w3 * x3[j]
            o[j] += lower + w4 * x4[j] + w5 * x5[j] + w6 * x6[j] + w7 * x7[j]
        t += 8
    if t + 4 <= taps:
        x0 = signal[base + offsets[t] : base + offsets[t] + count]
        x1 = signal[base + offsets[t + 1] : base + offsets[t + 1] + count]
        x2 = signal[base + offsets[t + 2] : base + offsets[t + 2] + count]
        x3 = signal[base + offsets[t + 3] : base + offsets[t + 3] + count]
        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        for j in range(count):
            o[j] += w0 * x0[j] + w1 * x1[j] + w2 * x2[j] + w3 * x3[j]
        t += 4
    if t + 2 <= taps:
        x0 = signal[base + offsets[t] : base + offsets[t] + count]
        x1 = signal[base + offsets[t + 1] : base + offsets[t + 1] + count]
        w0, w1 = weights[t], weights[t + 1]
        for j in range(count):
            o[j] += w0 * x0[j] + w1 * x1[j]
        t += 2
    if t < taps:
        x0 = signal[base + offsets[t] : base + offsets[t] + count]
        w0 = weights[t]
        for j in range(count):
            o[j] += w0 * x0[j]


@njit(fastmath=_FLAGS)
def _add_row(signal, kernel, start, output, step, is_fresh, first, last):
    """Add to blocks `first` ... `last - 1` of `output` the places from `start` on of `signal * kernel`, in one axis.

    Args:
        signal, output: Of `step` reals for each number.
        kernel: The taps, real, at most as many as `signal` has numbers.
        start: In reals.
        is_fresh: Whether the output has no numbers yet, so that the sums begin with zero.
    """
    taps = kernel.size
    reach = (taps - 1) * step
    weights = kernel[::-1].copy()
    offsets = np.arange(taps) * step
    for block in range(first, last):
        begin = block * BLOCK
        o = output[begin : begin + BLOCK]
        if is_fresh:
            o[:] = 0
        base = start + begin - reach
        end = base + reach + o.size
        if base >= 0 and end <= signal.size:
            _add_taps(o, signal, base, weights, offsets)
        else:  # the signal's ends: zeros stand beyond them
            around = np.zeros(end - base, signal.dtype)
            lowest, highest = max(base, 0), min(end, signal.size)
            around[lowest - base : highest - base] = signal[lowest:highest]
            _add_taps(o, around, 0, weights, offsets)


def _add_short_row(signal, kernel, start, output):
    """`_add_row` for all of a short output, with few arguments, whose passing would take longer than the sums.

    Returns whether the kernel is finite: another one makes NaN of the zeros beyond the signal's ends.
    """
    _add_row(signal, kernel, start, output, 1, True, 0, (output.size + BLOCK - 1) // BLOCK)
    return _is_finite(kernel)


@njit(fastmath=_FLAGS, inline="always")
def _is_finite(values):
    is_finite = True
    for value in values:
        is_finite &= abs(value) < np.inf
    return is_finite


def _add_short_complex_row(signal, kernel, start, output):
    """The same for complex numbers as pairs of reals: the real parts of the taps, then the imaginary ones."""
    blocks = (output.size + BLOCK - 1) // BLOCK
    _add_row(signal, kernel[::2].copy(), start, output, 2, True, 0, blocks)
    turned = np.empty_like(signal)  # times i
    turned[::2] = -signal[1::2]
    turned[1::2] = signal[::2]
    _add_row(turned, kernel[1::2].copy(), start, output, 2, False, 0, blocks)
    return _is_finite(kernel)


def _add_rows(signal, starts, weights, filters, offsets, output, width, is_fresh, first, last):
    """Add to blocks `first` ... `last - 1` of many output rows the weighted sum of the shifted `signal`.

    Args:
        signal: Flat, with margins wide enough for every offset.
        starts: Where in `signal` the first place of each output row meets offset 0.
        weights: (filters, taps).
        filters: Which of them each output row takes.
        output: Flat, rows of `width` places one after the other.
        is_fresh: As for `_add_row`.
    """
    blocks = (width + BLOCK - 1) // BLOCK
    for item in range(first, last):
        row = item // blocks
        begin = (item - row * blocks) * BLOCK
        o = output[row * width + begin : row * width + min(begin + BLOCK, width)]
        if is_fresh:
            o[:] = 0
        _add_taps(o, signal, starts[row] + begin, weights[filters[row]], offsets)


def _largest_magnitude(values):
    """The largest absolute value of flat integers, as uint64."""
    lowest = highest = values[0]
    for value in values:
        lowest, highest = min(lowest, value), max(highest, value)
    below = np.uint64(0) - np.uint64(lowest) if lowest < 0 else np.uint64(lowest)
    above = np.uint64(0) - np.uint64(highest) if highest < 0 else np.uint64(highest)
    return max(below, above)


def _split_words(words, width, limbs, first, last):
    """Balanced limbs of the numbers `first` ... `last - 1`, lowest first.

    Args:
        words: (numbers, words): two's complement, lowest first; a word more than the limbs need.
        limbs: (limbs, numbers), written as floats.
    """
    mask, half = np.uint64((1 << width) - 1), np.int64(1) << (width - 1)
    for number in range(first, last):
        carry = np.int64(0)
        for limb in range(limbs.shape[0]):
            bit = limb * width
            word, shift = bit >> 6, np.uint64(bit & 63)
            value = words[number, word] >> shift
            if shift + np.uint64(width) > np.uint64(64):
                value |= words[number, word + 1] << (np.uint64(64) - shift)
            digit = np.int64(value & mask) + carry
            carry = np.int64(digit >= half)
            limbs[limb, number] = digit - (carry << width)


def _join_words(limbs, width, words, first, last):
    """The numbers `first` ... `last - 1`, `Σ limbs[s] 2^(s * width)`, as two's complement, lowest word first.

    Args:
        limbs: (limbs, numbers): whole numbers of any size up to 2^62, up to rounding.
        words: (numbers, words), written; wide enough for the sums and their signs.
    """
    mask = (np.int64(1) << width) - 1
    bits = 64 * words.shape[1]
    for number in range(first, last):
        words[number] = 0
        carry = np.int64(0)
        for limb, bit in enumerate(range(0, bits, width)):
            total = carry
            if limb < limbs.shape[0]:
                total += np.int64(np.rint(limbs[limb, number]))
            digit, carry = np.uint64(total & mask), total >> width
            word, shift = bit >> 6, np.uint64(bit & 63)
            words[number, word] |= digit << shift
            if shift + np.uint64(width) > np.uint64(64) and word + 1 < words.shape[1]:
                words[number, word + 1] |= digit >> (np.uint64(64) - shift)


def readable(dtype: types.Type, rank: int = 1) -> types.Type:
    """The type of arrays that are read: writable ones are taken as well, so that one compilation serves both."""
    return types.Array(dtype, rank, "C", readonly=True)


def compile_ahead(signature: Any, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Machine code, from disk where it is kept; an installation that can keep none compiles in every process."""
    try:
        return njit(signature, nogil=True, cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return njit(signature, nogil=True, **options)(function)


@cache
def add_row(dtype: str) -> Callable[..., None]:
    """`_add_row` for real numbers of this type."""
    number = from_dtype(np.dtype(dtype))
    read, integer = readable(number), types.int64
    signature = types.void(read, read, integer, number[::1], integer, types.boolean, integer, integer)
    return compile_ahead(signature, _add_row.py_func, fastmath=_FLAGS)


@cache
def add_short_row(dtype: str, is_complex: bool) -> Callable[..., bool]:
    """`_add_short_row` or `_add_short_complex_row` for numbers that have real parts of this type."""
    number = from_dtype(np.dtype(dtype))
    read = readable(number)
    function = _add_short_complex_row if is_complex else _add_short_row
    return compile_ahead(types.boolean(read, read, types.int64, number[::1]), function, fastmath=_FLAGS)


@cache
def add_rows(dtype: str) -> Callable[..., None]:
    """`_add_rows` for real numbers of this type."""
    number = from_dtype(np.dtype(dtype))
    places, integer = readable(types.int64), types.int64
    signature = types.void(
        readable(number),
        places,
        readable(number, 2),
        places,
        places,
        number[::1],
        integer,
        types.boolean,
        integer,
        integer,
    )
    return compile_ahead(signature, _add_rows, fastmath=_FLAGS)


@cache
def largest_magnitude(dtype: str) -> Callable[[Any], int]:
    """`_largest_magnitude` for integers of this type."""
    signature = types.uint64(readable(from_dtype(np.dtype(dtype))))
    return compile_ahead(signature, _largest_magnitude)


@cache
def split_words() -> Callable[..., None]:
    """`_split_words`."""
    signature = types.void(readable(types.uint64, 2), types.int64, types.float64[:, ::1], types.int64, types.int64)
    return compile_ahead(signature, _split_words)


@cache
def join_words() -> Callable[..., None]:
    """`_join_words`."""
    signature = types.void(readable(types.float64, 2), types.int64, types.uint64[:, ::1], types.int64, types.int64)
    return compile_ahead(signature, _join_words)
