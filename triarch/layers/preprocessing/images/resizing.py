"""Images brought to a size."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.layers.arguments import standardize_tuple
from triarch.layers.preprocessing.images.base import ImageLayer, require
from triarch.registry import register

INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


@register("keras.layers")
class Resizing(ImageLayer):
    """Images in another height and width, in training and inference; images of integers stay so.

    Args:
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        crop_to_aspect_ratio: Whether what does not fit the new shape is cut off, as much at both ends.
        pad_to_aspect_ratio: Whether images get margins of `fill_value` instead.
        fill_mode: Only `"constant"`.
        antialias: Whether pixels that become fewer are averaged; `"nearest"` never averages.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("One of `crop_to_aspect_ratio` and `pad_to_aspect_ratio` can be True. Received: both")
        self.height = standardize_tuple(height, 1, "height")[0]
        self.width = standardize_tuple(width, 1, "width")[0]
        self.interpolation = require(self, "interpolation", interpolation, INTERPOLATIONS)
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode = require(self, "fill_mode", fill_mode, ("constant",))
        self.fill_value = fill_value
        self.antialias = bool(antialias)

    def _fixed(self, images: Tensor) -> Tensor:
        if self.crop_to_aspect_ratio:
            images = cropped_to_shape(images, self.height, self.width)
        elif self.pad_to_aspect_ratio:
            is_exact = images.is_floating_point() or self.interpolation == "nearest"
            images = _padded_to_shape(images if is_exact else images.float(), self.height, self.width, self.fill_value)
        return resize(images, self.height, self.width, self.interpolation, self.antialias)

    def _output_size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return self.height, self.width

    def _output_type(self, dtype: torch.dtype) -> torch.dtype:
        return self._compute_torch_dtype if dtype.is_floating_point else dtype


def resize(images: Tensor, height: int, width: int, interpolation: str = "bilinear", antialias: bool = False) -> Tensor:
    """Images `(batch, height, width, channels)` in another size; of integers as floats, unless `"nearest"`."""
    if images.shape[1:3] == (height, width) and images.is_floating_point():
        return images
    if interpolation == "nearest":
        rows, columns = (
            _nearest(size, new_size, images.device)
            for size, new_size in zip(images.shape[1:3], (height, width), strict=True)
        )
        return images.index_select(1, rows).index_select(2, columns)
    numbers = images if images.dtype in (torch.float32, torch.float64) else images.float()
    if interpolation.startswith("lanczos"):
        return _weighted(numbers, height, width, int(interpolation[-1]), antialias)
    if not len(numbers):
        return numbers.new_empty(0, height, width, numbers.shape[3])
    planes = numbers.movedim(-1, 1)
    outputs = F.interpolate(planes, (height, width), mode=interpolation, align_corners=False, antialias=antialias)
    return outputs.movedim(1, -1)


def cropped_to_shape(images: Tensor, height: int, width: int) -> Tensor:
    """The largest window in the middle of images that has the shape of this height and width."""
    tall, wide = images.shape[1:3]
    new_tall = max(min(tall, int(wide * height / width)), 1)
    new_wide = max(min(wide, int(tall * width / height)), 1)
    return images.narrow(1, (tall - new_tall) // 2, new_tall).narrow(2, (wide - new_wide) // 2, new_wide)


def fitted(images: Tensor, height: int, width: int) -> Tensor:
    """The largest window in the middle of images, resized."""
    return resize(cropped_to_shape(images, height, width), height, width)


def _padded_to_shape(images: Tensor, height: int, width: int, fill_value: float) -> Tensor:
    """The images with equal margins above and below, or left and right: an odd pixel is left out, as in Keras."""
    tall, wide = images.shape[1:3]
    down = (max(tall, int(wide * height / width)) - tall) // 2
    across = (max(wide, int(tall * width / height)) - wide) // 2
    filling = fill_value if images.is_floating_point() else round(fill_value)
    return F.pad(images, (0, 0, across, across, down, down), value=filling)


def _nearest(size: int, new_size: int, device: torch.device) -> Tensor:
    """The pixels of an axis whose centres are nearest to those of the new ones."""
    return torch.arange(1, 2 * new_size, 2, device=device).mul_(size).div_(2 * new_size, rounding_mode="floor")


def _weighted(images: Tensor, height: int, width: int, radius: int, antialias: bool) -> Tensor:
    rows, columns = (
        torch.from_numpy(_lanczos_weights(size, new_size, radius, antialias)).to(images)
        for size, new_size in zip(images.shape[1:3], (height, width), strict=True)
    )
    return torch.einsum("ij,bjkc,lk->bilc", rows, images, columns)


@lru_cache(maxsize=64)
def _lanczos_weights(size: int, new_size: int, radius: int, antialias: bool) -> np.ndarray[Any, Any]:
    """`(new_size, size)`: how much each pixel of an axis counts for each new one (Lanczos, windowed by its own arc)."""
    scale = size / new_size
    width = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(new_size) + 0.5) * scale - 0.5
    distances = np.abs(centres[:, None] - np.arange(size)) / width
    weights = np.where(distances < radius, np.sinc(distances) * np.sinc(distances / radius), 0.0)
    return weights / weights.sum(1, keepdims=True)
