"""Sampling on CUDA, by Triton.

Gradients of images are gathered, not scattered: the places are sorted by the cell that they lie in, and each pixel adds
up those of the cells around it, in the order of their numbers. Where very many places share a cell, its pixels wait for
them one after the other.

No block size here was tuned, and no speed measured.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from triarch.kernels.sampling.method import Method, Pixels
from triarch.kernels.sampling.plan import Sizes

_TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}  # of an axis
_LONGEST = 2**20  # pixels of an axis, or channels: Triton takes factors in single precision, and counts few programs
_NARROW = 2**31 - 2**16  # numbers that 32 bits count, and a block more
_BLOCK = 512  # numbers of a block of places and channels
_GATHERED = 128  # and of one of pixels and channels, whose programs end with their fullest cell
_LANES = 32  # channels of a block, at most
_OLDEST = (7, 0)  # compute capability that Triton has code for


@lru_cache(maxsize=64)
def can_run(device: torch.device) -> bool:
    """Whether Triton is there, and knows this CUDA device."""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= _OLDEST


def refuse(sizes: Sizes) -> str | None:
    """Why there are no such kernels for these sizes, though there are some on the CPU; None where there are."""
    if max(sizes.height, sizes.width, sizes.channels) > _LONGEST:
        return "the images are too long, or have too many channels"
    return None


@lru_cache(maxsize=1024)
def cuda_sampler(sizes: Sizes, method: Method, pixels: Pixels) -> CudaSampler:
    """The kernels for these images."""
    return CudaSampler(sizes, method, pixels)


class CudaSampler:
    """Reads images `(batch, height, width, channels)` at places `(batch, rows, columns, 2)`; all are contiguous.

    It does not wait for the device, and gives the same bits at every run.
    """

    def __init__(self, sizes: Sizes, method: Method, pixels: Pixels) -> None:
        import triarch.kernels.sampling.triton_kernels as kernels

        self._kernels, self._sizes, self._padding = kernels, sizes, method.padding
        self._taps = taps = _TAPS[method.interpolation]
        self._margin = _margin(method)
        self._count = sizes.batch * sizes.out_height * sizes.out_width  # of places
        self._cells = sizes.batch * (sizes.height + taps // 2 + taps // 4) * (sizes.width + taps // 2 + taps // 4)
        self._planes = (sizes.batch, sizes.height + 2 * self._margin, sizes.width + 2 * self._margin, sizes.channels)
        largest = max(self._count * max(sizes.channels, 2), math.prod(self._planes), self._cells)
        self._is_wide = largest > _NARROW
        self._lanes = min(_power_of_two(sizes.channels), _LANES)
        self._blocks_of_channels = _blocks(sizes.channels, self._lanes)
        self._numbers = (self._count, self._count // sizes.batch, sizes.height, sizes.width)
        self._pixels = tuple(map(float, pixels))
        # Products are rounded before they are added, as in the reference.
        self._options = {"taps": taps, "is_wide": self._is_wide, "enable_fp_fusion": False}

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """`(batch, rows, columns, channels)`."""
        sizes, block = self._sizes, _BLOCK // self._lanes
        outputs = images.new_empty((sizes.batch, sizes.out_height, sizes.out_width, sizes.channels))
        with torch.cuda.device_of(images):
            self._kernels.read[_blocks(self._count, block), self._blocks_of_channels](
                images, places, outputs, *self._numbers, sizes.channels, *self._pixels,
                padding=self._padding, block=block, lanes=self._lanes, **self._options,
            )  # fmt: skip
        return outputs

    def backward(
        self, images: Tensor, places: Tensor, output_gradient: Tensor, wants_images: bool, wants_places: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of images and places; those of places that are not finite are 0."""
        with torch.cuda.device_of(images):
            of_images = self._of_images(places, output_gradient) if wants_images else None
            of_places = self._of_places(images, places, output_gradient) if wants_places else None
        return of_images, of_places

    def _of_images(self, places: Tensor, output_gradient: Tensor) -> Tensor:
        parts, order, starts = self._in_cells(places)
        planes = places.new_empty(self._planes)
        pixels, block = math.prod(self._planes[:3]), _GATHERED // self._lanes
        self._kernels.gather[_blocks(pixels, block), self._blocks_of_channels](
            output_gradient, parts, order, starts, planes,
            pixels, self._sizes.height, self._sizes.width, self._margin, self._sizes.channels,
            block=block, lanes=self._lanes, **self._options,
        )  # fmt: skip
        return self._folded(planes) if self._margin else planes

    def _in_cells(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The places' parts of the way, their numbers cell by cell, and where among those each cell begins."""
        integers = torch.int64 if self._is_wide else torch.int32
        cells, parts = places.new_empty(self._count, dtype=integers), torch.empty_like(places)
        self._kernels.find_cells[(_blocks(self._count, _BLOCK),)](
            places, cells, parts, *self._numbers, self._cells, *self._pixels,
            padding=self._padding, block=_BLOCK, **self._options,
        )  # fmt: skip
        cells, order = torch.sort(cells, stable=True)
        every = torch.arange(self._cells + 1, dtype=integers, device=places.device)
        return parts, order, torch.searchsorted(cells, every, out_int32=not self._is_wide)

    def _folded(self, planes: Tensor) -> Tensor:
        """Planes without their margins, which are added to the pixels that they stand for; changes the planes."""
        margin, height, width = self._margin, self._sizes.height, self._sizes.width
        for axis, size in ((1, height), (2, width)):
            for number in (*range(-margin, 0), *range(size, size + margin)):
                pixel = _pixel(number, size, self._padding)
                planes.select(axis, margin + pixel).add_(planes.select(axis, margin + number))
        return planes[:, margin : margin + height, margin : margin + width].contiguous()

    def _of_places(self, images: Tensor, places: Tensor, output_gradient: Tensor) -> Tensor:
        if self._taps == 1:
            return torch.zeros_like(places)
        of_places, block = torch.empty_like(places), _BLOCK // self._lanes
        self._kernels.find_slopes[(_blocks(self._count, block),)](
            images, places, output_gradient, of_places, *self._numbers, self._sizes.channels, *self._pixels,
            padding=self._padding, block=block, lanes=self._lanes, **self._options,
        )  # fmt: skip
        return of_places


def _margin(method: Method) -> int:
    """Pixels beyond each edge that places are read from and that stand for others."""
    if method.interpolation == "bicubic" and method.padding != "zeros":
        return 3
    return 1 if method == Method("bilinear", "wrap") else 0


def _pixel(number: int, size: int, padding: str) -> int:
    """The pixel that a number stands for."""
    if padding == "border":
        return min(max(number, 0), size - 1)
    period = {"reflection": 2 * size, "mirror": max(2 * (size - 1), 1), "wrap": size}[padding]
    number %= period
    return number if number < size else period - number - (padding == "reflection")


def _blocks(count: int, block: int) -> int:
    return -(-count // block)


def _power_of_two(number: int) -> int:
    """The smallest that is no less."""
    return 1 << (number - 1).bit_length()
