"""Batches as lines of whole places, as the kernels of a normalisation take them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv.binding import ROWS_OF_NORMALIZATION, Numbers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.normalization.job import JOB
from triarch.tensors import dtype_name

FUNCTIONS = ("moments", "settle", "recall", "products", "settle_gradient", "rescale", "propagate")
_LINE = 512  # numbers, about


def source(function: str, dtype: str) -> Source:
    """A kernel."""
    return Source("triarch.kernels.normalization.compiled", function, (dtype,), JOB)


class Lines(Call):
    """A batch cut into lines of whole places, with what kernels need beside it; channels' numbers are repeated."""

    def __init__(self, count: int, channels: int, dtype: torch.dtype, threads: int) -> None:
        places = count // channels
        repeats = max(1, min(_LINE // channels, places))
        length, name = repeats * channels, dtype_name(dtype)
        job = np.zeros(1, JOB)
        for field, value in (("count", count), ("length", length), ("channels", channels), ("repeats", repeats)):
            job[field] = value
        job["places"], job["team"] = places, threads
        super().__init__(
            job,
            threads,
            lambda function: source(function, name),
            totals=np.empty((threads, 2, repeats, channels)),
            sums=np.empty(threads * 2 * length, name),
            verdict=np.zeros(1, np.int64),
            **{field: np.zeros((repeats, channels), name) for field in ROWS_OF_NORMALIZATION},
        )

    def spread(self, **of_channels: Numbers | float) -> None:
        """Write numbers of the channels, line after line: any of `ROWS_OF_NORMALIZATION`."""
        for name, values in of_channels.items():
            self.held[name][...] = values


@cache
def _kept(count: int, channels: int, dtype: torch.dtype, threads: int) -> Calls[Lines]:
    return Calls(partial(Lines, count, channels, dtype, threads))


def lines_of(batch: Tensor) -> AbstractContextManager[Lines]:
    """The lines of a batch `(..., channels)`, for as long as the block lasts."""
    return _kept(batch.numel(), batch.shape[-1], batch.dtype, torch.get_num_threads()).one()
