"""All affine changes of an image at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.preprocessing.images.base import Draws, Size, Transformation, as_range, require
from triarch.layers.preprocessing.images.flips_and_crops import FLIPS
from triarch.layers.preprocessing.images.resampling import Affine, matrices, middle, turned, zoom_range
from triarch.registry import register


@register("triarch.layers")
class RandomAffine(Affine):
    """Flips, turns, tilts, scales and moves each image, in training, in that order and by reading it once.

    That is several times faster than a layer for each, and blurs once. Each draw is an image's own.

    Args:
        flip: `"horizontal"`, `"vertical"` or `"horizontal_and_vertical"`, each with probability 1/2; None for none.
        rotation: A number `f` for draws from `-f` to `f`, or the lowest and the highest: of turns, counter-clockwise.
        shear: The same of pixels that each row is shifted against the one above, and each column against the one
            before; the middle stays.
        zoom: The same of what is shown more than the whole, on both axes: positive ones make things smaller.
        translation: The same of the image's height, and of its width: down and to the right.
        fill_mode, interpolation, fill_value: As for `RandomRotation`.
    """

    def __init__(
        self,
        flip: str | None = None,
        rotation: Any = 0.0,
        shear: Any = 0.0,
        zoom: Any = 0.0,
        translation: Any = 0.0,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format, **kwargs)
        self.flip = require(self, "flip", flip, (None, *FLIPS))
        self.rotation = as_range(rotation, "rotation", -1, 1)
        self.shear = as_range(shear, "shear", -1, 1)
        self.zoom, self._zooms = zoom, zoom_range(zoom, "zoom")
        self.translation = as_range(translation, "translation", -1, 1)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        lowest, highest = self.rotation
        cos, sin = turned(draws.uniform(360 * lowest, 360 * highest, batch))
        shear_x, shear_y = draws.uniform(*self.shear, 2, batch)
        zoom = draws.uniform(*self._zooms, batch)
        down, right = draws.uniform(*self.translation, 2, batch)
        ways = torch.where(draws.uniform(0, 1, 2, batch) > 0.5, -zoom, zoom)
        flipped = FLIPS.get(self.flip or "", ())
        y_way, x_way = (ways[axis - 1] if axis in flipped else zoom for axis in (1, 2))
        # Rows of flip, rotation, shear and zoom, one after the other.
        a0, a1 = x_way * (cos - sin * shear_y), x_way * (cos * shear_x - sin)
        b0, b1 = y_way * (sin + cos * shear_y), y_way * (sin * shear_x + cos)
        y, x = middle((height, width))
        x_from, y_from = x + right * width, y + down * height  # what shows the middle
        matrix = matrices(a0, a1, x - a0 * x_from - a1 * y_from, b0, b1, y - b0 * x_from - b1 * y_from, zoom)
        return {"matrix": matrix}

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        return transformation["matrix"]
