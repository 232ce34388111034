"""Random boxes in images."""

from __future__ import annotations

import torch
from torch import Tensor

from triarch.layers.preprocessing.images.base import Draws, Size

Box = tuple[Tensor, Tensor, Tensor, Tensor]  # left, right, top and bottom of each image's, in pixels


def random_boxes(width_part: Tensor, height_part: Tensor, size: Size, draws: Draws) -> Box:
    """A box in each image, as large as is said, anywhere that it fits.

    Args:
        width_part: `(batch,)`: of the images' width; `height_part` of their height.
        size: Height and width of the images.
    """
    height, width = size
    places: list[Tensor] = []
    for part, length in ((width_part, width), (height_part, height)):
        own = part * length
        start = draws.uniform(0, 1, len(part)) * (length - own)
        places += (start, start + own)
    left, right, top, bottom = places
    return left, right, top, bottom


def inside(boxes: Box, size: Size) -> Tensor:
    """Which pixels lie in the boxes, `(batch, height, width, 1)`."""
    left, right, top, bottom = (place[:, None, None, None] for place in boxes)
    y, x = (torch.arange(length, dtype=left.dtype, device=left.device) for length in size)
    x, y = x[:, None], y[:, None, None]
    return ((x >= left) & (x < right)) & ((y >= top) & (y < bottom))
