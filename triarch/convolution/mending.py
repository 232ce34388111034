"""The places that the direct sum is to compute: as convolutions of a few parts of the signal, or cell by cell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, on_host
from triarch.convolution.cells import BY_SUM, BY_TRANSFORM, SECONDS_PER_PRODUCT, Cells, Look, as_integers
from triarch.convolution.spec import ConvolutionSpec, Sizes
from triarch.convolution.threads import split_work

_MOST_BOXES = 48  # beyond, they are too small to be convolved one by one


class Window(NamedTuple):
    """A part of the result: its convolution, of a part of the signal, and where both parts are."""

    spec: ConvolutionSpec
    read: tuple[slice, ...]
    written: tuple[slice, ...]


def windows(cells: Cells, look: Look) -> list[Window] | None:
    """What is to be summed, as a few windows of the result; None where they are many, or parts of batches."""
    is_summed = look.states == BY_SUM
    if cells.spec.batch or cells.spec.rank == 1 or not np.array_equal(is_summed, look.states != BY_TRANSFORM):
        return None
    boxes = _boxes(is_summed[0])
    return None if boxes is None else [_window(cells, *box) for box in boxes]


def _window(cells: Cells, low: Sizes, high: Sizes) -> Window:
    """That of the cells from `low` to `high`, both among them, counted from the first that the result meets."""
    rank = cells.spec.rank
    axes = list(zip(low, high, cells.first, cells.cell, cells.start, cells.length, strict=True))[-rank:]
    starts = [max((first + one) * cell, start) for one, _, first, cell, start, _ in axes]
    ends = [min((first + last + 1) * cell, start + length) for _, last, first, cell, start, length in axes]
    sizes = list(zip(starts, ends, cells.signal[-rank:], cells.kernel[-rank:], strict=True))
    read = tuple(slice(max(start - taps + 1, 0), min(end, size)) for start, end, size, taps in sizes)
    written = tuple(
        slice(one - own, end - own) for one, end, own in zip(starts, ends, cells.start[-rank:], strict=True)
    )
    cropped = tuple(part.stop - part.start for part in read)
    spec = replace(
        cells.spec,
        a_sizes=cropped if cells.spec.is_a_signal else cells.spec.a_sizes,
        b_sizes=cells.spec.b_sizes if cells.spec.is_a_signal else cropped,
        start=tuple(one - part.start for one, part in zip(starts, read, strict=True)),
        length=tuple(end - one for one, end in zip(starts, ends, strict=True)),
    )
    return Window(spec, read, written)


def mend(cells: Cells, look: Look, a: Any, b: Any, result: Any) -> None:
    """Write the cells that are not the transform's."""
    from triarch.convolution.compiled_cells import sum_cells

    signal, kernel = cells.operands(a, b)
    rows = _rows_to_mend(cells, look)
    places = np.unravel_index(rows, cells.spec.shape[:-1]) if cells.spec.shape[:-1] else (slice(None),)
    mended = on_host(result[places]).reshape(-1)
    axes = map(as_integers, (cells.signal, cells.kernel, cells.start, cells.length, cells.cell, cells.first))
    dtype = np.dtype(cells.spec.dtype)
    operands = signal.reshape(-1), kernel.reshape(-1), *axes, cells.entries, rows, look.states, mended
    work = partial(sum_cells(dtype.name), *operands, dtype.type(0))
    split_work(work, len(rows), SECONDS_PER_PRODUCT * look.products)
    written = mended.reshape(-1, cells.length[3]) if cells.spec.shape[:-1] else mended
    result[places] = torch.from_numpy(written).to(result.device) if isinstance(result, Tensor) else written


def _rows_to_mend(cells: Cells, look: Look) -> Array:
    """The numbers of the rows of places in which a cell is not the transform's."""
    is_mended = look.states.any(4)
    for axis, (start, length, cell, first) in enumerate(
        zip(cells.start[:3], cells.length[:3], cells.cell[:3], cells.first[:3], strict=True), start=1
    ):
        is_mended = is_mended.take((start + np.arange(length)) // cell - first, axis)
    return np.flatnonzero(is_mended)


def _boxes(is_marked: Array) -> list[tuple[Sizes, Sizes]] | None:
    """The marked cells as boxes, by their first and last cell: as long as can be in the last axes; None for many."""
    left, found = is_marked.copy(), list[tuple[Sizes, Sizes]]()
    while left.any():
        if len(found) == _MOST_BOXES:
            return None
        low = tuple(int(place) for place in np.unravel_index(left.argmax(), left.shape))
        high = list(low)
        for axis in reversed(range(left.ndim)):
            while high[axis] + 1 < left.shape[axis]:
                beside = [slice(one, last + 1) for one, last in zip(low, high, strict=True)]
                beside[axis] = slice(high[axis] + 1, high[axis] + 2)
                if not left[tuple(beside)].all():
                    break
                high[axis] += 1
        left[tuple(slice(one, last + 1) for one, last in zip(low, high, strict=True))] = False
        found.append((low, tuple(high)))
    return found
