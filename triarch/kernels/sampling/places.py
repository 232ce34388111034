"""Places in images: of pixels, counted from the centre of the first one, and from -1 to 1 across the image."""

from __future__ import annotations

import torch
from torch import Tensor

from triarch.kernels.sampling.method import Pixels, pixels_from_extent


def coordinates(count: int, like: Tensor, align_corners: bool = False) -> Tensor:
    """The places of the pixels of an axis, from -1 to 1.

    Args:
        like: Says number type and device.
        align_corners: Whether -1 and 1 are the centres of the outermost pixels; else they are their outer edges.
    """
    centres = torch.arange(count, dtype=like.dtype, device=like.device)
    if not align_corners:
        return (2 * centres + (1 - count)) / count
    return (2 * centres + (1 - count)) / max(count - 1, 1)


def pixels_of(grid: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Places `(..., 2)`, x and y from -1 to 1, as pixels of images of `size` (height, width)."""
    return as_pixels(grid, pixels_from_extent(size, align_corners))


def as_pixels(places: Tensor, pixels: Pixels) -> Tensor:
    """Places `(..., 2)` as pixels."""
    if pixels == Pixels():
        return places
    x_scale, x_shift, y_scale, y_shift = pixels
    return places * places.new_tensor((x_scale, y_scale)) + places.new_tensor((x_shift, y_shift))
