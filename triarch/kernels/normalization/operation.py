"""Batch normalisation as an operation that torch differentiates, alone or as one with a convolution before it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls, method_in_use
from triarch.kernels.conv.binding import NUMBERS_OF_NORMALIZATION, NormalizingKernel, Numbers
from triarch.kernels.normalization.lines import Lines, lines_of

# Compiled code saves about so much for each number, forward and backward, and has to save its start.
_SAVED_SECONDS, _START_SECONDS = 1e-9, 2.0

# Sums of squares keep enough digits of a variance that is no less than this part of the mean's square.
_LEAST_SPREAD = 1 / 16


class Convolution(NamedTuple):
    """A convolution, what it computes with, and what it computes from."""

    plan: NormalizingKernel
    kernel: Tensor
    bias: Tensor | None


def is_worth_while(inputs: Tensor, count: int) -> bool:
    """Whether there are kernels for `count` such numbers, and enough calls are expected to earn their start."""
    return (
        inputs.device.type == "cpu"
        and inputs.dtype in (torch.float32, torch.float64)
        and inputs.is_contiguous()
        and expected_calls() * count * _SAVED_SECONDS > _START_SECONDS
        and method_in_use() == "auto"
        and not torch.compiler.is_compiling()
    )


def _numbers(of_channels: Tensor | None, otherwise: float) -> Any:
    """In double precision."""
    return otherwise if of_channels is None else of_channels.detach().numpy().astype(np.float64)


def _rescale(
    lines: Lines,
    inputs: Tensor,
    centre: Numbers,
    scale: Numbers,
    offset: Any,
    residual: Tensor | None,
    rectifies: bool,
) -> Tensor:
    outputs = torch.empty_like(inputs)
    lines.spread(centre=centre, scale=scale, offset=offset)
    lines.place(inputs=inputs.data_ptr(), outputs=outputs.data_ptr(), rectifies=rectifies)
    lines.place(has_residual=residual is not None, residual=0 if residual is None else residual.data_ptr())
    lines.run("rescale")
    return outputs


def infer(
    inputs: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    residual: Tensor | None,
    epsilon: float,
    rectifies: bool,
) -> Tensor:
    """The inputs normalised by a known mean and variance of each channel; not seen by autograd."""
    scale = _numbers(gamma, 1.0) / np.sqrt(_numbers(variance, 1.0) + epsilon)
    with lines_of(inputs) as lines:
        return _rescale(lines, inputs, _numbers(mean, 0.0), scale, _numbers(beta, 0.0), residual, rectifies)


def normalize(
    inputs: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    epsilon: float,
    rectifies: bool,
    convolution: Convolution | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs with mean 0 and variance 1 in each channel, scaled, shifted, with a residual added, and rectified.

    Args:
        convolution: Through which the inputs go first.

    Returns:
        The outputs; means and variances of the channels, as constants.
    """
    plan, kernel, bias = convolution or (None, None, None)
    return _Normalization.apply(plan, inputs, kernel, bias, gamma, beta, residual, epsilon, rectifies)


def _by_torch(
    inputs: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, epsilon: float, rectifies: bool
) -> Tensor:
    """The same by torch's operations, which can be differentiated twice."""
    axes = tuple(range(inputs.ndim - 1))
    variance, mean = torch.var_mean(inputs, axes, correction=0)
    outputs = (inputs - mean) * torch.rsqrt(variance + epsilon)
    outputs = outputs if gamma is None else outputs * gamma
    outputs = outputs if beta is None else outputs + beta
    outputs = outputs if residual is None else outputs + residual
    return torch.relu(outputs) if rectifies else outputs


