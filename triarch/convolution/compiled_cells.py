"""The compiled loops that look at operands cell by cell, and that sum where a transform would round too coarsely.

A cell is a box of places. There are four axes; those before the last are rows, of places or of cells.
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


def _look_at_cells(values, sizes, cell, counts, step, share, levels, squares, first, last):
    """Of the cells in rows `first` ... `last - 1`: a level that most numbers reach, and the sum of squares.

    `Σ min(|x|, level)` falls short of what it were if all places of a whole cell reached the level by at most `share`
    of that; a cell without such a level has 0. Tried are the level of the cell before, then parts of the cell's own
    mean: three times `share` is what equally distributed numbers have, half of that is for those of a bell. Squares are
    above 0 wherever a number is.

    Args:
        values: Numbers of `step` reals, flat.
        sizes, cell, counts: Of the operand, of a cell and of all cells: four axes.
        share: Of the type of the reals.
        levels, squares: (rows of cells of all the batch, cells), written.
    """
    zero = share - share
    rows = counts[0] * counts[1] * counts[2]
    places = cell[0] * cell[1] * cell[2] * cell[3]
    mean = share / np.float32(places * step)
    enough = (1 - share) * np.float32(places)
    for row in range(first, last):
        entry, rest = row // rows, row % rows
        c0, c1, c2 = rest // (counts[1] * counts[2]), rest // counts[2] % counts[1], rest % counts[2]
        level = zero
        for number in range(counts[3]):
            left, right = number * cell[3], min((number + 1) * cell[3], sizes[3])
            for attempt in range(3):
                total, square, held = zero, zero, zero
                for p0 in range(c0 * cell[0], min((c0 + 1) * cell[0], sizes[0])):
                    for p1 in range(c1 * cell[1], min((c1 + 1) * cell[1], sizes[1])):
                        for p2 in range(c2 * cell[2], min((c2 + 1) * cell[2], sizes[2])):
                            base = (((entry * sizes[0] + p0) * sizes[1] + p1) * sizes[2] + p2) * sizes[3]
                            part = values[(base + left) * step : (base + right) * step]
                            if step == 1:
                                for place in range(part.size):
                                    value = abs(part[place])
                                    total += value
                                    square += value * value
                                    held += min(value, level)
                            else:
                                for place in range(part.size // 2):
                                    real, imaginary = abs(part[2 * place]), abs(part[2 * place + 1])
                                    total += real + imaginary
                                    square += real * real + imaginary * imaginary
                                    held += min(max(real, imaginary), level)
                own = total * mean
                if held >= enough * level and level >= own and level > 0:
                    break
                if attempt == 0:
                    level = 3 * own
                elif attempt == 1:
                    level = own + own / 2
                else:
                    level = zero
            levels[row, number] = level
            squares[row, number] = square + 1e-300 if total > 0 else 0.0


def _bound_sums(paired, trimmed, places, signal, start, length, first_cell, entries, bounds, first, last):
    """From below, what `Σ |a| |b|` is at every place of the result's cells in rows `first` ... `last - 1`.

    Args:
        paired: (batch, rows, cells + 1): the lowest level of all cells that a cell of the kernel can meet at once.
        trimmed: (batch, rows, cells): what of the sum of a cell of the kernel is left without its largest taps.
        places: (rows, 3): where in the kernel those rows are.
        signal, start, length: Of `paired`, of the first cells and of the numbers of cells: the axes of rows.
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
    signal, kernel, sizes, taps, start, length, cell, origin, entries, rows, states, output, zero, first, last
):
    """Write the places of cells in the rows numbered `first` ... `last - 1`: 0 in state 1, the direct sum in state 2.

    Args:
        signal, kernel, output: Flat; real or complex.
        sizes, taps, start, length, cell: Of signal, kernel, window and cells: four axes.
        origin: The first cell of the full convolution that the window meets, in each axis.
        entries: As in `_bound_sums`.
        rows: Which ones of the result are in `output`.
        states: (batch, *cells).
        zero: Of the type of the numbers.
    """
    per_entry = length[0] * length[1] * length[2]
    signal_rows, kernel_rows = sizes[0] * sizes[1] * sizes[2], taps[0] * taps[1] * taps[2]
    for item in range(first, last):
        entry, rest = rows[item] // per_entry, rows[item] % per_entry
        a, b = entries[entry, 0] * signal_rows, entries[entry, 1] * kernel_rows
        f0 = start[0] + rest // (length[1] * length[2])
        f1 = start[1] + rest // length[2] % length[1]
        f2 = start[2] + rest % length[2]
        of_row = states[entry, f0 // cell[0] - origin[0], f1 // cell[1] - origin[1], f2 // cell[2] - origin[2]]
        number = 0
        while number < of_row.size:
            state, begin = of_row[number], number
            while number < of_row.size and of_row[number] == state and (number - begin) * cell[3] < _LONGEST_RUN:
                number += 1
            if state == 0:
                continue
            lowest = max((origin[3] + begin) * cell[3], start[3])
            highest = min((origin[3] + number) * cell[3], start[3] + length[3])
            o = output[item * length[3] + lowest - start[3] : item * length[3] + highest - start[3]]
            o[:] = zero
            if state == 1:
                continue
            for k in range(kernel_rows):
                s0, s1, s2 = f0 - k // (taps[1] * taps[2]), f1 - k // taps[2] % taps[1], f2 - k % taps[2]
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
    signature = types.void(readable(number), _SIZES, _SIZES, _SIZES, _INTEGER, number, table, table, _INTEGER, _INTEGER)
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
    axes = (_SIZES, _SIZES, _SIZES, _SIZES, _SIZES, _SIZES, readable(types.int64, 2))
    rest = (readable(types.int64), readable(types.uint8, 5), number[::1], number, _INTEGER, _INTEGER)
    return compile_ahead(types.void(readable(number), readable(number), *axes, *rest), _sum_cells, fastmath=_FLAGS)
