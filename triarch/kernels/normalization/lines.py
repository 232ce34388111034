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

FUNCTIONS = ("moments", "settle", "recall", "products", "settle_gradient", "rescale", "propagate")
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
        places = count // channels
        repeats = max(1, min(_LINE // channels, places))
        length = repeats * channels
        self.job = np.zeros(1, JOB)
        self.fields = self.job.view(np.int64)
        self.kernels = {name: compiled(source(name, dtype_name(dtype))) for name in FUNCTIONS}
        self.of_channels = {name: np.zeros((repeats, channels), dtype_name(dtype)) for name in OF_CHANNELS}
        self.totals = np.empty((threads, 2, repeats, channels))
        self.sums = np.empty(threads * 2 * length, dtype_name(dtype))
        self.verdict = np.zeros(1, np.int64)
        self.place(count=count, length=length, channels=channels, repeats=repeats, places=places, team=threads)
        self.place(verdict=self.verdict.ctypes.data, totals=self.totals.ctypes.data, sums=self.sums.ctypes.data)
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
        """Call a kernel that divides the batch among the threads."""
        run(self.kernels[name], self.job, self.threads)

    def decide(self, name: str) -> None:
        """Call a kernel of the channels' numbers, which are few."""
        run(self.kernels[name], self.job, 1)


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
