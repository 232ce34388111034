"""Batch normalisation as an operation that torch differentiates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls, method_in_use
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.normalization.job import JOB
from triarch.tensors import dtype_name

FUNCTIONS = ("moments", "products", "rescale", "propagate")
_LINE = 512  # numbers, about

# Compiled code saves about so much for each number, forward and backward, and has to save its start.
_SAVED_SECONDS, _START_SECONDS = 1e-9, 2.0


def source(function: str, dtype: str) -> Source:
    """A kernel."""
    return Source("triarch.kernels.normalization.compiled", function, (dtype,), JOB)


def is_worth_while(inputs: Tensor) -> bool:
    """Whether there are kernels for such inputs, and enough calls are expected for them to earn their start."""
    return (
        inputs.device.type == "cpu"
        and inputs.dtype in (torch.float32, torch.float64)
        and inputs.is_contiguous()
        and expected_calls() * inputs.numel() * _SAVED_SECONDS > _START_SECONDS
        and method_in_use() == "auto"
        and not torch.compiler.is_compiling()
    )


Numbers = np.ndarray[Any, Any]  # one for each channel


class _Lines:
    """A batch cut into lines of whole places; what belongs to channels is repeated along a line."""

    def __init__(self, inputs: Tensor) -> None:
        self.channels = inputs.shape[-1]
        self.dtype = inputs.dtype
        self.repeats = max(1, min(_LINE // self.channels, inputs.numel() // self.channels))
        self.length = self.repeats * self.channels
        self.threads = torch.get_num_threads()
        self.places = inputs.numel() // self.channels
        self.job = np.zeros(1, JOB)
        self.job["count"], self.job["length"] = inputs.numel(), self.length
        self.kept: list[Numbers] = []

    def along(self, *of_channels: Numbers) -> int:
        """The address of numbers of the channels, line after line."""
        made = np.tile(np.stack(of_channels).astype(dtype_name(self.dtype)), self.repeats)
        self.kept.append(made)
        return made.ctypes.data

    def totals(self, function: str) -> Numbers:
        """The two sums of a kernel for each channel: (2, channels) in double precision."""
        totals = np.empty((self.threads, 2, self.repeats, self.channels))
        self.job["totals"] = totals.ctypes.data
        self.run(function)
        return totals.sum((0, 2))

    def run(self, function: str) -> None:
        """Call a kernel."""
        with workspace(self.threads * 2 * self.length, self.dtype) as memory:
            self.job["sums"] = memory.data_ptr()
            run(compiled(source(function, dtype_name(self.dtype))), self.job, self.threads)


def _numbers(of_channels: Tensor | None, otherwise: float, channels: int) -> Numbers:
    """In double precision."""
    if of_channels is None:
        return np.full(channels, otherwise)
    return of_channels.detach().numpy().astype(np.float64)


def rescale(
    inputs: Tensor, centre: Numbers, scale: Numbers, shift: Numbers, residual: Tensor | None, rectifies: bool
) -> Tensor:
    """`(inputs - centre) * scale + shift + residual`, rectified; not seen by autograd."""
    lines = _Lines(inputs)
    outputs = torch.empty_like(inputs)
    job = lines.job
    job["inputs"], job["outputs"] = inputs.data_ptr(), outputs.data_ptr()
    job["centre"], job["scale"], job["shift"] = lines.along(centre), lines.along(scale), lines.along(shift)
    job["rectifies"], job["has_residual"] = rectifies, residual is not None
    if residual is not None:
        job["residual"] = residual.data_ptr()
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
    scale = _numbers(gamma, 1.0, len(mean)) / np.sqrt(_numbers(variance, 1.0, len(mean)) + epsilon)
    return rescale(inputs, _numbers(mean, 0.0, 0), scale, _numbers(beta, 0.0, len(mean)), residual, rectifies)


def normalize(
    inputs: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, epsilon: float, rectifies: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs with mean 0 and variance 1 in each channel, scaled, shifted, with a residual added, and rectified.

    Returns:
        The outputs; means and variances of the channels, as constants.
    """
    return _Normalization.apply(inputs, gamma, beta, residual, epsilon, rectifies)


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


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        epsilon: float,
        rectifies: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        lines = _Lines(inputs)
        first = inputs.reshape(-1, lines.channels)[0].numpy().astype(np.float64)  # near the mean: nothing cancels
        lines.job["inputs"], lines.job["centre"] = inputs.data_ptr(), lines.along(first)
        distance, square = lines.totals("moments") / lines.places
        variance = np.maximum(square - distance**2, 0.0)
        mean = first.astype(dtype_name(inputs.dtype)) + distance
        inverse = 1 / np.sqrt(variance + epsilon)
        scale = inverse * _numbers(gamma, 1.0, lines.channels)
        outputs = rescale(inputs, mean, scale, _numbers(beta, 0.0, lines.channels), residual, rectifies)
        ctx.save_for_backward(inputs, gamma, beta, residual, outputs if rectifies else None)
        ctx.mean, ctx.inverse, ctx.scale = mean, inverse, scale
        ctx.epsilon, ctx.rectifies = epsilon, rectifies
        found = torch.from_numpy(mean).to(inputs.dtype), torch.from_numpy(variance).to(inputs.dtype)
        ctx.mark_non_differentiable(*found)
        return outputs, *found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        inputs, gamma, beta, residual, outputs = ctx.saved_tensors
        mean, inverse, scale = ctx.mean, ctx.inverse, ctx.scale
        wanted = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, gradients[0], (inputs, gamma, beta, residual), wanted), None, None)
        gradient = gradients[0].contiguous()
        lines = _Lines(inputs)
        job = lines.job
        job["inputs"], job["output_gradient"] = inputs.data_ptr(), gradient.data_ptr()
        job["centre"], job["rectifies"] = lines.along(mean), ctx.rectifies
        if outputs is not None:
            job["outputs"] = outputs.data_ptr()
        total, product = lines.totals("products")
        slope = -scale * inverse**2 * product / lines.places
        input_gradient, residual_gradient = torch.empty_like(inputs), None
        job["scale"], job["shift"] = lines.along(scale, slope), lines.along(-scale * total / lines.places)
        job["input_gradient"] = input_gradient.data_ptr()
        if wanted[3]:
            residual_gradient = torch.empty_like(inputs) if ctx.rectifies else gradient
            job["residual_gradient"], job["wants_residual"] = residual_gradient.data_ptr(), ctx.rectifies
        lines.run("propagate")
        gamma_gradient = torch.from_numpy(product * inverse).to(gamma.dtype) if wanted[1] else None
        beta_gradient = torch.from_numpy(total).to(beta.dtype) if wanted[2] else None
        return input_gradient, gamma_gradient, beta_gradient, residual_gradient, None, None


def _differentiable(ctx: Any, gradient: Tensor, operands: Any, wanted: tuple[bool, ...]) -> list[Any]:
    parts: Any = [None if part is None else part.view_as(part) for part in operands]
    inputs, gamma, beta, residual = parts
    outputs = _by_torch(inputs, gamma, beta, residual, ctx.epsilon, ctx.rectifies)
    learnt: list[Any] = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
    found = iter(torch.autograd.grad(outputs, learnt, gradient, create_graph=True))
    return [next(found) if is_wanted else None for is_wanted in wanted]
