"""Batch normalisation as an operation that torch differentiates, alone or as one with a convolution before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls, method_in_use
from triarch.kernels.conv.binding import ROWS_OF_NORMALIZATION, NormalizingKernel, Numbers
from triarch.kernels.normalization.lines import Lines, lines_of
from triarch.watching import is_traced

# Compiled code saves about so much for each number, forward and backward, and has to save its start.
_SAVED_SECONDS, _START_SECONDS = 1e-9, 2.0


class Convolution(NamedTuple):
    """A convolution, what it computes with, and what it computes from."""

    plan: NormalizingKernel
    kernel: Tensor
    bias: Tensor | None


def is_worth_while(inputs: Tensor, count: int) -> bool:
    """Whether there are kernels for `count` such numbers, and enough calls are expected to earn their start."""
    return (
        not is_traced(inputs)
        and inputs.device.type == "cpu"
        and inputs.dtype in (torch.float32, torch.float64)
        and inputs.is_contiguous()
        and expected_calls() * count * _SAVED_SECONDS > _START_SECONDS
        and method_in_use() == "auto"
    )


def _address(numbers: Tensor | None) -> int:
    return 0 if numbers is None else numbers.data_ptr()


def _rescale(lines: Lines, inputs: Tensor, residual: Tensor | None, rectifies: bool) -> Tensor:
    outputs = torch.empty_like(inputs)
    lines.place(inputs=inputs.data_ptr(), outputs=outputs.data_ptr(), rectifies=rectifies)
    lines.place(has_residual=residual is not None, residual=_address(residual))
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
    inverse = 1 / np.sqrt(variance.detach().numpy().astype(np.float64) + epsilon)
    scale = inverse if gamma is None else inverse * gamma.detach().numpy()
    with lines_of(inputs) as lines:
        offset = 0.0 if beta is None else beta.detach().numpy()
        lines.spread(centre=mean.detach().numpy(), scale=scale, offset=offset)
        return _rescale(lines, inputs, residual, rectifies)


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
    gamma, beta = (
        part if part is None or part.dtype is inputs.dtype else part.to(inputs.dtype) for part in (gamma, beta)
    )
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


def _settle(lines: Lines, numbers: Tensor, moments: Numbers | None) -> None:
    """Find mean and variance of each channel: from the sums of the numbers and of their squares, if these tell them."""
    if moments is not None:
        lines.place(moments=moments.ctypes.data)
        lines.run_alone("settle")
        if not lines.held["verdict"][0]:
            return
    lines.spread(centre=numbers.detach().view(-1, numbers.shape[-1])[0].numpy())  # near the mean: nothing cancels
    lines.place(inputs=numbers.data_ptr(), moments=0)
    lines.run("moments")
    lines.run_alone("settle")


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
        statistics = np.empty((2, numbers.shape[-1]))  # mean and inverse deviation
        mean, variance = numbers.new_empty(2, numbers.shape[-1]).unbind()
        with lines_of(numbers) as lines:
            lines.place(gamma=_address(gamma), beta=_address(beta))
            lines.place(mean=statistics[0].ctypes.data, inverse=statistics[1].ctypes.data)
            lines.place(batch_mean=mean.data_ptr(), batch_variance=variance.data_ptr())
            lines.job["epsilon"] = epsilon
            _settle(lines, numbers, moments)
            outputs = _rescale(lines, numbers, residual, rectifies)
        # Without a residual, what was rectified follows from the numbers.
        kept = outputs if rectifies and residual is not None else None
        ctx.save_for_backward(inputs, kernel, bias, gamma, beta, residual, None if plan is None else numbers, kept)
        ctx.plan, ctx.epsilon, ctx.rectifies, ctx.statistics = plan, epsilon, rectifies, statistics
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *operands, numbers, outputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:7]
        if torch.is_grad_enabled():
            return (None, *_differentiable(ctx, gradients[0], operands, wanted), None, None)
        inputs, kernel, bias, gamma, beta, residual = operands
        numbers = inputs if numbers is None else numbers
        gradient, residual_gradient = gradients[0].contiguous(), None
        gamma_gradient = torch.empty_like(gamma) if wanted[3] else None
        beta_gradient = torch.empty_like(beta) if wanted[4] else None
        statistics, rows = ctx.statistics, np.empty((len(ROWS_OF_NORMALIZATION), numbers.shape[-1]))
        with lines_of(numbers) as lines:
            lines.place(gamma=_address(gamma), beta=_address(beta), rows=rows.ctypes.data)
            lines.place(mean=statistics[0].ctypes.data, inverse=statistics[1].ctypes.data)
            lines.place(gamma_gradient=_address(gamma_gradient), beta_gradient=_address(beta_gradient))
            lines.place(inputs=numbers.data_ptr(), output_gradient=gradient.data_ptr(), rectifies=ctx.rectifies)
            lines.place(has_residual=residual is not None, outputs=_address(outputs))
            if residual is not None:
                residual_gradient = torch.empty_like(numbers) if ctx.rectifies else gradient
                lines.place(residual_gradient=residual_gradient.data_ptr())
            lines.run_alone("recall")
            lines.run("products")
            lines.run_alone("settle_gradient")
            if residual_gradient is not None:
                gradient = residual_gradient
            found = None
            if ctx.plan is not None:
                found = ctx.plan.backward(gradient, inputs, kernel, numbers, wanted[:3], rows)
            if found is None:
                numbers_gradient = torch.empty_like(numbers)
                lines.place(output_gradient=gradient.data_ptr(), input_gradient=numbers_gradient.data_ptr())
                lines.place(rectifies=ctx.rectifies and residual is None)
                lines.run("propagate")
                found = (numbers_gradient, None, None)
                if ctx.plan is not None:
                    found = ctx.plan.reference_gradients(numbers_gradient, (inputs, kernel, bias), wanted[:3])
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
