"""Keras's axis order to torch's and back, as views: (batch, height, width, channels) memory is never copied.

One spatial axis becomes two, the first of size 1: torch's convolutions and poolings with channels last in memory exist
for two and three axes, and are up to several times faster on a CPU than those for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Layout(NamedTuple):
    """Views of inputs and kernels as torch wants them, and of outputs as Keras does."""

    to_torch: Callable[[Tensor], Tensor]
    from_torch: Callable[[Tensor], Tensor]
    weight: Callable[[Tensor], Tensor]


def _as_is(tensor: Tensor) -> Tensor:
    return tensor


def _series_to_torch(series: Tensor) -> Tensor:
    return series.unsqueeze(1).permute(0, 3, 1, 2)


def _series_from_torch(series: Tensor) -> Tensor:
    return series.permute(0, 2, 3, 1).squeeze(1)


def _series_weight(kernel: Tensor) -> Tensor:
    return _images_weight(kernel.unsqueeze(0))


def _channels_first_series_to_torch(series: Tensor) -> Tensor:
    return series.unsqueeze(2)


def _channels_first_series_from_torch(series: Tensor) -> Tensor:
    return series.squeeze(2)


def _images_to_torch(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2)


def _images_from_torch(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1)


def _images_weight(kernel: Tensor) -> Tensor:
    weight = kernel.permute(3, 2, 0, 1)
    # torch's gradient takes the strides of a single filter for an order of memory that it then refuses.
    return weight.contiguous() if weight.shape[0] == 1 else weight


def _volumes_to_torch(volumes: Tensor) -> Tensor:
    return volumes.permute(0, 4, 1, 2, 3)


def _volumes_from_torch(volumes: Tensor) -> Tensor:
    return volumes.permute(0, 2, 3, 4, 1)


def _volumes_weight(kernel: Tensor) -> Tensor:
    return kernel.permute(4, 3, 0, 1, 2)


LAYOUTS = {
    (1, "channels_last"): Layout(_series_to_torch, _series_from_torch, _series_weight),
    (1, "channels_first"): Layout(_channels_first_series_to_torch, _channels_first_series_from_torch, _series_weight),
    (2, "channels_last"): Layout(_images_to_torch, _images_from_torch, _images_weight),
    (2, "channels_first"): Layout(_as_is, _as_is, _images_weight),
    (3, "channels_last"): Layout(_volumes_to_torch, _volumes_from_torch, _volumes_weight),
    (3, "channels_first"): Layout(_as_is, _as_is, _volumes_weight),
}


def with_unit_axis(values: tuple[int, ...], unit: int) -> tuple[int, ...]:
    """`values`, one for each of at least two axes: `unit` stands for the axis that a series is given."""
    return values if len(values) > 1 else (unit, *values)
