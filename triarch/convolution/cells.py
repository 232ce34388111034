"""Where a transform keeps the promise of the direct sum, found by a cheap look at the operands, and where it does not.

A transform's rounding is the same at every place, `ε √log2(points) ‖a‖ ‖b‖` over all that it transforms together. The
direct sum's own bound, `ε n Σ |a| |b|` with n taps, differs from place to place. The look finds a lower
bound of `Σ |a| |b|` without convolving. Signal, kernel and result are cut into cells. A cell of the signal has a level
that nearly all of its numbers reach. At the places of a cell of the result, a cell of the kernel meets `2 ** rank`
neighbouring cells of the signal, in which so few numbers miss the lowest of their levels that they are half a cell's at
most: so what the kernel's cell is without its largest half, times that level, is a part of the sum. Cells of the result
that the bound shows to be right are the transform's; the others are summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from triarch.convolution.arrays import Array, batch_numbers, on_host
from triarch.convolution.methods import fourier, overlap
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Sizes
from triarch.convolution.threads import split_work

MULTIPLE = 8.0  # of the direct sum's own bound, which an error does not exceed
MOST_AXES = 4
BY_TRANSFORM, ZERO, BY_SUM = 0, 1, 2  # states of cells

_REAL_OF = {"complex64": "float32", "complex128": "float64"}
_LARGEST_CELL = 1024  # places in an axis
_LONG_KERNEL = 1 << 16
_LEAST_TAPS = {1: 32, 2: 250, 3: 1000, 4: 5000}
_CELLS_OF_KERNEL = {2: 6, 3: 4, 4: 3}  # in each of so many axes: fewer would see less, more have too few numbers each
_SECONDS_PER_NUMBER = 4e-10  # of one thread: only decides how many threads are worth waking
SECONDS_PER_PRODUCT = 1.5e-10  # of one thread, of sums in cells: beside the costs of methods


def can_look(spec: ConvolutionSpec) -> bool:
    """Whether such operands can be looked at, cell by cell."""
    return spec.rank <= MOST_AXES and spec.dtype in (*FLOATS, *COMPLEX)


def is_worth_a_look(spec: ConvolutionSpec) -> bool:
    """Whether the kernel's cells can hold enough numbers to show something of those that are usual."""
    return can_look(spec) and math.prod(spec.kernel_sizes) >= _LEAST_TAPS[spec.rank]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of two operands.

    Args:
        states: (batch, *cells) of the result, four axes.
        products: How many products the cells have that are summed.
        places: How many places those are.
    """

    states: Array
    products: float
    places: int

    @property
    def is_clear(self) -> bool:
        """Whether the transform does all of it."""
        return not self.states.any()


def _four(sizes: Sizes, filling: int = 1) -> Sizes:
    """Four axes, units before those that are there."""
    return (filling,) * (MOST_AXES - len(sizes)) + sizes


@dataclass(frozen=True)
class Cells:
    """The geometry of a convolution in cells.

    Args:
        method: `"fft"` or `"overlap_add"`, whose rounding it is about.
    """

    spec: ConvolutionSpec
    method: str

    @cached_property
    def real(self) -> np.dtype[Any]:
        """The type of the numbers' real parts."""
        return np.dtype(_REAL_OF.get(self.spec.dtype, self.spec.dtype))

    @cached_property
    def signal(self) -> Sizes:
        """The signal's four axes."""
        return _four(self.spec.signal_sizes)

    @cached_property
    def kernel(self) -> Sizes:
        """The kernel's."""
        return _four(self.spec.kernel_sizes)

    @cached_property
    def start(self) -> Sizes:
        """The window's."""
        return _four(self.spec.start, 0)

    @cached_property
    def length(self) -> Sizes:
        """The window's."""
        return _four(self.spec.length)

    @cached_property
    def cell(self) -> Sizes:
        """Places of a cell: larger ones bound faster, smaller ones leave fewer places to sum at the ends."""
        if self.spec.rank == 1:
            taps = self.kernel[3]
            wanted = min((self.signal[3] * taps / 9) ** 0.25, taps / 4)
            return (1, 1, 1, min(taps, _LARGEST_CELL, 8 * math.ceil(wanted / 8)))
        number = _CELLS_OF_KERNEL[self.spec.rank]
        *rows, taps = self.kernel
        rows = [min(_LARGEST_CELL, -(-taps // number)) for taps in rows]
        return (*rows, -(-taps // 2) if taps <= 16 else min(_LARGEST_CELL, 8 * math.ceil(taps / number / 8)))

    @cached_property
    def first(self) -> Sizes:
        """The first cell of the full convolution that the window meets."""
        return tuple(start // cell for start, cell in zip(self.start, self.cell, strict=True))

    @cached_property
    def count(self) -> Sizes:
        """How many cells the window meets."""
        axes = zip(self.start, self.length, self.cell, self.first, strict=True)
        return tuple((start + length - 1) // cell - first + 1 for start, length, cell, first in axes)

    @cached_property
    def share(self) -> float:
        """Of a cell, what may miss its level: so little that the cells met at once miss half of one."""
        return 0.5 / 2**self.spec.rank

    @cached_property
    def entries(self) -> Array:
        """(batch, 2): which entries of both operands' batches meet."""
        spec = self.spec
        pairs = [batch_numbers(own, spec.batch) for own in (spec.signal_batch, spec.kernel_batch)]
        return np.ascontiguousarray(np.stack(pairs, axis=1))

    @cached_property
    def products(self) -> Array:
        """How many products the sums in each cell of the result have at least."""
        result = np.ones(1)
        for first, last, size, taps in zip(*self._ends, self.signal, self.kernel, strict=True):
            overlaps = np.minimum(_overlap(first, size, taps), _overlap(last, size, taps))
            result = np.multiply.outer(result, overlaps)
        return result

    @property
    def terms(self) -> Array | int:
        """The `n` of the direct sum's bound: the kernel's taps; in one axis, where that is cheap, those that meet."""
        return self.products if self.spec.rank == 1 else math.prod(self.kernel)

    @cached_property
    def widths(self) -> Array:
        """How many places of the window each cell holds."""
        result = np.ones(1)
        for first, last in zip(*self._ends, strict=True):
            result = np.multiply.outer(result, last - first + 1)
        return result

    @cached_property
    def _ends(self) -> tuple[list[Array], list[Array]]:
        """The first and the last place of each cell that the window meets, in each axis."""
        firsts, lasts = [], []
        for start, length, cell, first, count in zip(
            self.start, self.length, self.cell, self.first, self.count, strict=True
        ):
            lows = (first + np.arange(count)) * cell
            firsts.append(lows.clip(start))
            lasts.append((lows + cell).clip(max=start + length) - 1)
        return firsts, lasts

    @cached_property
    def reach(self) -> Sizes | None:
        """How far the places of one transform lie apart; None where all are in one."""
        if self.method == "fft" or overlap.is_one_block(self.spec):
            return None
        return _four(overlap.block_sizes(self.spec))

    @cached_property
    def points(self) -> int:
        """Of a transform."""
        return math.prod(fourier.transform(self.spec).sizes if self.reach is None else self.reach)

    def look(self, a: Any, b: Any) -> Look:
        """The states of the result's cells for operands that are finite, with squares that are, too."""
        signal, kernel = self.operands(a, b)
        levels, squares = self._look_at_cells(signal, self.signal, self.spec.reals)
        magnitudes = np.abs(kernel).reshape(-1, *self.kernel)
        allowed = self._bounds(levels, magnitudes)
        allowed *= MULTIPLE * float(np.finfo(self.real).eps) * self.terms
        is_summed = self._rounding(squares, magnitudes) > allowed
        states = np.where(is_summed, np.uint8(BY_SUM), np.uint8(BY_TRANSFORM))
        if not squares.all() or not magnitudes.any():
            states[self._meets_nothing(squares, magnitudes)] = ZERO
            is_summed = states == BY_SUM
        if not is_summed.any():
            return Look(states, 0.0, 0)
        filled = np.count_nonzero(magnitudes) / magnitudes.size  # taps that are zero take no time
        places = is_summed * self.widths
        return Look(states, float((places * self.products).sum()) * filled, int(places.sum()))

    def operands(self, a: Any, b: Any) -> tuple[Array, Array]:
        """Signal and kernel in this machine's memory."""
        signal, kernel = (a, b) if self.spec.is_a_signal else (b, a)
        return on_host(signal), on_host(kernel)

    def _look_at_cells(self, operand: Array, sizes: Sizes, step: int) -> tuple[Array, Array]:
        """Levels and squares of an operand of these sizes, whose numbers are of `step` reals: (batch, *cells)."""
        from triarch.convolution.compiled_cells import look_at_cells

        counts = tuple(-(-size // cell) for size, cell in zip(sizes, self.cell, strict=True))
        rows = operand.size // math.prod(sizes) * math.prod(counts[:3])
        levels, squares = np.empty((2, rows, counts[3]))
        values = operand.reshape(-1).view(self.real)
        axes = map(as_integers, (sizes, self.cell, counts))
        operands = values, *axes, step, self.real.type(self.share), levels, squares
        split_work(partial(look_at_cells(self.real.name), *operands), rows, _SECONDS_PER_NUMBER * values.size)
        return levels.reshape(-1, *counts), squares.reshape(-1, *counts)

    def _bounds(self, levels: Array, magnitudes: Array) -> Array:
        """From below, `Σ |a| |b|` of every place of each cell: (batch, *cells)."""
        from triarch.convolution.compiled_cells import bound_sums

        for axis in range(MOST_AXES, MOST_AXES - self.spec.rank, -1):
            levels = _lower_of_neighbours(levels, axis)
        for axis in range(MOST_AXES - self.spec.rank, 0, -1):  # an axis of one cell has no neighbours
            levels = np.concatenate([levels, np.zeros_like(levels)], axis)
        trimmed = self._trimmed(magnitudes)
        places = np.stack(np.unravel_index(np.arange(math.prod(trimmed.shape[1:4])), trimmed.shape[1:4]), axis=1)
        paired = np.ascontiguousarray(levels.reshape(len(levels), -1, levels.shape[4]))
        trimmed = trimmed.reshape(len(trimmed), -1, trimmed.shape[4])
        bounds = np.empty((len(self.entries) * math.prod(self.count[:3]), self.count[3]))
        axes = (as_integers(sizes[:3]) for sizes in (levels.shape[1:], self.first, self.count))
        operands = paired, trimmed, np.ascontiguousarray(places), *axes, self.first[3], self.entries, bounds
        split_work(partial(bound_sums(), *operands), len(bounds), 1e-10 * bounds.size * trimmed[0].size)
        return bounds.reshape(-1, *self.count)

    def _trimmed(self, magnitudes: Array) -> Array:
        """From below, what is left of the sums of the kernel's cells without their largest half: (batch, *cells)."""
        if magnitudes[0].size > _LONG_KERNEL and self.spec.rank == 1:
            levels, _ = self._look_at_cells(magnitudes, self.kernel, 1)
            return levels * (math.prod(self.cell) * (0.5 - self.share))
        cells = [-(-taps // cell) for taps, cell in zip(self.kernel, self.cell, strict=True)]
        whole = tuple(number * cell for number, cell in zip(cells, self.cell, strict=True))
        if whole != self.kernel:
            padded = np.zeros((len(magnitudes), *whole), magnitudes.dtype)
            padded[:, *map(slice, self.kernel)] = magnitudes
            magnitudes = padded
        shape = [number for pair in zip(cells, self.cell, strict=True) for number in pair]
        parts = magnitudes.reshape(len(magnitudes), *shape)
        within, size = (2, 4, 6, 8), math.prod(self.cell)
        # Of numbers cut at any height, the largest half is no more than half of the cell at that height.
        heights = parts.mean(within, np.float64, keepdims=True)
        held = np.minimum(parts, heights).sum(within, np.float64)
        return np.ascontiguousarray((held - 0.5 * size * heights.reshape(held.shape)).clip(0))

    def _rounding(self, squares: Array, magnitudes: Array) -> Array:
        """From above, the transform's error in cells of the result: (batch, *cells), axes of 1 where all are alike."""
        limits = np.finfo(self.real)
        # What was too small to be squared counts as the smallest square.
        squares = squares + (squares > 0) * (float(limits.tiny) * math.prod(self.cell))
        squares = squares.sum((1, 2, 3, 4), keepdims=True) if self.reach is None else self._around(squares, self.reach)
        taps = np.sqrt(np.square(magnitudes, dtype=np.float64).sum((1, 2, 3, 4), keepdims=True) + float(limits.tiny))
        signal, kernel = self.entries.T
        factor = float(limits.eps) * math.sqrt(max(1.0, math.log2(self.points)))
        return np.sqrt(squares)[signal] * (factor * taps[kernel]) + self.points * float(limits.tiny)

    def _around(self, squares: Array, reach: Sizes) -> Array:
        """The sums of squares of what is transformed together with the places of each cell of the result."""
        axes = zip(reach, self.kernel, self.start, self.cell, *self._ends, strict=True)
        for axis, (size, taps, start, cell, firsts, lasts) in enumerate(axes, start=1):
            step = size - taps + 1
            lows = start + np.arange((lasts[-1] - start) // step + 1) * step - taps + 1  # the blocks' first places
            most = squares.shape[axis]
            ranges = np.stack([lows // cell, (lows + size - 1) // cell + 1], axis=1).clip(0, most)
            nothing = np.zeros_like(squares.take([0], axis))  # where the last range may end
            sums = np.add.reduceat(np.concatenate([squares, nothing], axis), ranges.reshape(-1), axis)
            sums = sums.take(np.arange(len(lows)) * 2, axis)
            squares = np.maximum(*(sums.take((ends - start) // step, axis) for ends in (firsts, lasts)))
        return squares

    def _meets_nothing(self, squares: Array, magnitudes: Array) -> Array:
        """Where a cell's sums have no product other than zero: (batch, *cells)."""
        counts = (squares > 0).astype(np.int64)
        for axis, (taps, cell, first, count) in enumerate(
            zip(self.kernel, self.cell, self.first, self.count, strict=True), start=1
        ):
            last = first + np.arange(count)
            lowest = last - (taps + cell - 2) // cell
            size = counts.shape[axis]
            sums = np.zeros((*counts.shape[:axis], size + 1, *counts.shape[axis + 1 :]), np.int64)
            np.cumsum(counts, axis, out=sums[(slice(None),) * axis + (slice(1, None),)])
            counts = sums.take((last + 1).clip(0, size), axis) - sums.take(lowest.clip(0, size), axis)
        signal, kernel = self.entries.T
        has_taps = magnitudes.max((1, 2, 3, 4), keepdims=True) > 0
        return ~((counts > 0)[signal] & has_taps[kernel])


def as_integers(sizes: Sizes) -> Array:
    """Sizes as compiled code takes them."""
    return np.array(sizes, np.int64)


def _lower_of_neighbours(levels: Array, axis: int) -> Array:
    """The lower of each two neighbours, with zeros beyond the ends: one more than there are."""
    before = (slice(None),) * axis
    size = levels.shape[axis]
    result = np.zeros((*levels.shape[:axis], size + 1, *levels.shape[axis + 1 :]))
    lower, upper = (*before, slice(0, size - 1)), (*before, slice(1, size))
    np.minimum(levels[lower], levels[upper], out=result[(*before, slice(1, size))])
    return result


def _overlap(full: Array, size: int, taps: int) -> Array:
    """How many terms a place of the full convolution of one axis has."""
    return np.minimum(np.minimum(full + 1, size + taps - 1 - full), min(size, taps))
