"""Batches as kernels see them: an address, and steps from image to image and along the spatial axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from triarch.kernels.native.call import Job

BATCHES = ("inputs", "outputs", "output_gradient", "input_gradient")


def rounded_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def with_unit_axes(values: Sequence[int], rank: int, unit: int = 1) -> tuple[int, ...]:
    """Values for the last axes, and `unit` for those before them: a series is an image of one row."""
    return (unit,) * (rank - len(values)) + tuple(values)


def with_channels_together(batch: Tensor) -> Tensor:
    """The batch, copied where the channels of a place do not lie side by side."""
    return batch if batch.stride(-1) == 1 or batch.shape[-1] == 1 else batch.contiguous()


def record(
    addresses: Sequence[str], sizes: Sequence[str], of_axes: Sequence[str], axes: Sequence[str]
) -> np.dtype[Any]:
    """What a kernel of several axes is told; beside what is named, the batches' addresses and steps, and a rectifier.

    The rectifier is `slope` and `cap`: 1 and NaN where there is none.
    """
    integers = (
        *BATCHES,
        *addresses,
        *sizes,
        *(f"{name}_{axis}" for name in of_axes for axis in axes),
        *(f"{name}_{axis}" for name in BATCHES for axis in ("image", *axes)),
    )
    return np.dtype([(name, np.int64) for name in integers] + [(name, np.float64) for name in ("slope", "cap")])


def filled(
    record: np.dtype[Any], values: Mapping[str, float], of_axes: Mapping[str, Sequence[int]], axes: Sequence[str]
) -> Job:
    """A job with these fields; `of_axes` has a number for each of `axes`, in fields such as `"size_row"`."""
    job = np.zeros(1, record)
    for name, value in values.items():
        job[name] = value
    for name, numbers in of_axes.items():
        for axis, number in zip(axes, numbers, strict=True):
            job[f"{name}_{axis}"] = number
    return job
