"""The vendor's convolution: oneDNN's or cuDNN's, through torch, on memory with channels last. It can do everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import rounded_up
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.layouts import LAYOUTS, with_unit_axis

_BLOCK = 8  # filters that oneDNN computes together
_OPERATIONS = {2: torch.conv2d, 3: torch.conv3d}


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    return None


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    places = spec.batch * math.prod(spec.output_sizes) / spec.threads
    numbers = spec.batch * math.prod(spec.sizes) / spec.threads * spec.channels
    depth, filters = spec.channels // spec.groups, spec.filters // spec.groups
    if depth == 1 < spec.groups:
        kind = "depthwise_"
    else:
        kind = "narrow_" if depth < 8 else "volume_" if spec.rank > 2 else ""
        filters = rounded_up(filters, _BLOCK)
    products = places * spec.groups * filters * math.prod(spec.window.sizes) * depth
    strided = "strided_" if max(spec.window.strides) > 1 and kind in ("", "narrow_") else ""
    counts = {"calls": 1.0, f"{kind}products": products, "numbers": numbers, "outputs": places * spec.filters}
    if spec.learns:
        counts |= {
            "gradient_calls": 1.0,
            f"{strided}{kind}gradient_products": products,
            "gradient_numbers": spec.gradients * numbers,
            "gradient_outputs": spec.gradients * places * spec.filters,
        }
        if not spec.is_first:
            counts[f"{strided}{kind}input_gradient_products"] = products
    return counts


@dataclass(frozen=True, slots=True)
class DirectPlan:
    """All that is decided about a convolution before its numbers are known."""

    arrange: Callable[[Tensor], Tensor]  # inputs -> torch's axis order, with margins that torch cannot add itself
    weight: Callable[[Tensor], Tensor]  # kernel -> torch's axis order
    operation: partial[Tensor]  # of inputs, weight and bias, or None; the window is in its keywords
    finish: Callable[[Tensor], Tensor]
    restore: Callable[[Tensor], Tensor]  # outputs -> the inputs' axis order

    def __call__(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve, add the bias and finish."""
        outputs = self.operation(self.arrange(inputs), self.weight(kernel), bias)
        return self.restore(self.finish(outputs))


def plan(spec: ConvSpec) -> DirectPlan:
    """What computes it."""
    window, margins = spec.window, spec.margins
    layout = LAYOUTS[spec.rank, window.data_format]
    arrange, padding = layout.to_torch, tuple(before for before, _ in margins)
    if any(before != after for before, after in margins):
        innermost_first = tuple(count for pair in reversed(margins) for count in pair)
        arrange, padding = partial(_arrange_with_margins, layout.to_torch, innermost_first), (0,) * spec.rank
    strides = with_unit_axis(window.strides, 1)
    if set(window.sizes) == {1} and max(strides) > 1:
        # Fewer places before the product, not in it: oneDNN's gradient of that case writes outside its memory.
        every = (slice(None), slice(None), *(slice(None, None, stride) for stride in strides))
        arrange, strides = partial(_arrange_every, layout.to_torch, every), (1,) * len(strides)
    operation: Any = partial(
        _OPERATIONS[max(spec.rank, 2)],
        stride=strides,
        padding=with_unit_axis(padding, 0),
        dilation=with_unit_axis(window.dilation, 1),
        groups=spec.groups,
    )
    return DirectPlan(arrange, layout.weight, operation, spec.finish, layout.from_torch)


def _arrange_every(to_torch: Callable[[Tensor], Tensor], every: tuple[slice, ...], inputs: Tensor) -> Tensor:
    return to_torch(inputs)[every]


def _arrange_with_margins(to_torch: Callable[[Tensor], Tensor], margins: tuple[int, ...], inputs: Tensor) -> Tensor:
    return F.pad(to_torch(inputs), margins)
