"""The convolution theorem: transform both operands, multiply, transform back. O(N log N).

Integers are exact: they go through float64 in as many balanced limbs as a proven bound of the rounding asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, last_axes, like, tensor_of
from triarch.convolution.bounds import limb_bits
from triarch.convolution.exact_limbs import (
    has_limb_axis,
    join_limbs,
    limb_count,
    multiply_limbs,
    split_integers,
    split_objects,
)
from triarch.convolution.memory import MAPPED
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Sizes
from triarch.convolution.transforms import Transform, product, transform_of, work_of


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


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    if spec.dtype == "int64" and _limb_width(spec) >= max(spec.bits):
        counts = count(_as_floats(spec))
        return counts | {"split": counts["numbers"]}
    a, b, both = math.prod(spec.a_batch), math.prod(spec.b_batch), math.prod(spec.batch)
    chosen = transform(spec)
    points = math.prod(chosen.sizes)
    split = pieces = 0.0
    if spec.dtype in ("int64", "integer"):
        width = _limb_width(spec)
        a_limbs, b_limbs = (limb_count(bits, width) for bits in spec.bits)
        pairs = 0 if has_limb_axis(a_limbs, b_limbs) else a_limbs * b_limbs
        a, b, both = a * a_limbs, b * b_limbs, both * (a_limbs + b_limbs - 1)
        split = float(points * (a + b + both + pairs * math.prod(spec.batch)))
        pieces = float(pairs + a_limbs + b_limbs)
    arrays = float(points * (a + b + 2 * both)) * spec.reals
    number = 4 if spec.dtype in ("float32", "complex64") else 8  # bytes
    return {
        "calls": 1.0,
        chosen.kind: work_of(chosen, a + b + both),
        "numbers": arrays,
        "mapped": arrays if points * both * number * spec.reals > MAPPED else 0.0,
        "split": split,
        "pieces": pieces,
        "objects": float(spec.outputs) if spec.dtype == "integer" else 0.0,
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it."""
    if spec.dtype == "integer":
        return partial(_convolve_objects, spec, _limb_width(spec))
    if spec.dtype == "int64" and _limb_width(spec) >= max(spec.bits):
        return partial(_convolve_in_one_piece, plan(_as_floats(spec)))
    if spec.dtype == "int64":
        return partial(_convolve_integers, spec, _limb_width(spec))
    if transform(spec).is_small:
        return partial(_convolve_small, transform(spec), window(spec), np.dtype(spec.dtype))
    return partial(_convolve, spec, window(spec))


def least_periods(spec: ConvolutionSpec) -> Sizes:
    """The smallest periods in which the wanted window meets nothing that wraps around."""
    axes = zip(spec.a_sizes, spec.b_sizes, spec.full, spec.start, spec.length, strict=True)
    return tuple(max(n, k, start + length, full - start) for n, k, full, start, length in axes)


def transform(spec: ConvolutionSpec) -> Transform:
    """The transform of its operands."""
    is_single = not spec.batch and spec.dtype in (*FLOATS, *COMPLEX)
    return transform_of(least_periods(spec), spec.is_complex, is_single, spec.device)


def window(spec: ConvolutionSpec) -> tuple[Any, ...]:
    """The index of the wanted places."""
    return last_axes((start, start + length) for start, length in zip(spec.start, spec.length, strict=True))


def _convolve(spec: ConvolutionSpec, wanted: tuple[Any, ...], a: Any, b: Any) -> Any:
    chosen = transform(spec)
    spectrum = product(chosen.forward(tensor_of(a)), chosen.forward(tensor_of(b)))
    return like(chosen.inverse(spectrum)[wanted], a)


def _convolve_small(chosen: Transform, wanted: tuple[Any, ...], dtype: np.dtype[Any], a: Array, b: Array) -> Array:
    spectrum = chosen.forward(a)
    spectrum *= chosen.forward(b)
    return chosen.inverse(spectrum)[wanted].astype(dtype, copy=False)  # NumPy 1 knows double precision only


def _limb_width(spec: ConvolutionSpec) -> int:
    terms = (math.prod(spec.a_sizes), math.prod(spec.b_sizes))
    return limb_bits(*spec.bits, *terms, math.prod(transform(spec).sizes))


def _as_floats(spec: ConvolutionSpec) -> ConvolutionSpec:
    return replace(spec, dtype="float64", bits=(0, 0))


def _convolve_in_one_piece(of_floats: Callable[..., Any], a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        return of_floats(a.to(torch.float64), b.to(torch.float64)).round_().to(torch.int64)
    return np.rint(of_floats(a.astype(np.float64), b.astype(np.float64))).astype(np.int64)


def _convolve_integers(spec: ConvolutionSpec, width: int, a: Any, b: Any) -> Any:
    limbs = [
        split_integers(tensor_of(x), width, limb_count(bits, width)) for x, bits in zip((a, b), spec.bits, strict=True)
    ]
    parts = multiply_limbs(transform(spec), window(spec), *limbs).round_().to(torch.int64)
    result = parts[0]
    for weight, part in enumerate(parts[1:], start=1):
        if weight * width < 64:  # what lies beyond vanishes modulo 2**64, in which the result is known to fit
            result += part << (weight * width)
    return like(result, a)


def _convolve_objects(spec: ConvolutionSpec, width: int, a: Array, b: Array) -> Array:
    limbs = [split_objects(x, width, limb_count(bits, width)) for x, bits in zip((a, b), spec.bits, strict=True)]
    return join_limbs(multiply_limbs(transform(spec), window(spec), *limbs).numpy(), width)
