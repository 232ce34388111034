"""The convolution theorem: transform both operands, multiply, transform back. O(N log N).

Integers are exact: they go through float64 in as many balanced limbs as a proven bound of the rounding asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, last_axes, like, next_smooth, tensor_of
from triarch.convolution.bounds import limb_bits
from triarch.convolution.exact_limbs import WIDTHS, join_limbs, limb_count, split_integers, split_objects
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Sizes


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.dtype in (*FLOATS, *COMPLEX):
        return None
    if spec.dtype not in ("int64", "integer"):
        return f"no transform is exact for numbers of type {spec.dtype}"
    try:
        _limb_width(spec)
    except ValueError as error:
        return str(error)
    return None


def transform_work(points: int, times: int, is_complex: bool) -> float:
    """The operations of so many transforms of so many points, up to a factor."""
    return (2.0 if is_complex else 1.0) * times * points * max(1.0, math.log2(points))


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    points = math.prod(cyclic_sizes(spec))
    a, b, both = math.prod(spec.a_batch), math.prod(spec.b_batch), math.prod(spec.batch)
    split = 0.0
    if spec.dtype in ("int64", "integer"):
        width = _limb_width(spec)
        a_limbs, b_limbs = (limb_count(bits, width) for bits in spec.bits)
        products = a_limbs * b_limbs * both
        a, b, both = a * a_limbs, b * b_limbs, both * (a_limbs + b_limbs - 1)
        split = float(points * (a + b + both + products))
    work = transform_work(points, a + b + both, spec.is_complex)
    is_single = spec.rank == 1 and a == b == both == 1
    return {
        "calls": 1.0,
        "single_work" if is_single else "work": work,
        "numbers": float(points * (a + b + 2 * both)) * (2 if spec.is_complex else 1),
        "split": split,
        "objects": float(spec.outputs) if spec.dtype == "integer" else 0.0,
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it."""
    if spec.dtype == "integer":
        return partial(_convolve_objects, spec, _limb_width(spec))
    if spec.dtype == "int64":
        return partial(_convolve_integers, spec, _limb_width(spec))
    return partial(_convolve, spec, cyclic_sizes(spec), tuple(range(-spec.rank, 0)), window(spec))


def cyclic_sizes(spec: ConvolutionSpec) -> Sizes:
    """Periods in which the wanted window meets nothing that wraps around."""
    axes = zip(spec.a_sizes, spec.b_sizes, spec.full, spec.start, spec.length, strict=True)
    return tuple(next_smooth(max(n, k, start + length, full - start)) for n, k, full, start, length in axes)


def window(spec: ConvolutionSpec) -> tuple[Any, ...]:
    """The index of the wanted places."""
    return last_axes((start, start + length) for start, length in zip(spec.start, spec.length, strict=True))


def _convolve(spec: ConvolutionSpec, sizes: Sizes, axes: Sizes, wanted: tuple[Any, ...], a: Any, b: Any) -> Any:
    result = cyclic_product(tensor_of(a), tensor_of(b), sizes, axes, spec.is_complex)[wanted]
    return like(result, a)


def cyclic_product(a: Tensor, b: Tensor, sizes: Sizes, axes: Sizes, is_complex: bool) -> Tensor:
    """The convolution of period `sizes` of two tensors."""
    forward, backward = (torch.fft.fftn, torch.fft.ifftn) if is_complex else (torch.fft.rfftn, torch.fft.irfftn)
    spectrum, other = forward(a, s=sizes, dim=axes), forward(b, s=sizes, dim=axes)
    return backward(_product(spectrum, other), s=sizes, dim=axes)


def _product(spectrum: Tensor, other: Tensor) -> Tensor:
    """In the memory of a factor where it has the shape of the result."""
    if spectrum.shape < other.shape:
        spectrum, other = other, spectrum
    shape = torch.broadcast_shapes(spectrum.shape, other.shape)
    return spectrum.mul_(other) if spectrum.shape == shape else spectrum * other


def _limb_width(spec: ConvolutionSpec) -> int:
    terms = (math.prod(spec.a_sizes), math.prod(spec.b_sizes))
    width = limb_bits(*spec.bits, *terms, math.prod(cyclic_sizes(spec)))
    if spec.dtype == "int64" or width >= max(spec.bits):
        return width
    return next(w for w in WIDTHS if w <= width)


def _multiply_limbs(spec: ConvolutionSpec, a: Tensor, b: Tensor) -> list[Tensor]:
    """The exact convolutions, as int64, whose sum weighted by powers of the limb's base is the result.

    Args:
        a, b: float64 (limbs, *batch, *sizes).
    """
    sizes, axes = cyclic_sizes(spec), tuple(range(-spec.rank, 0))
    a_spectra, b_spectra = (torch.fft.rfftn(x, s=sizes, dim=axes) for x in (a, b))
    results = []
    for weight in range(len(a) + len(b) - 1):
        lowest, highest = max(0, weight - len(b) + 1), min(weight, len(a) - 1)
        spectrum = a_spectra[lowest] * b_spectra[weight - lowest]
        for limb in range(lowest + 1, highest + 1):
            spectrum.addcmul_(a_spectra[limb], b_spectra[weight - limb])
        values = torch.fft.irfftn(spectrum, s=sizes, dim=axes)[window(spec)]
        results.append(values.round().to(torch.int64))
    return results


def _convolve_integers(spec: ConvolutionSpec, width: int, a: Any, b: Any) -> Any:
    limbs = [
        split_integers(tensor_of(x), width, limb_count(bits, width)) for x, bits in zip((a, b), spec.bits, strict=True)
    ]
    parts = _multiply_limbs(spec, *limbs)
    result = parts[0]
    for weight, part in enumerate(parts[1:], start=1):
        if weight * width < 64:  # what lies beyond vanishes modulo 2**64, in which the result is known to fit
            result = result + (part << (weight * width))
    return like(result.contiguous(), a)


def _convolve_objects(spec: ConvolutionSpec, width: int, a: Array, b: Array) -> Array:
    digits = [split_objects(x, width, limb_count(bits, width)) for x, bits in zip((a, b), spec.bits, strict=True)]
    parts = _multiply_limbs(spec, *(torch.from_numpy(x) for x in digits))
    return join_limbs(np.stack([part.numpy() for part in parts]), width)
