"""Maximum and average over sliding windows, for one to three spatial axes. Margins never count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.layouts import LAYOUTS, with_unit_axis
from triarch.kernels.windows import Sizes, Window, split_shape

_average_images = partial(F.avg_pool2d, count_include_pad=False)


def _average_volumes(volumes: Tensor, kernel_size: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool) -> Tensor:
    """The mean over height and width, then over depth, each as a pooling of images.

    torch's own takes no bfloat16 and no window larger than the volume, and copies memory with channels last.
    """
    batch, channels, depth = volumes.shape[:3]
    slices = volumes.transpose(1, 2).flatten(0, 1)  # (batch * depth, channels, height, width)
    slices = _average_images(slices, kernel_size[1:], stride[1:], padding[1:], ceil_mode)
    height, width = slices.shape[2:]
    columns = slices.view(batch, depth, channels, height, width).transpose(1, 2).flatten(3)
    columns = _average_images(columns, (kernel_size[0], 1), (stride[0], 1), (padding[0], 0), ceil_mode)
    return columns.unflatten(3, (height, width))


_OPERATIONS: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("max", 2): torch.max_pool2d,
    ("max", 3): torch.max_pool3d,
    ("average", 2): _average_images,
    ("average", 3): _average_volumes,
}


@dataclass(frozen=True, slots=True)
class PoolingPlan:
    """All that is decided about a pooling before its numbers are known."""

    arrange: Callable[[Tensor], Tensor]  # inputs -> torch's axis order
    operation: Callable[[Tensor], Tensor]
    restore: Callable[[Tensor], Tensor]  # outputs -> the inputs' axis order


@lru_cache(maxsize=4096)
def plan_pooling(shape: tuple[int, ...], window: Window, statistic: str) -> PoolingPlan:
    """The plan for inputs of `shape`, the batch axis included; `statistic` is `"max"` or `"average"`.

    torch's margins are as wide before as after. Where the end needs one place more, a stride of at least 2 lets the
    last window reach beyond the end (torch's `ceil_mode`); with stride 1, a place more on both sides gives one output
    too many, and the first is dropped.

    Raises:
        ValueError: an input of this shape does not fit.
    """
    window.output_shape(shape)
    spatial: Any = split_shape(shape, window.rank, window.data_format)[0]
    layout = LAYOUTS[window.rank, window.data_format]
    margins = window.margins(spatial)
    dropped = tuple(
        int(before != after and stride == 1) for (before, after), stride in zip(margins, window.strides, strict=True)
    )
    padding = tuple(before + drop for (before, _), drop in zip(margins, dropped, strict=True))
    operation = partial(
        _OPERATIONS[statistic, max(window.rank, 2)],
        kernel_size=with_unit_axis(window.sizes, 1),
        stride=with_unit_axis(window.strides, 1),
        padding=with_unit_axis(padding, 0),
        ceil_mode=window.padding == "same",
    )
    restore = layout.from_torch
    if any(dropped):
        kept: tuple[Any, ...] = (..., *(slice(drop, None) for drop in with_unit_axis(dropped, 0)))
        restore = partial(_restore_part, layout.from_torch, kept)
    return PoolingPlan(layout.to_torch, operation, restore)


def _restore_part(from_torch: Callable[[Tensor], Tensor], kept: tuple[Any, ...], outputs: Tensor) -> Tensor:
    return from_torch(outputs[kept])


def pool(plan: PoolingPlan, inputs: Tensor) -> Tensor:
    """Reduce every window to one number, channel by channel."""
    return plan.restore(plan.operation(plan.arrange(inputs)))