def _statistics(lines: Lines, numbers: Tensor, moments: Numbers | None) -> tuple[Numbers, Numbers]:
    """Mean and variance of each channel: from the sums of the numbers and of their squares, where these tell them."""
    if moments is not None:
        mean, square = moments / lines.places
        variance = np.maximum(square - mean * mean, 0.0)
        if (variance >= _LEAST_SPREAD * mean * mean).all():
            return mean, variance
    first = numbers.detach().view(-1, numbers.shape[-1])[0].numpy()  # near the mean: nothing cancels
    lines.spread(centre=first)
    lines.place(inputs=numbers.data_ptr())
    distance, square = lines.summed("moments") / lines.places
    return first + distance, np.maximum(square - distance * distance, 0.0)


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: NormalizingKernel | None,
        inputs: Tensor,
        kernel: Tensor | None,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        epsilon: float,
        rectifies: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        numbers, moments = _convolved(plan, inputs, kernel, bias)
        with lines_of(numbers) as lines:
            mean, variance = _statistics(lines, numbers, moments)
            inverse = 1 / np.sqrt(variance + epsilon)
            scale, offset = inverse * _numbers(gamma, 1.0), _numbers(beta, 0.0)
            outputs = _rescale(lines, numbers, mean, scale, offset, residual, rectifies)
        # Without a residual, what was rectified follows from the numbers.
        kept = outputs if rectifies and residual is not None else None
        ctx.save_for_backward(inputs, kernel, bias, gamma, beta, residual, None if plan is None else numbers, kept)
        ctx.plan, ctx.epsilon, ctx.rectifies = plan, epsilon, rectifies
        ctx.of_channels = mean, inverse, scale, offset
        found = torch.from_numpy(mean).to(numbers.dtype), torch.from_numpy(variance).to(numbers.dtype)
        ctx.mark_non_differentiable(*found)
        return outputs, *found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *operands, numbers, outputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:7]
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx, gradients[0], operands, wanted), None, None)
        inputs, kernel, bias, gamma, beta, residual = operands
        numbers = inputs if numbers is None else numbers
        gradient, residual_gradient = gradients[0].contiguous(), None
        mean, inverse, scale, offset = ctx.of_channels
        with lines_of(numbers) as lines:
            lines.spread(centre=mean, scale=scale, offset=offset)
            lines.place(inputs=numbers.data_ptr(), output_gradient=gradient.data_ptr(), rectifies=ctx.rectifies)
            lines.place(has_residual=residual is not None)
            if residual is not None:
                residual_gradient = torch.empty_like(numbers) if ctx.rectifies else gradient
                lines.place(outputs=outputs.data_ptr() if ctx.rectifies else 0)
                lines.place(residual_gradient=residual_gradient.data_ptr())
            total, product = lines.summed("products")
            if residual_gradient is not None:
                gradient = residual_gradient
            is_rectified = ctx.rectifies and residual is None
            slope, shift = scale * inverse * inverse * product / -lines.places, scale * total / -lines.places
            found = None
            if ctx.plan is not None:
                normalization = np.empty((NUMBERS_OF_NORMALIZATION, len(mean)))
                rows = (mean, scale, slope, shift, offset if is_rectified else math.inf)
                for row, values in zip(normalization, rows, strict=True):
                    row[...] = values
                found = ctx.plan.backward(gradient, inputs, kernel, numbers, wanted[:3], normalization)
            if found is None:
                numbers_gradient = torch.empty_like(numbers)
                lines.spread(slope=slope, shift=shift)
                lines.place(output_gradient=gradient.data_ptr(), rectifies=is_rectified)
                lines.place(input_gradient=numbers_gradient.data_ptr())
                lines.run("propagate")
                found = (numbers_gradient, None, None)
                if ctx.plan is not None:
                    found = ctx.plan.reference_gradients(numbers_gradient, (inputs, kernel, bias), wanted[:3])
        gamma_gradient = torch.from_numpy(product * inverse).to(gamma.dtype) if wanted[3] else None
        beta_gradient = torch.from_numpy(total).to(beta.dtype) if wanted[4] else None
        return None, *found, gamma_gradient, beta_gradient, residual_gradient if wanted[5] else None, None, None


def _convolved(
    plan: NormalizingKernel | None, inputs: Tensor, kernel: Any, bias: Tensor | None
) -> tuple[Tensor, Numbers | None]:
    """What is to be normalised; the sums of its numbers and of their squares where these are known."""
    if plan is None:
        return inputs, None
    moments = np.empty((2, kernel.shape[-1]))
    numbers = plan.forward(inputs, kernel, bias, moments)
    if numbers is None:
        return plan.reference(inputs, kernel, bias).contiguous(), None
    return numbers, moments


def _differentiable(ctx: Any, gradient: Tensor, operands: Any, wanted: tuple[bool, ...]) -> list[Any]:
    """The gradients by torch's operations, which can be differentiated again."""
    parts: Any = [None if part is None else part.view_as(part) for part in operands]
    inputs, kernel, bias, gamma, beta, residual = parts
    numbers = inputs if ctx.plan is None else ctx.plan.reference(inputs, kernel, bias)
    outputs = _by_torch(numbers, gamma, beta, residual, ctx.epsilon, ctx.rectifies)
    learnt: list[Any] = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
    found = iter(torch.autograd.grad(outputs, learnt, gradient, create_graph=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]
