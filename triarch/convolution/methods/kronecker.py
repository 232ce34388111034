"""Kronecker substitution: a polynomial's value at a large enough power of two holds all its coefficients.

So one product of two huge integers, which Python multiplies in O(n^1.58), is the convolution. Several axes become one
by leaving room for their full sizes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from triarch.convolution.arrays import Array
from triarch.convolution.methods.fourier import window
from triarch.convolution.spec import ConvolutionSpec


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.dtype != "integer":
        return f"coefficients are Python integers, here of type {spec.dtype}"
    return "a batch is not one product of integers" if math.prod(spec.batch) != 1 else None


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    digits = 8 * _coefficient_bytes(spec) / 30  # of Python's integers
    longer, shorter = (digits * math.prod(_row_sizes(spec, sizes)) for sizes in (spec.signal_sizes, spec.kernel_sizes))
    pieces = max(1.0, longer / max(shorter, 1.0))
    karatsuba = shorter**2 if shorter < 70 else 70.0**2 * (shorter / 70) ** math.log2(3)
    return {
        "calls": 1.0,
        "digit_products": pieces * karatsuba,
        "objects": float(math.prod(spec.a_sizes) + math.prod(spec.b_sizes) + math.prod(spec.full)),
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it."""
    return partial(_convolve, spec, _coefficient_bytes(spec))


def _coefficient_bytes(spec: ConvolutionSpec) -> int:
    """Room for a coefficient of the result and its sign."""
    return (spec.result_bits + 1) // 8 + 1


def _row_sizes(spec: ConvolutionSpec, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """An operand with its later axes widened to those of the full result."""
    return (sizes[0], *spec.full[1:])


def _pack(spec: ConvolutionSpec, values: Array, size: int) -> int:
    """The value of the polynomial at 256^size."""
    rows = np.zeros(_row_sizes(spec, values.shape), object)
    rows[tuple(slice(n) for n in values.shape)] = values
    # Half of the room added to each coefficient makes all of them positive, so that none borrows from the next.
    half = 1 << (8 * size - 1)
    data = b"".join([(value + half).to_bytes(size, "little") for value in rows.reshape(-1).tolist()])
    return int.from_bytes(data, "little") - _halves(size, rows.size)


def _halves(size: int, count: int) -> int:
    """Half of the room in each of so many places."""
    return int.from_bytes((1 << (8 * size - 1)).to_bytes(size, "little") * count, "little")


def _convolve(spec: ConvolutionSpec, size: int, a: Array, b: Array) -> Array:
    a, b = a.reshape(spec.a_sizes), b.reshape(spec.b_sizes)
    count = math.prod(spec.full)
    value = _pack(spec, a, size) * _pack(spec, b, size) + _halves(size, count)
    half = 1 << (8 * size - 1)
    result = np.empty(count, object)
    places = struct.iter_unpack(f"{size}s", value.to_bytes(size * count, "little"))
    result[:] = [int.from_bytes(place, "little") - half for (place,) in places]
    return result.reshape(spec.full)[window(spec)].reshape(spec.shape)
