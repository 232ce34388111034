"""Batches as lines of whole places, as the kernels of a normalisation take them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv.binding import Numbers
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
from triarch.kernels.normalization.job import JOB, OF_CHANNELS
from triarch.tensors import dtype_name

FUNCTIONS = ("moments", "products", "rescale", "propagate")
_LINE = 512  # numbers, about
_FIELDS = {name: place for place, name in enumerate(JOB.names or ())}


def source(function: str, dtype: str) -> Source:
    """A kernel."""
    return Source("triarch.kernels.normalization.compiled", function, (dtype,), JOB)


class Lines:
    """A batch cut into lines of whole places, with what kernels need beside it; numbers of the channels are repeated.

    Making one takes longer than a pass over a small batch, so they are kept for the next of the same size.
    """

    def __init__(self, count: int, channels: int, dtype: torch.dtype, threads: int) -> None:
        self.threads = threads
        self.places = count // channels
        repeats = max(1, min(_LINE // channels, self.places))
        length = repeats * channels
        self.job = np.zeros(1, JOB)
        self.fields = self.job.view(np.int64)
        self.kernels = {name: compiled(source(name, dtype_name(dtype))) for name in FUNCTIONS}
        self.of_channels = {name: np.zeros((repeats, channels), dtype_name(dtype)) for name in OF_CHANNELS}
        self.totals = np.empty((threads, 2, repeats, channels))
        self.sums = np.empty(threads * 2 * length, dtype_name(dtype))
        self.place(count=count, length=length, totals=self.totals.ctypes.data, sums=self.sums.ctypes.data)
        self.place(**{name: held.ctypes.data for name, held in self.of_channels.items()})

    def place(self, **values: int) -> None:
        """Write fields of the job."""
        for name, value in values.items():
            self.fields[_FIELDS[name]] = value

    def spread(self, **of_channels: Numbers | float) -> None:
        """Write numbers of the channels, line after line: any of `OF_CHANNELS`."""
        for name, values in of_channels.items():
            self.of_channels[name][...] = values

    def run(self, name: str) -> None:
        """Call a kernel."""
        run(self.kernels[name], self.job, self.threads)

    def summed(self, name: str) -> Numbers:
        """The two sums of a kernel for each channel: (2, channels) in double precision."""
        self.run(name)
        return self.totals.sum((0, 2))


_kept: dict[tuple[int, int, torch.dtype, int], list[Lines]] = {}


@contextmanager
def lines_of(batch: Tensor) -> Iterator[Lines]:
    """The lines of a batch `(..., channels)`, for as long as the block lasts."""
    key = (batch.numel(), batch.shape[-1], batch.dtype, torch.get_num_threads())
    free = _kept.setdefault(key, [])
    try:
        lines = free.pop()
    except IndexError:
        lines = Lines(*key)
    try:
        yield lines
    finally:
        free.append(lines)
