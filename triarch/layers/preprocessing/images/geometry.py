"""Images moved, turned, scaled and sheared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.preprocessing.images.base import Draws, Size, Transformation, as_range
from triarch.layers.preprocessing.images.resampling import Affine, about, matrices, turned, zoom_range
from triarch.registry import register


@register("keras.layers")
class RandomRotation(Affine):
    """Turns each image about its middle by an angle drawn for it, in training.

    Args:
        factor: A number `f` for angles from `-f` to `f`, or the lowest and the highest, in turns; positive ones are
            counter-clockwise.
        fill_mode: What lies outside: the image turned over at its edges (`"reflect"`), the image again (`"wrap"`), its
            `"nearest"` pixel, or `fill_value` (`"constant"`).
        interpolation: `"bilinear"` or `"nearest"`.
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", -1, 1, strict=False)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        lowest, highest = self.factor
        angle = draws.uniform(360 * lowest, 360 * highest, batch)
        cos, sin = turned(angle)
        return {"angle": angle, "rotation_matrix": about((height, width), cos, -sin, sin, cos, angle)}

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        return transformation["rotation_matrix"].reshape(-1, 8)


@register("keras.layers")
class RandomTranslation(Affine):
    """Moves each image by a distance drawn for it, in training.

    Args:
        height_factor: A number `f` for distances from `-f` to `f`, or the lowest and the highest, in heights of the
            image, from -1 to 1; positive ones are down.
        width_factor: The same in widths; positive ones are to the right.
        fill_mode, interpolation, fill_value: As for `RandomRotation`.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._ranges = (
            as_range(width_factor, "width_factor", -1, 1),
            as_range(height_factor, "height_factor", -1, 1),
        )

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        moved = [draws.uniform(*own, batch) * size for own, size in zip(self._ranges, (width, height), strict=True)]
        return {"translations": torch.stack(moved, 1)}

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        x, y = transformation["translations"].unbind(1)
        return matrices(1, 0, -x, 0, 1, -y, x)


@register("keras.layers")
class RandomZoom(Affine):
    """Scales each image about its middle by a factor drawn for it, in training.

    Args:
        height_factor: A number `f` for draws from `-f` to `f`, or the lowest and the highest, above -1 and up to 1; the
            image shows `1 + draw` of its height: positive ones make things smaller.
        width_factor: The same for the width; None for the same draw, which keeps shapes.
        fill_mode, interpolation, fill_value: As for `RandomRotation`.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height_range = zoom_range(height_factor, "height_factor")
        self._width_range = None if width_factor is None else zoom_range(width_factor, "width_factor")

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        height = draws.uniform(*self._height_range, shape[0], 1)
        width = height if self._width_range is None else draws.uniform(*self._width_range, shape[0], 1)
        return {"height_zoom": height, "width_zoom": width}

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        x, y = transformation["width_zoom"][:, 0], transformation["height_zoom"][:, 0]
        return about(size, x, 0, 0, y, x)


@register("keras.layers")
class RandomShear(Affine):
    """Shifts the rows of each image against each other, and its columns, in training; the first ones stay.

    Args:
        x_factor: A number `f` for draws from `-f` to `f`, or the lowest and the highest, from -1 to 1: how far each row
            is shifted against the one above, in pixels. Which way is drawn for each image.
        y_factor: The same for columns.
        fill_mode, interpolation, fill_value: As for `RandomRotation`.
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed, data_format, **kwargs)
        self.x_factor, self.y_factor = x_factor, y_factor
        self._ranges = (as_range(x_factor, "x_factor", -1, 1), as_range(y_factor, "y_factor", -1, 1))

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch = shape[0]
        ways = torch.where(draws.uniform(0, 1, batch, 1) > 0.5, -1.0, 1.0)
        return {"shear_factor": torch.stack([draws.uniform(*own, batch) for own in self._ranges], 1) * ways}

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        x, y = transformation["shear_factor"].unbind(1)
        return matrices(1, x, 0, y, 1, 0, x)
