"""Transposed convolution: the adjoint of a convolution, from few places to many, through torch on channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.layouts import LAYOUTS, with_unit_axis
from triarch.kernels.windows import PartialSizes, Window, example_shape, joined_shape, split_shape

_OPERATIONS = {2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


def transposed_output_shape(
    shape: Sequence[int | None], window: Window, output_padding: Sequence[int] | None, filters: int
) -> PartialSizes:
    """The shape of the outputs for inputs of `shape`, the batch axis included.

    Without `output_padding`, an axis becomes `stride` times as long (`"same"`), or as long as all windows reach
    (`"valid"`).
    """
    sizes, channels = split_shape(shape, window.rank, window.data_format)
    if None not in (window.channels, channels) and channels != window.channels:
        raise ValueError(
            f"expects {window.channels} channels: shape "
            f"{example_shape(window.rank, window.data_format, window.channels)}. Received: shape {tuple(shape)}"
        )
    cuts = _cuts(window, output_padding)
    spatial = [
        None if size is None else (size - 1) * stride + span - before - after
        for size, stride, span, (before, after) in zip(sizes, window.strides, window.spans(), cuts, strict=True)
    ]
    return joined_shape(shape[0], spatial, filters, window.data_format)


def _cuts(window: Window, output_padding: Sequence[int] | None) -> list[tuple[int, int]]:
    """How many places to cut from both ends of what all windows together reach; negative: zeros to add."""
    cuts = []
    for axis, (span, stride) in enumerate(zip(window.spans(), window.strides, strict=True)):
        extra = None if output_padding is None else output_padding[axis]
        if window.padding == "valid":
            cuts.append((0, -(max(span, stride) - span if extra is None else extra)))
            continue
        kept = stride + span - 2 if extra is None else span + span % 2 - 2 + extra
        before = min(kept // 2 + kept % 2, span - 1)
        cuts.append((span - 1 - before, span - 1 - (kept - before)))
    return cuts


@dataclass(frozen=True, slots=True)
class _Plan:
    arrange: Callable[[Tensor], Tensor]
    weight: Callable[[Tensor], Tensor]
    operation: Callable[..., Tensor]
    margins: tuple[int, ...]  # innermost axis first; negative: cut off
    restore: Callable[[Tensor], Tensor]


@lru_cache(maxsize=4096)
def _plan(window: Window, output_padding: tuple[int, ...] | None) -> _Plan:
    layout = LAYOUTS[window.rank, window.data_format]
    cuts = _cuts(window, output_padding)
    both = tuple(max(min(pair), 0) for pair in cuts)  # torch cuts the same from both ends
    operation: Any = partial(
        _OPERATIONS[max(window.rank, 2)],
        stride=with_unit_axis(window.strides, 1),
        padding=with_unit_axis(both, 0),
        dilation=with_unit_axis(window.dilation, 1),
    )
    rest = [cut - own for pair, own in zip(reversed(cuts), reversed(both), strict=True) for cut in pair]
    margins = tuple(-cut for cut in rest)
    return _Plan(layout.to_torch, layout.weight, operation, margins if any(margins) else (), layout.from_torch)


def convolve_transposed(
    inputs: Tensor, kernel: Tensor, bias: Tensor | None, window: Window, output_padding: tuple[int, ...] | None = None
) -> Tensor:
    """Transposed convolution with a kernel of shape `(*sizes, filters, channels)`, with the bias added.

    Raises:
        ValueError: The inputs do not fit.
    """
    transposed_output_shape(inputs.shape, window, output_padding, kernel.shape[-2])
    plan = _plan(window, output_padding)
    added = None if any(margin > 0 for margin in plan.margins) else bias  # zeros that are added get the bias, too
    outputs = plan.operation(plan.arrange(inputs), plan.weight(kernel), added)
    if plan.margins:
        outputs = F.pad(outputs, plan.margins)
    outputs = plan.restore(outputs)
    if bias is added or bias is None:
        return outputs
    return outputs + (bias if window.data_format == "channels_last" else bias.reshape(-1, *(1,) * window.rank))
