"""Where a transform keeps the promise of the direct sum, found by a cheap look at the operands, and where it does not.

A transform's rounding is the same at every place, `ε √log2(points) ‖a‖ ‖b‖` over all that it transforms together. The
direct sum's own bound, `ε n Σ |a| |b|` with the n terms at a place, differs from place to place. The look finds a lower
bound of `Σ |a| |b|` without convolving: the signal's last axis is cut into cells, each with a level that most of its
numbers reach. Wherever a cell of the kernel meets the signal, it meets two neighbouring cells, in which at most half a
cell's numbers miss the lower level: so what is left of the kernel's cell without its largest half, times that level, is
a part of the sum. Cells of the result that the bound shows to be right are the transform's; the others are summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, batch_numbers, on_host
from triarch.convolution.methods import fourier, overlap
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Sizes
from triarch.convolution.threads import split_work

MULTIPLE = 8.0  # of the direct sum's own bound, which an error does not exceed
MOST_AXES = 4
BY_TRANSFORM, ZERO, BY_SUM = 0, 1, 2  # states of cells

_REAL_OF = {"complex64": "float32", "complex128": "float64"}
_LARGEST_CELL = 1024
_MOST_PAIRS = 64  # of a row and a cell of the kernel, in several axes: enough for a bound
_SECONDS_PER_NUMBER = 3e-10  # of one thread: only decides how many threads are worth waking
SECONDS_PER_PRODUCT = 1.5e-10  # of one thread, of sums in cells: beside the costs of methods


def can_look(spec: ConvolutionSpec) -> bool:
    """Whether such operands can be looked at."""
    return spec.rank <= MOST_AXES and spec.dtype in (*FLOATS, *COMPLEX)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of two operands.

    Args:
        states: (rows, cells) of the result.
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
    def cell(self) -> int:
        """Places of a cell: larger ones bound faster, smaller ones leave fewer places to sum at the ends."""
        taps = self.kernel[3]
        if self.spec.rank == 1:
            balanced = (self.signal[3] * taps / 9) ** 0.25
            cell = min(balanced, taps / 4)
        else:
            cell = min(taps / 2, 16.0)
        return min(taps, _LARGEST_CELL, 8 * math.ceil(cell / 8))

    @cached_property
    def first(self) -> int:
        """The first cell of the full convolution that the window meets."""
        return self.start[3] // self.cell

    @cached_property
    def count(self) -> int:
        """How many it meets."""
        return (self.start[3] + self.length[3] - 1) // self.cell - self.first + 1

    @cached_property
    def entries(self) -> Array:
        """(batch, 2): which entries of both operands' batches meet."""
        spec = self.spec
        pairs = [batch_numbers(own, spec.batch) for own in (spec.signal_batch, spec.kernel_batch)]
        return np.ascontiguousarray(np.stack(pairs, axis=1))

    @cached_property
    def axes(self) -> tuple[Array, Array, Array]:
        """The three axes of rows: of the signal, the window's start and its length."""
        return tuple(np.array(sizes[:3], np.int64) for sizes in (self.signal, self.start, self.length))  # type: ignore[return-value]

    @cached_property
    def terms(self) -> tuple[Array, Array]:
        """How many products the sums of each row and of each cell have: the product of both, at least."""
        per_axis = []
        for axis in range(3):
            full = self.start[axis] + np.arange(self.length[axis])
            per_axis.append(_overlap(full, self.signal[axis], self.kernel[axis]))
        rows = (per_axis[0][:, None, None] * per_axis[1][:, None] * per_axis[2]).reshape(-1)
        low = (self.first + np.arange(self.count)) * self.cell
        ends = low.clip(self.start[3]), (low + self.cell).clip(max=self.start[3] + self.length[3]) - 1
        return rows, np.minimum(*(_overlap(end, self.signal[3], self.kernel[3]) for end in ends))

    @cached_property
    def widths(self) -> Array:
        """How many places of the window each cell holds."""
        low = (self.first + np.arange(self.count)) * self.cell
        ends = self.start[3], self.start[3] + self.length[3]
        return (low + self.cell).clip(*ends) - low.clip(*ends)

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
        signal, kernel = self._operands(a, b)
        levels, squares = self._look_at_signal(signal)
        magnitudes = np.abs(kernel).reshape(-1, math.prod(self.kernel[:3]), self.kernel[3]).astype(np.float64)
        bounds = self._bounds(levels, magnitudes)
        rounding = self._rounding(squares, magnitudes)
        rows, cells = self.terms
        epsilon = float(np.finfo(self.real).eps)
        allowed = bounds.reshape(len(self.entries), len(rows), -1)
        allowed *= (MULTIPLE * epsilon) * cells
        allowed *= rows[:, None]
        states = np.where(rounding > allowed, np.uint8(BY_SUM), np.uint8(BY_TRANSFORM))
        if (squares == 0).any() or not magnitudes.any():
            states[self._meets_nothing(squares, magnitudes)] = ZERO
        is_summed = states == BY_SUM
        places = products = 0.0
        if is_summed.any():
            filled = np.count_nonzero(magnitudes) / magnitudes.size  # taps that are zero take no time
            places = float((is_summed * self.widths).sum())
            products = float((is_summed * (self.widths * cells) * rows[:, None]).sum()) * filled
        return Look(np.ascontiguousarray(states.reshape(-1, self.count)), products, int(places))

    def _look_at_signal(self, signal: Array) -> tuple[Array, Array]:
        """Levels and squares: (rows, cells)."""
        from triarch.convolution.compiled_cells import look_at_cells

        rows, width = signal.size // self.signal[3], self.signal[3]
        levels, squares = np.empty((2, rows, -(-width // self.cell)))
        values = signal.reshape(-1).view(self.real)
        zero = self.real.type(0)
        work = partial(
            look_at_cells(self.real.name), values, width, self.cell, self.spec.reals, zero, levels, squares
        )
        split_work(work, rows, _SECONDS_PER_NUMBER * values.size)
        return levels, squares

    def _bounds(self, levels: Array, magnitudes: Array) -> Array:
        """From below, `Σ |a| |b|` of every place of each cell: (rows of the result, cells)."""
        from triarch.convolution.compiled_cells import bound_sums

        paired = np.zeros((len(levels), levels.shape[1] + 1))
        np.minimum(levels[:, :-1], levels[:, 1:], out=paired[:, 1:-1])
        paired = paired.reshape(-1, math.prod(self.signal[:3]), paired.shape[1])
        trimmed, places = self._trimmed(magnitudes)
        sizes, start, length = self.axes
        bounds = np.empty((len(self.entries) * math.prod(self.length[:3]), self.count))
        operands = paired, trimmed, places, sizes, start, length, self.first, self.entries, bounds
        seconds = 1e-10 * bounds.size * trimmed[0].size
        split_work(partial(bound_sums(), *operands), len(bounds), seconds)
        return bounds

    def _trimmed(self, magnitudes: Array) -> tuple[Array, Array]:
        """Of the kernel's largest rows, what is left of cells without their largest half; and where those rows are."""
        batch, rows, taps = magnitudes.shape
        cells = -(-taps // self.cell)
        if cells * self.cell > taps:
            padded = np.zeros((batch, rows, cells * self.cell))
            padded[..., :taps] = magnitudes
            magnitudes = padded
        parts = magnitudes.reshape(batch, rows, cells, self.cell)
        kept = self.cell - -(-self.cell // 2)
        trimmed = np.partition(parts, kept, axis=-1)[..., :kept].sum(-1) if kept else np.zeros(parts.shape[:3])
        most = max(1, _MOST_PAIRS // cells) if self.spec.rank > 1 else rows
        chosen = np.arange(rows)
        if rows > most:
            chosen = np.sort(np.argpartition(trimmed.sum((0, 2)), rows - most)[rows - most :])
            trimmed = np.ascontiguousarray(trimmed[:, chosen])
        places = np.stack(np.unravel_index(chosen, self.kernel[:3]), axis=1)
        return trimmed, np.ascontiguousarray(places, np.int64)

    def _rounding(self, squares: Array, magnitudes: Array) -> Array:
        """From above, the transform's error in cells of the result: (batch, rows or 1, cells or 1)."""
        limits = np.finfo(self.real)
        squares = squares + (squares > 0) * (float(limits.tiny) * self.cell)  # what was too small to be squared
        squares = squares.reshape(-1, *self.signal[:3], squares.shape[1])
        around = squares.sum((1, 2, 3, 4), keepdims=True) if self.reach is None else self._around(squares, self.reach)
        norms = np.sqrt(around.reshape(len(around), -1, around.shape[-1]))
        taps = np.sqrt(np.square(magnitudes).sum((1, 2)) + float(limits.tiny))
        signal, kernel = self.entries.T
        factor = float(limits.eps) * math.sqrt(max(1.0, math.log2(self.points)))
        return norms[signal] * (factor * taps[kernel, None, None]) + self.points * float(limits.tiny)

    def _around(self, squares: Array, reach: Sizes) -> Array:
        """The sums of squares of what is transformed together with each place of the result, or more than that."""
        for axis, size in enumerate(reach, start=1):
            unit = self.cell if axis == MOST_AXES else 1
            group = max(1, -(-size // unit))
            groups = -(-squares.shape[axis] // group)
            sums = np.add.reduceat(squares, np.arange(groups) * group, axis)
            padded = np.zeros(sums.shape[:axis] + (groups + 3,) + sums.shape[axis + 1 :])
            inner = (slice(None),) * axis
            for shift in range(3):  # the group of a place, and those beside it
                padded[(*inner, slice(shift, shift + groups))] += sums
            if axis == MOST_AXES:
                wanted = self.first + np.arange(self.count)
            else:
                wanted = self.start[axis - 1] + np.arange(self.length[axis - 1])
            squares = padded.take((wanted // group + 1).clip(max=groups + 2), axis)
        return squares

    def _meets_nothing(self, squares: Array, magnitudes: Array) -> Array:
        """Where a cell's sums have no product other than zero: (batch, rows, cells)."""
        filled = (squares > 0).reshape(-1, *self.signal[:3], squares.shape[1])
        counts = filled.astype(np.int64)
        for axis in range(1, MOST_AXES + 1):
            if axis == MOST_AXES:
                last = self.first + np.arange(self.count)
                first = last - (self.kernel[3] + self.cell - 2) // self.cell
            else:
                last = self.start[axis - 1] + np.arange(self.length[axis - 1])
                first = last - self.kernel[axis - 1] + 1
            size = counts.shape[axis]
            sums = np.zeros(counts.shape[:axis] + (size + 1,) + counts.shape[axis + 1 :], np.int64)
            np.cumsum(counts, axis, out=sums[(slice(None),) * axis + (slice(1, None),)])
            counts = sums.take((last + 1).clip(0, size), axis) - sums.take(first.clip(0, size), axis)
        signal, kernel = self.entries.T
        met = counts.reshape(len(counts), -1, self.count)[signal] > 0
        return ~(met & magnitudes.any((1, 2))[kernel, None, None])

    def _operands(self, a: Any, b: Any) -> tuple[Array, Array]:
        """Signal and kernel in this machine's memory."""
        signal, kernel = (a, b) if self.spec.is_a_signal else (b, a)
        return on_host(signal), on_host(kernel)

    def mend(self, look: Look, a: Any, b: Any, result: Any) -> None:
        """Write the cells that are not the transform's."""
        from triarch.convolution.compiled_cells import sum_cells

        signal, kernel = self._operands(a, b)
        rows = np.flatnonzero(look.states.any(1))
        places = np.unravel_index(rows, self.spec.shape[:-1]) if self.spec.shape[:-1] else (slice(None),)
        mended = on_host(result[places]).reshape(-1)
        axes = (np.array(sizes, np.int64) for sizes in (self.signal, self.kernel, self.start, self.length))
        dtype = np.dtype(self.spec.dtype)
        operands = signal.reshape(-1), kernel.reshape(-1), *axes, self.cell, self.first, self.entries, rows
        work = partial(sum_cells(dtype.name), *operands, look.states, mended, dtype.type(0))
        split_work(work, len(rows), SECONDS_PER_PRODUCT * look.products)
        mended = mended.reshape(-1, self.length[3]) if self.spec.shape[:-1] else mended
        result[places] = torch.from_numpy(mended).to(result.device) if isinstance(result, Tensor) else mended


def _overlap(full: Array, size: int, taps: int) -> Array:
    """How many terms a place of the full convolution of one axis has."""
    return np.minimum(np.minimum(full + 1, size + taps - 1 - full), min(size, taps))
