"""Convolution of batches (cross-correlation, as neural networks mean it), for one to three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.layouts import LAYOUTS, with_unit_axis
from triarch.kernels.windows import Window, split_shape

_OPERATIONS = {2: torch.conv2d, 3: torch.conv3d}


@dataclass(frozen=True, slots=True)
class ConvolutionPlan:
    """All that is decided about a convolution before its numbers are known."""

    arrange: Callable[[Tensor], Tensor]  # inputs -> torch's axis order, with margins that torch cannot add itself
    weight: Callable[[Tensor], Tensor]  # kernel -> torch's axis order
    operation: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    restore: Callable[[Tensor], Tensor]  # outputs -> the inputs' axis order


@lru_cache(maxsize=4096)
def plan_convolution(shape: tuple[int, ...], window: Window, groups: int) -> ConvolutionPlan:
    """The plan for inputs of `shape`, the batch axis included.

    Raises:
        ValueError: an input of this shape does not fit.
    """
    window.output_shape(shape)
    spatial: Any = split_shape(shape, window.rank, window.data_format)[0]
    layout = LAYOUTS[window.rank, window.data_format]
    margins = window.margins(spatial)
    arrange, padding = layout.to_torch, tuple(before for before, _ in margins)
    if any(before != after for before, after in margins):
        innermost_first = tuple(count for pair in reversed(margins) for count in pair)
        arrange, padding = partial(_arrange_with_margins, layout.to_torch, innermost_first), (0,) * window.rank
    operation = partial(
        _OPERATIONS[max(window.rank, 2)],
        stride=with_unit_axis(window.strides, 1),
        padding=with_unit_axis(padding, 0),
        dilation=with_unit_axis(window.dilation, 1),
        groups=groups,
    )
    return ConvolutionPlan(arrange, layout.weight, operation, layout.from_torch)


def _arrange_with_margins(to_torch: Callable[[Tensor], Tensor], margins: tuple[int, ...], inputs: Tensor) -> Tensor:
    return F.pad(to_torch(inputs), margins)


def convolve(
    plan: ConvolutionPlan,
    inputs: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    finish: Callable[[Tensor], Tensor],
) -> Tensor:
    """Convolve with a kernel of shape `(*sizes, channels // groups, filters)`, add the bias and apply `finish`.

    `finish` works element by element and may overwrite what it is given: it gets the result before anybody else.
    """
    outputs = plan.operation(plan.arrange(inputs), plan.weight(kernel), bias)
    return plan.restore(finish(outputs))


def kernel_memory_order(rank: int, data_format: str) -> tuple[int, ...]:
    """The axes of a kernel `(*sizes, channels // groups, filters)` from slowest to fastest, as torch reads it."""
    sizes, channels, filters = tuple(range(rank)), rank, rank + 1
    return (filters, *sizes, channels) if data_format == "channels_last" else (filters, channels, *sizes)
