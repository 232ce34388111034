"""Batch normalisation as an operation that torch differentiates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls, method_in_use
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
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
_FIELDS = {name: place for place, name in enumerate(JOB.names or ())}


class _Lines:
    """A batch cut into lines of whole places, with what kernels need beside it; numbers of the channels are repeated.

    Making one takes longer than a pass over a small batch, so they are kept for the next of the same size.
    """

    def __init__(self, count: int, channels: int, dtype: torch.dtype, threads: int) -> None:
        self.threads = threads
        self.places = count // channels
        repeats = max(1, min(_LINE // channels, self.places))
        self.length = repeats * channels
        self.job = np.zeros(1, JOB)
        self.fields = self.job.view(np.int64)
        self.kernels = {name: compiled(source(name, dtype_name(dtype))) for name in FUNCTIONS}
        self.of_channels = np.empty((4, repeats, channels), dtype_name(dtype))
        self.totals = np.empty((threads, 2, repeats, channels))
        self.sums = np.empty(threads * 2 * self.length, dtype_name(dtype))
        centre = self.of_channels.ctypes.data
        step = self.of_channels.strides[0]
        self.place(count=count, length=self.length, totals=self.totals.ctypes.data, sums=self.sums.ctypes.data)
        self.place(centre=centre, scale=centre + step, shift=centre + 3 * step)

    def place(self, **values: int) -> None:
        """Write fields of the job."""
        for name, value in values.items():
            self.fields[_FIELDS[name]] = value

    def spread(self, centre: Numbers, *factors: Numbers) -> None:
        """Write numbers of the channels, line after line: the centre, the scale, the slope and the shift."""
        for held, values in zip(self.of_channels, (centre, *factors), strict=False):
            held[...] = values

    def run(self, name: str) -> None:
        """Call a kernel."""
        run(self.kernels[name], self.job, self.threads)

    def summed(self, name: str) -> Numbers:
        """The two sums of a kernel for each channel: (2, channels) in double precision."""
        self.run(name)
        return self.totals.sum((0, 2))


_kept: dict[tuple[int, int, torch.dtype, int], list[_Lines]] = {}


@contextmanager
def _lines(inputs: Tensor) -> Iterator[_Lines]:
    """The lines of a batch, for as long as the block lasts."""
    key = (inputs.numel(), inputs.shape[-1], inputs.dtype, torch.get_num_threads())
    free = _kept.setdefault(key, [])
    try:
        lines = free.pop()
    except IndexError:
        lines = _Lines(*key)
    try:
        yield lines
    finally:
        free.append(lines)


def _numbers(of_channels: Tensor | None, otherwise: float) -> Any:
    """In double precision."""
    return otherwise if of_channels is None else of_channels.detach().numpy().astype(np.float64)


def _rescale(
    lines: _Lines,
    inputs: Tensor,
    centre: Numbers,
    scale: Numbers,
    shift: Any,
    residual: Tensor | None,
    rectifies: bool,
) -> Tensor:
    outputs = torch.empty_like(inputs)
    lines.spread(centre, scale, scale, shift)
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
    with _lines(inputs) as lines:
        return _rescale(lines, inputs, _numbers(mean, 0.0), scale, _numbers(beta, 0.0), residual, rectifies)


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
        first = inputs.detach().view(-1, inputs.shape[-1])[0].numpy()  # near the mean: nothing cancels
        with _lines(inputs) as lines:
            lines.spread(first)
            lines.place(inputs=inputs.data_ptr())
            distance, square = lines.summed("moments") / lines.places
            variance = np.maximum(square - distance * distance, 0.0)
            mean = first + distance
            inverse = 1 / np.sqrt(variance + epsilon)
            scale = inverse * _numbers(gamma, 1.0)
            outputs = _rescale(lines, inputs, mean, scale, _numbers(beta, 0.0), residual, rectifies)
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
        input_gradient, residual_gradient = torch.empty_like(inputs), None
        if wanted[3]:
            residual_gradient = torch.empty_like(inputs) if ctx.rectifies else gradient
        with _lines(inputs) as lines:
            lines.spread(mean)
            lines.place(inputs=inputs.data_ptr(), output_gradient=gradient.data_ptr(), rectifies=ctx.rectifies)
            lines.place(outputs=0 if outputs is None else outputs.data_ptr(), input_gradient=input_gradient.data_ptr())
            total, product = lines.summed("products")
            slope = scale * inverse * inverse * product / -lines.places
            lines.spread(mean, scale, slope, scale * total / -lines.places)
            if residual_gradient is not None:
                lines.place(residual_gradient=residual_gradient.data_ptr())
            lines.place(wants_residual=residual_gradient is not None and ctx.rectifies)
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
