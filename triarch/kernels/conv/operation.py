"""A layer's convolution: from operands to their plan, and its execution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from triarch.kernels.conv.choice import expected_calls, find_plan, method_in_use
from triarch.kernels.conv.methods import Convolve
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.windows import Window
from triarch.watching import is_traced, planner, sizes_of


def convolve(
    inputs: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    finish: Callable[[Tensor], Tensor],
) -> Tensor:
    """Convolve with a kernel of shape `(*sizes, channels // groups, filters)`, add the bias and finish.

    Args:
        finish: Works element by element and may overwrite what it is given: it gets the result before anybody else.

    Raises:
        ValueError: The inputs do not fit, or the method that `use` asks for cannot do it.
    """
    return plan_for(inputs, window, groups, kernel.shape[-1], finish)(inputs, kernel, bias)


def plan_for(inputs: Tensor, window: Window, groups: int, filters: int, finish: Callable[[Tensor], Tensor]) -> Convolve:
    """What computes such a convolution here and now.

    Raises:
        ValueError: The inputs do not fit, or the method that `use` asks for cannot do it.
    """
    if is_traced(inputs):
        return planner(find_plan)(ConvSpec(sizes_of(inputs), window, groups, filters, finish), "direct")
    spec = ConvSpec(
        tuple(inputs.shape),
        window,
        groups,
        filters,
        finish,
        inputs.dtype,
        inputs.device.type,
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        expected_calls(),
        not inputs.requires_grad,
    )
    return find_plan(spec, method_in_use())


def kernel_memory_order(rank: int, data_format: str) -> tuple[int, ...]:
    """The axes of a kernel `(*sizes, channels // groups, filters)` from slowest to fastest, as torch reads it."""
    sizes, channels, filters = tuple(range(rank)), rank, rank + 1
    return (filters, *sizes, channels) if data_format == "channels_last" else (filters, channels, *sizes)
