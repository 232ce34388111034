"""Batches as kernels see them: an address, and steps from image to image and along the spatial axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Job = np.ndarray[Any, Any]  # one record


def rounded_up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def name_of(dtype: torch.dtype) -> str:
    """`torch.float32` -> `"float32"`."""
    return str(dtype).removeprefix("torch.")


def with_unit_axes(values: Sequence[int], rank: int, unit: int = 1) -> tuple[int, ...]:
    """Values for the last axes, and `unit` for those before them: a series is an image of one row."""
    return (unit,) * (rank - len(values)) + tuple(values)


def with_channels_together(batch: Tensor) -> Tensor:
    """The batch, copied where the channels of a place do not lie side by side."""
    return batch if batch.stride(-1) == 1 or batch.shape[-1] == 1 else batch.contiguous()


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


def place(job: Job, name: str, batch: Tensor, channel: int, axes: Sequence[str]) -> None:
    """Write where a batch `(images, *sizes, channels)` lies, from one of its channels on, into the fields of `name`."""
    job[name] = batch.data_ptr() + channel * batch.element_size()
    image, *steps = batch.stride()[:-1]
    for axis, step in zip(("image", *axes), (image, *with_unit_axes(steps, len(axes), 0)), strict=True):
        job[f"{name}_{axis}"] = step
