"""Fourier transforms of real and complex numbers, each size by the way that is fastest for it.

The order in which a transform leaves its frequencies is its own affair: spectra are only multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import next_smooth
from triarch.convolution.spec import Sizes

MOST_SMALL = 1 << 16  # points up to which one thread is faster than several


class Transform(Protocol):
    """A transform of the last axes, zeros appended up to its sizes."""

    @property
    def kind(self) -> str:
        """Under which its time is counted."""
        ...

    @property
    def sizes(self) -> Sizes:
        """How many points each axis has."""
        ...

    @property
    def is_complex(self) -> bool:
        """Whether operands are complex."""
        ...

    @property
    def is_small(self) -> bool:
        """Whether operands and spectra are arrays, not tensors, and one thread does it."""
        ...

    def forward(self, x: Any) -> Any:
        """The spectrum of (..., *places), in memory of its own."""
        ...

    def inverse(self, spectrum: Any) -> Any:
        """(..., *sizes); the spectrum's memory may be used up."""
        ...


def transform_of(least: Sizes, is_complex: bool, is_single: bool, device: str) -> Transform:
    """The transform of at least so many places in each axis, of single operands or of batches."""
    sizes = tuple(map(next_smooth, least))
    is_small = device == "cpu" and is_single and math.prod(sizes) <= MOST_SMALL
    if device == "cpu" and len(least) == 1 and least[0] > MOST_SMALL:
        return _four_steps(least[0], is_complex)
    return WholeTransform(sizes, is_complex, is_small)


def work_of(transform: Transform, times: int) -> float:
    """The operations of so many transforms for each thread, up to a factor."""
    points = math.prod(transform.sizes)
    threads = 1 if transform.is_small else torch.get_num_threads()
    return (2.0 if transform.is_complex else 1.0) * times * points * max(1.0, math.log2(points)) / threads


def product(spectrum: Tensor, other: Tensor) -> Tensor:
    """Of two spectra, in the memory of one where that has the shape of the result."""
    if spectrum.shape < other.shape:
        spectrum, other = other, spectrum
    shape = torch.broadcast_shapes(spectrum.shape, other.shape)
    return spectrum.mul_(other) if spectrum.shape == shape else spectrum * other


@dataclass(frozen=True, slots=True)
class WholeTransform:
    """All axes by one call: of torch, which shares a batch and many rows among the threads, or of NumPy.

    Args:
        is_small: By NumPy, which wakes no threads; operands and spectra are then arrays.
    """

    sizes: Sizes
    is_complex: bool
    is_small: bool

    @property
    def kind(self) -> str:
        return f"{'small_' if self.is_small else ''}{'row_' if len(self.sizes) == 1 else ''}work"

    def forward(self, x: Any) -> Any:
        library: Any = np.fft if self.is_small else torch.fft
        if len(self.sizes) == 1:
            return (library.fft if self.is_complex else library.rfft)(x, self.sizes[0])
        return (library.fftn if self.is_complex else library.rfftn)(x, self.sizes, self._axes)

    def inverse(self, spectrum: Any) -> Any:
        library: Any = np.fft if self.is_small else torch.fft
        if len(self.sizes) == 1:
            return (library.ifft if self.is_complex else library.irfft)(spectrum, self.sizes[0])
        return (library.ifftn if self.is_complex else library.irfftn)(spectrum, self.sizes, self._axes)

    @property
    def _axes(self) -> Sizes:
        return tuple(range(-len(self.sizes), 0))


@dataclass(frozen=True, slots=True)
class _FourSteps:
    """A long axis as a matrix: transforms of its columns, a product with roots of unity, transforms of its rows.

    Short transforms stay in the cache and are shared among the threads, where one long transform does neither. A real
    axis has the lower half of its column frequencies only, the upper half being their conjugates.

    Source: Bailey, "FFTs in external or hierarchical memory" (1990).
    """

    rows: int
    columns: int
    is_complex: bool
    kind = "long_work"
    is_small = False

    @property
    def sizes(self) -> Sizes:
        return (self.rows * self.columns,)

    def forward(self, x: Tensor) -> Tensor:
        padded = x.new_zeros((*x.shape[:-1], self.rows * self.columns))
        padded[..., : x.shape[-1]] = x
        matrix = padded.unflatten(-1, (self.rows, self.columns))
        spectrum = torch.fft.fft(matrix, dim=-2) if self.is_complex else torch.fft.rfft(matrix, dim=-2)
        return torch.fft.fft(spectrum.mul_(_twiddles(*spectrum.shape[-2:], self.sizes[0], spectrum.dtype)), dim=-1)

    def inverse(self, spectrum: Tensor) -> Tensor:
        matrix = torch.fft.ifft(spectrum, dim=-1)
        matrix.mul_(_twiddles(*matrix.shape[-2:], self.sizes[0], matrix.dtype).conj())
        if self.is_complex:
            return torch.fft.ifft(matrix, dim=-2).flatten(-2)
        return torch.fft.irfft(matrix, self.rows, dim=-2).flatten(-2)


def _four_steps(least: int, is_complex: bool) -> _FourSteps:
    columns = 1 << round(math.log2(math.sqrt(least) / 2))
    return _FourSteps(next_smooth(-(-least // columns)), columns, is_complex)


@lru_cache(maxsize=4)  # each as large as the spectrum that it is for
def _twiddles(frequencies: int, columns: int, points: int, dtype: torch.dtype) -> Tensor:
    """`exp(-2πi k n / points)` of column frequency k and place n in the row."""
    turns = torch.arange(frequencies)[:, None] * torch.arange(columns) % points
    angles = turns.to(torch.float64) * (-2 * math.pi / points)
    return torch.polar(torch.ones_like(angles), angles).to(dtype)
