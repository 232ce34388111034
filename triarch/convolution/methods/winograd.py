"""Winograd's minimal filtering F(m, r): tiles of the signal by fewer products than the sum has, for small kernels.

For single signals the transforms cost more than the products that they save, so the direct sum is faster; the method
is here for its arithmetic and for comparison. It pays where many channels share transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, last_axes, part_with_zeros
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec
from triarch.convolution.toom_cook import winograd_matrices

LARGEST_KERNEL = 7
_TILES = {1: 1, 2: 2, 3: 4, 4: 3, 5: 2, 6: 2, 7: 2}  # m for each r: n = m + r - 1 points of small size
_EXACT = ("int64", "integer", "object")


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.dtype not in (*FLOATS, *COMPLEX, *_EXACT):
        return f"there are no matrices for numbers of type {spec.dtype}"
    if max(spec.kernel_sizes) > LARGEST_KERNEL:
        return (
            f"kernels have at most {LARGEST_KERNEL} taps in each axis, beyond which rounding grows fast; "
            f"here {spec.kernel_sizes}"
        )
    if spec.dtype == "int64" and spec.device != "cpu":
        return f"exact tiles are not computed on {spec.device}"
    return None


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    tiles = math.prod(
        -(-length // _TILES[k]) for length, k in zip(spec.length, spec.kernel_sizes, strict=True)
    ) * math.prod(spec.batch)
    points = [_TILES[k] + k - 1 for k in spec.kernel_sizes]
    return {
        "calls": 1.0,
        "axes": float(spec.rank),
        "transforms": spec.reals * float(tiles * math.prod(points) * sum(points)) * 2,
        "numbers": spec.reals * float(tiles * math.prod(points)) * (2 + 2 * spec.rank),
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it."""
    tiles = tuple(_TILES[k] for k in spec.kernel_sizes)
    if spec.dtype in _EXACT:
        return partial(_convolve_exactly, spec, tiles)
    return partial(_convolve, spec, tiles)


@dataclass(frozen=True, slots=True)
class _Matrices:
    """Those of one axis, for one type of numbers; scaled by whole numbers where that makes them whole."""

    evaluation: Any
    kernel: Any
    tile: Any
    scale: int


@cache
def _matrices(m: int, r: int, dtype: str, device: str) -> _Matrices:
    exact = winograd_matrices(m, r)
    if dtype == "integer":
        denominators = [math.lcm(*(value.denominator for row in matrix for value in row)) for matrix in exact]
        whole = [
            np.array([[int(value * common) for value in row] for row in matrix], object)
            for matrix, common in zip(exact, denominators, strict=True)
        ]
        evaluation, kernel, tile = whole
        return _Matrices(evaluation, kernel, tile, math.prod(denominators))
    rounded: list[Any] = [
        np.array([[float(value) for value in row] for row in matrix]).astype(dtype) for matrix in exact
    ]
    if device != "cpu":
        rounded = [torch.from_numpy(matrix).to(device) for matrix in rounded]
    evaluation, kernel, tile = rounded
    return _Matrices(evaluation, kernel, tile, 1)


def _along(matrix: Any, x: Any, axis: int) -> Any:
    """The matrix times the vectors along an axis."""
    if isinstance(x, Tensor):
        return torch.tensordot(matrix, x, ([1], [axis])).movedim(0, axis)
    return np.moveaxis(np.tensordot(matrix, x, ([1], [axis])), 0, axis)


def _tiles_of(spec: ConvolutionSpec, tiles: tuple[int, ...], signal: Any) -> Any:
    """The overlapping tiles of the padded signal: (*batch, *counts, *points)."""
    counts = [-(-length // m) for length, m in zip(spec.length, tiles, strict=True)]
    lead = signal.ndim - spec.rank
    shape = [count * m + k - 1 for count, m, k in zip(counts, tiles, spec.kernel_sizes, strict=True)]
    lows = [start - k + 1 for start, k in zip(spec.start, spec.kernel_sizes, strict=True)]
    padded = part_with_zeros(signal, lows, shape)
    for axis, (m, k) in enumerate(zip(tiles, spec.kernel_sizes, strict=True)):
        if isinstance(padded, Tensor):
            padded = padded.unfold(lead + axis, m + k - 1, m)
        else:
            window = np.lib.stride_tricks.sliding_window_view(padded, m + k - 1, lead + axis)
            padded = window[(slice(None),) * (lead + axis) + (slice(None, None, m),)]
    return padded


def _convolve(spec: ConvolutionSpec, tiles: tuple[int, ...], a: Any, b: Any) -> Any:
    matrices = [_matrices(m, k, spec.dtype, spec.device) for m, k in zip(tiles, spec.kernel_sizes, strict=True)]
    return _filter(spec, tiles, matrices, a, b)


def _filter(spec: ConvolutionSpec, tiles: tuple[int, ...], matrices: list[_Matrices], a: Any, b: Any) -> Any:
    rank = spec.rank
    signal, kernel = (a, b) if spec.is_a_signal else (b, a)
    axes = tuple(range(-rank, 0))
    taps = kernel.flip(axes) if isinstance(kernel, Tensor) else np.flip(kernel, axes)
    blocks = _tiles_of(spec, tiles, signal)
    for axis, matrix in zip(axes, matrices, strict=True):
        taps = _along(matrix.kernel, taps, taps.ndim + axis)
        blocks = _along(matrix.tile, blocks, blocks.ndim + axis)
    taps = taps.reshape(tuple(taps.shape[: taps.ndim - rank]) + (1,) * rank + tuple(taps.shape[taps.ndim - rank :]))
    values = blocks * taps
    for axis, matrix in zip(axes, matrices, strict=True):
        values = _along(matrix.evaluation, values, values.ndim + axis)
    lead = values.ndim - 2 * rank
    order = (*range(lead), *(lead + place + part for place in range(rank) for part in (0, rank)))
    values = values.permute(order) if isinstance(values, Tensor) else values.transpose(order)
    sizes = tuple(values.shape[lead + 2 * axis] * m for axis, m in enumerate(tiles))
    return values.reshape(spec.batch + sizes)[last_axes((0, length) for length in spec.length)]


def _convolve_exactly(spec: ConvolutionSpec, tiles: tuple[int, ...], a: Array, b: Array) -> Array:
    matrices = [_matrices(m, k, "integer", "cpu") for m, k in zip(tiles, spec.kernel_sizes, strict=True)]
    scaled = _filter(spec, tiles, matrices, a.astype(object), b.astype(object))
    scale = math.prod(matrix.scale for matrix in matrices)
    if spec.dtype == "object":
        return scaled / scale
    return (scaled // scale).astype(np.int64 if spec.dtype == "int64" else object)
