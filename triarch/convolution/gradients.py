"""Gradients of convolutions of tensors: correlations with the other operand, which are convolutions again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triarch.convolution.arrays import last_axes
from triarch.convolution.choice import find_plan
from triarch.convolution.spec import ConvolutionSpec, Progress, Sizes, Way
from triarch.convolution.trust import call


def run(spec: ConvolutionSpec, way: Way, a: Any, b: Any, progress: Progress | None = None) -> Any:
    """The convolution of contiguous arrays, or of tensors without gradients."""
    plan = find_plan(spec, *way)
    from_tensors = isinstance(a, Tensor) and spec.device == "cpu"
    if from_tensors:
        a, b = (x.resolve_conj().resolve_neg().numpy() for x in (a, b))
    result = call(plan, a, b, progress)
    return torch.from_numpy(result) if from_tensors else result


class Convolution(torch.autograd.Function):
    """`out[i] = Σ_j a[j] b[start + i - j]` of tensors, as often differentiable as one likes."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, spec: ConvolutionSpec, way: Way, progress: Any) -> Tensor:
        """Compute, and keep both operands."""
        ctx.save_for_backward(a, b)
        ctx.spec, ctx.way = spec, way
        return run(spec, way, a.detach(), b.detach(), progress)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """With `g` the gradient, `ga[j] = Σ_i g[i] conj(b[start + i - j])`, and alike for `b`."""
        a, b = ctx.saved_tensors
        spec, (method, accuracy) = ctx.spec, ctx.way
        # A gradient's own operands have other sizes, so that only the direct sum and the transform are sure to do it.
        way = Way(method if method in ("direct", "fft") else "auto", accuracy)
        to_a = to_b = None
        if ctx.needs_input_grad[0]:
            to_a = _correlate(spec, way, gradient, b, spec.b_sizes, spec.b_batch, spec.a_sizes)
            to_a = to_a.sum_to_size(a.shape)
        if ctx.needs_input_grad[1]:
            to_b = _correlate(spec, way, gradient, a, spec.a_sizes, spec.a_batch, spec.b_sizes)
            to_b = to_b.sum_to_size(b.shape)
        return to_a, to_b, None, None, None


def _correlate(
    spec: ConvolutionSpec, way: Way, gradient: Tensor, other: Tensor, sizes: Sizes, batch: Sizes, wanted: Sizes
) -> Tensor:
    """The places of an operand of sizes `wanted` in the convolution of the gradient with the other one reversed."""
    reversed_ = other.flip(tuple(range(-spec.rank, 0))).conj().resolve_conj()
    starts, lengths, outside = [], [], []
    for k, start, length, n in zip(sizes, spec.start, spec.length, wanted, strict=True):
        first = k - 1 - start
        low, high = max(first, 0), min(first + n, length + k - 1)
        starts.append(low)
        lengths.append(max(high - low, 0))
        outside.append((low - first, low - first + max(high - low, 0)))
    if min(lengths) == 0:
        return gradient.new_zeros(spec.batch + wanted)
    inner = replace(
        spec,
        a_sizes=spec.length,
        b_sizes=sizes,
        start=tuple(starts),
        length=tuple(lengths),
        a_batch=spec.batch,
        b_batch=batch,
    )
    result = Convolution.apply(gradient.contiguous(), reversed_.contiguous(), inner, way, None)
    if tuple(lengths) == wanted:
        return result
    whole = result.new_zeros(spec.batch + wanted)
    whole[last_axes(outside)] = result
    return whole
