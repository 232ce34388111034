"""The compiled loops that look at operands cell by cell, and that sum where a transform would round too coarsely.

A cell is some places side by side in the last axis. The leading axes, four with the batch, are rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, types

from triarch.convolution.compiled import compile_ahead, readable

_FLAGS = {"reassoc", "contract", "nsz"}
_FINITE = _FLAGS | {"nnan", "ninf"}  # of what is looked at; sums of it may overflow
_LONGEST_RUN = 1024  # places that stay in the first-level cache while all taps pass over them


def _look_at_cells(values, width, cell, step, zero, levels, squares, first, last):
    """Of the cells in rows `first` ... `last - 1`: a level that at least three quarters reach, and the sum of squares.

    The level is a quarter of the mean magnitude; 0 where `Σ min(|x|, level)` falls short of three quarters of what it
    were if all places reached it. Squares are above 0 wherever a number is.

    Args:
        values: Rows of `width` numbers of `step` reals, flat.
        zero: Of the type of the reals.
        levels, squares: (rows, cells), written.
    """
    for row in range(first, last):
        for number in range(levels.shape[1]):
            begin = (row * width + number * cell) * step
            end = (row * width + min((number + 1) * cell, width)) * step
            part = values[begin:end]
            total, square = zero, zero
            for value in part:
                total += abs(value)
                square += value * value
            level = total / (4 * cell * step)
            held = zero
            if step == 1:
                for value in part:
                    held += min(abs(value), level)
            else:
                for place in range(0, part.size, 2):
                    held += min(max(abs(part[place]), abs(part[place + 1])), level)
            levels[row, number] = level if held >= 0.75 * cell * level else 0.0
            squares[row, number] = square + 1e-300 if total > 0 else 0.0


def _bound_sums(paired, trimmed, places, signal, start, length, first_cell, entries, bounds, first, last):
    """From below, what `Σ |a| |b|` is at every place of the cells in rows `first` ... `last - 1` of the output.

    Args:
        paired: (batch, rows, cells + 1): the lower level of each two neighbouring cells of the signal.
        trimmed: (batch, rows, cells): of some rows of the kernel, what of a cell's sum is left without its largest taps.
        places: (rows, 3): where in the kernel those rows are.
        signal, start, length: Of the three axes before the last.
        entries: (batch, 2): which entries of the signal's and the kernel's batch meet.
        bounds: (rows, cells), written; its first cell is `first_cell` of the full convolution.
    """
    per_entry = length[0] * length[1] * length[2]
    for row in range(first, last):
        bound = bounds[row]
        bound[:] = 0
        entry, rest = row // per_entry, row % per_entry
        a, b = entries[entry, 0], entries[entry, 1]
        o0, o1, o2 = rest // (length[1] * length[2]), rest // length[2] % length[1], rest % length[2]
        for chosen in range(places.shape[0]):
            s0 = start[0] + o0 - places[chosen, 0]
            s1 = start[1] + o1 - places[chosen, 1]
            s2 = start[2] + o2 - places[chosen, 2]
            if min(s0, s1, s2) < 0 or s0 >= signal[0] or s1 >= signal[1] or s2 >= signal[2]:
                continue
            pairs = paired[a, (s0 * signal[1] + s1) * signal[2] + s2]
            for tap in range(trimmed.shape[2]):
                weight = trimmed[b, chosen, tap]
                lowest = max(first_cell, tap + 1)
                highest = min(first_cell + bound.size, tap + pairs.size - 1)
                if weight > 0 and highest > lowest:
                    o = bound[lowest - first_cell : highest - first_cell]
                    x = pairs[lowest - tap : highest - tap]
                    for j in range(o.size):
                        o[j] += weight * x[j]


def _sum_cells(
    signal, kernel, sizes, taps, start, length, cell, first_cell, entries, rows, states, output, zero, first, last
):
    """Write the places of cells in the rows numbered `first` ... `last - 1`: 0 where the state is 1, the direct sum where it is 2.

    Args:
        signal, kernel, output: Flat; real or complex.
        sizes, taps, start, length: Of signal, kernel and window: three axes of rows and the last one.
        entries: As in `_bound_sums`.
        rows: Which ones of the result are in `output`.
        states: (rows of the result, cells).
        zero: Of the type of the numbers.
    """
    per_entry = length[0] * length[1] * length[2]
    signal_rows, kernel_rows = sizes[0] * sizes[1] * sizes[2], taps[0] * taps[1] * taps[2]
    for item in range(first, last):
        row = rows[item]
        entry, rest = row // per_entry, row % per_entry
        a, b = entries[entry, 0] * signal_rows, entries[entry, 1] * kernel_rows
        o0, o1, o2 = rest // (length[1] * length[2]), rest // length[2] % length[1], rest % length[2]
        number = 0
        while number < states.shape[1]:
            state, begin = states[row, number], number
            while number < states.shape[1] and states[row, number] == state and (number - begin) * cell < _LONGEST_RUN:
                number += 1
            if state == 0:
                continue
            lowest = max((first_cell + begin) * cell, start[3])
            highest = min((first_cell + number) * cell, start[3] + length[3])
            o = output[item * length[3] + lowest - start[3] : item * length[3] + highest - start[3]]
            o[:] = zero
            if state == 1:
                continue
            for k in range(kernel_rows):
                s0 = start[0] + o0 - k // (taps[1] * taps[2])
                s1 = start[1] + o1 - k // taps[2] % taps[1]
                s2 = start[2] + o2 - k % taps[2]
                if min(s0, s1, s2) < 0 or s0 >= sizes[0] or s1 >= sizes[1] or s2 >= sizes[2]:
                    continue
                x = (a + (s0 * sizes[1] + s1) * sizes[2] + s2) * sizes[3]
                w = (b + k) * taps[3]
                for tap in range(max(0, lowest - sizes[3] + 1), min(taps[3], highest)):
                    weight = kernel[w + tap]
                    if weight != zero:
                        low, high = max(lowest, tap), min(highest, sizes[3] + tap)
                        part, shifted = o[low - lowest : high - lowest], signal[x + low - tap : x + high - tap]
                        for j in range(part.size):
                            part[j] += weight * shifted[j]


_INTEGER = types.int64
_SIZES = readable(types.int64)


@cache
def look_at_cells(dtype: str) -> Callable[..., None]:
    """`_look_at_cells` for reals of this type."""
    number = from_dtype(np.dtype(dtype))
    table = types.float64[:, ::1]
    integers = (_INTEGER, _INTEGER, _INTEGER)
    signature = types.void(readable(number), *integers, number, table, table, _INTEGER, _INTEGER)
    return compile_ahead(signature, _look_at_cells, fastmath=_FINITE)


@cache
def bound_sums() -> Callable[..., None]:
    """`_bound_sums`."""
    double = types.float64
    tables = (readable(double, 3), readable(double, 3), readable(types.int64, 2))
    axes = (_SIZES, _SIZES, _SIZES)
    rest = (_INTEGER, readable(types.int64, 2), double[:, ::1], _INTEGER, _INTEGER)
    return compile_ahead(types.void(*tables, *axes, *rest), _bound_sums, fastmath=_FINITE)


@cache
def sum_cells(dtype: str) -> Callable[..., None]:
    """`_sum_cells` for numbers of this type, real or complex."""
    number: Any = from_dtype(np.dtype(dtype))
    axes = (_SIZES, _SIZES, _SIZES, _SIZES, _INTEGER, _INTEGER, readable(types.int64, 2))
    rest = (readable(types.int64), readable(types.uint8, 2), number[::1], number, _INTEGER, _INTEGER)
    return compile_ahead(types.void(readable(number), readable(number), *axes, *rest), _sum_cells, fastmath=_FLAGS)
