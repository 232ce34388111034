"""A kernel of rank 1 is an outer product of vectors: one convolution in each axis instead of one in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array
from triarch.convolution.methods import direct
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec

ROUNDING = 8.0  # in units of the type's epsilon: how far from rank 1 the rounding of an outer product may lie
_RANGE = {
    "float32": 1e12,
    "float64": 1e60,
}  # between a kernel's magnitudes: factors meet numbers as they are


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can, if the kernel has rank 1."""
    if spec.rank < 2:
        return "one axis has nothing to separate"
    if math.prod(spec.kernel_batch) != 1:
        return "a batch of kernels is not separated"
    if spec.dtype not in (*FLOATS, *COMPLEX, "int64", "integer", "object"):
        return f"kernels of type {spec.dtype} are not separated"
    return direct.refuse(spec)


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on: the sums of its stages."""
    total: dict[str, float] = {}
    for stage in _stages(spec):
        for name, number in direct.count(stage).items():
            total[name] = total.get(name, 0.0) + number
    return total


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it; raises ValueError for a kernel that has not rank 1."""
    return _Separable(spec, tuple(_stages(spec)), None)


def plan_if_separable(spec: ConvolutionSpec, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """What computes it by stages if the kernel has rank 1 up to rounding, else by another plan."""
    return _Separable(spec, tuple(_stages(spec)), otherwise)


def _stages(spec: ConvolutionSpec) -> list[ConvolutionSpec]:
    """One convolution for each axis, the last axis first; each computes only what the next ones need."""
    stages = []
    sizes = list(spec.signal_sizes)
    for axis in reversed(range(spec.rank)):
        start, length, kernel = [0] * spec.rank, list(sizes), [1] * spec.rank
        start[axis], length[axis], kernel[axis] = spec.start[axis], spec.length[axis], spec.kernel_sizes[axis]
        stages.append(
            replace(
                spec,
                a_sizes=tuple(sizes),
                b_sizes=tuple(kernel),
                start=tuple(start),
                length=tuple(length),
                a_batch=spec.batch,
                b_batch=(),
            )
        )
        sizes = length
    return stages


@dataclass(frozen=True, slots=True)
class _Separable:
    spec: ConvolutionSpec
    stages: tuple[ConvolutionSpec, ...]
    otherwise: Callable[..., Any] | None

    def __call__(self, a: Any, b: Any) -> Any:
        signal, kernel = (a, b) if self.spec.is_a_signal else (b, a)
        values = kernel.reshape(self.spec.kernel_sizes)
        values = values.cpu().numpy() if isinstance(values, Tensor) else values
        factors = separate(values) if _is_of_one_range(values) else None
        if factors is None:
            if self.otherwise is not None:
                return self.otherwise(a, b)
            raise ValueError(
                "method='separable' expects a kernel of rank 1, an outer product of one vector for each axis. "
                f"Received: a kernel of shape {self.spec.kernel_sizes} that is none; "
                "separate(kernel, tolerance=...) finds the nearest factors"
            )
        result = signal.reshape(self.spec.signal_batch + self.spec.signal_sizes)
        if isinstance(result, Tensor):
            result = result.expand(self.spec.batch + self.spec.signal_sizes)
        else:
            result = np.ascontiguousarray(np.broadcast_to(result, self.spec.batch + self.spec.signal_sizes))
        for stage, factor in zip(self.stages, _balanced(factors), strict=True):
            taps = factor.reshape(stage.b_sizes)
            stage_kernel = torch.from_numpy(taps).to(result.device) if isinstance(result, Tensor) else taps
            result = direct.plan(stage)(result, stage_kernel)
        return result


def _is_of_one_range(kernel: Array) -> bool:
    """Whether no product of a factor can vanish or overflow where the kernel's own does not."""
    if kernel.dtype.kind not in "fc":
        return True
    magnitudes = np.abs(kernel[kernel != 0])
    if not magnitudes.size:
        return True
    return bool(magnitudes.max() <= _RANGE[magnitudes.dtype.name] * magnitudes.min())


def _balanced(factors: tuple[Array, ...]) -> list[Array]:
    """The factors of the stages, last axis first, times powers of two: no sum before the last stage grows."""
    if factors[0].dtype.kind not in "fc":
        return list(reversed(factors))
    first, *rest = factors
    exponent, scaled = 0, []
    for factor in reversed(rest):
        own = int(np.frexp(float(np.abs(factor).sum()))[1])
        scaled.append(factor * factor.real.dtype.type(2.0**-own))
        exponent += own
    return [*scaled, first * first.real.dtype.type(2.0**exponent)]


def separate(kernel: Array, tolerance: float | None = None) -> tuple[Array, ...] | None:
    """The vectors whose outer product the kernel is, one for each axis; None if it is none.

    Args:
        kernel: Of any rank and any numbers. Integers and fractions are separated exactly, integers into integers.
        tolerance: How far, relative to the largest magnitude in the kernel, the product may lie from it; by default 8
            roundings of its type from each number for floats, and 0 for the rest.

    Raises:
        ValueError: The kernel is empty, or the tolerance negative.
    """
    kernel = np.asarray(kernel)
    if kernel.size == 0 or kernel.ndim == 0:
        raise ValueError(f"separate expects a kernel with numbers in it. Received: shape {kernel.shape}")
    is_exact = kernel.dtype == object or kernel.dtype.kind in "iub"
    if tolerance is not None and tolerance < 0:
        raise ValueError(f"separate expects a tolerance of at least 0. Received: {tolerance!r}")
    values = kernel.astype(object) if is_exact else kernel
    magnitudes = np.abs(values)
    place = np.unravel_index(int(np.argmax(magnitudes)), values.shape)
    largest = magnitudes[place]
    if not (is_exact or np.isfinite(largest)):
        return None
    fibres = [
        values[tuple(slice(None) if n == axis else index for n, index in enumerate(place))]
        for axis in range(values.ndim)
    ]
    factors = _exact_factors(fibres, values[place], place) if is_exact else _factors(fibres, values[place])
    if factors is None:
        return None
    outer = factors[0]
    for factor in factors[1:]:
        outer = np.multiply.outer(outer, factor)
    if tolerance is not None:
        allowed = tolerance * largest
    else:  # of each number, so that small ones beside large ones are kept
        allowed = 0 if is_exact else magnitudes * (ROUNDING * np.finfo(kernel.dtype).eps)
    if not bool((np.abs(outer - values) <= allowed).all()):
        return None
    return tuple(factor if kernel.dtype == object else factor.astype(kernel.dtype) for factor in factors)


def _factors(fibres: list[Array], pivot: Any) -> list[Array]:
    if pivot == 0:
        return fibres
    return [fibres[0], *(fibre / pivot for fibre in fibres[1:])]


def _exact_factors(fibres: list[Array], pivot: Any, place: tuple[Any, ...]) -> list[Array] | None:
    """Whole vectors where the kernel is whole: by Gauss's lemma a whole outer product has whole primitive factors."""
    if pivot == 0:
        return fibres
    if any(not isinstance(value, int) for fibre in fibres for value in fibre):
        return [fibres[0], *(np.array([Fraction(value) / pivot for value in fibre], object) for fibre in fibres[1:])]
    primitive = [fibre // math.gcd(*(int(value) for value in fibre)) for fibre in fibres]
    product = math.prod(int(fibre[index]) for fibre, index in zip(primitive, place, strict=True))
    if pivot % product:
        return None
    return [primitive[0] * (pivot // product), *primitive[1:]]
