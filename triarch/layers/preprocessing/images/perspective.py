"""Images as if they were tilted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.arguments import describe
from triarch.layers.preprocessing.images.base import Draws, Size, Transformation, as_range
from triarch.layers.preprocessing.images.resampling import Geometric, affine_places, axes, matrices
from triarch.registry import register

_OUTSIDE = -9.0  # a place in no image, in the stead of those at the horizon


@register("keras.layers")
class RandomPerspective(Geometric):
    """Moves the corners of some images, and all between them as if the image were tilted, in training.

    Args:
        factor: The probability, drawn for each image: its lowest and its highest value; one number `f` is `(0, f)`.
        scale: How far corners move at most, from 0 to 1: half of it times their distances from the first row and
            column.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: What lies outside of the image.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interpolation, fill_value, seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", 0, 1, strict=False)
        if not 0 <= scale <= 1:
            raise ValueError(f"`scale` is a number from 0 to 1. Received: scale={scale!r}")
        self.scale = scale

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        if min(height, width) < 2:
            raise ValueError(
                f"{describe(self)} takes images of at least 2 x 2 pixels. Received: height {height}, width {width}"
            )
        probability = draws.uniform(*self.factor, batch)
        corners = draws.empty(4, 2).zero_()
        corners[1::2, 0], corners[2:, 1] = width - 1, height - 1
        return {
            "apply_perspective": draws.uniform(0, 1, batch) < probability,
            "start_points": corners.expand(batch, 4, 2),
            "end_points": corners * (1 + draws.uniform(-self.scale / 2, self.scale / 2, batch, 4, 2)),
        }

    def _places(self, transformation: Transformation, size: Size, like: Tensor) -> Tensor:
        matrix = _homography(transformation["start_points"], transformation["end_points"])
        is_tilted = transformation["apply_perspective"].reshape(-1, 1)
        matrix = torch.where(is_tilted, matrix, matrices(1, 0, 0, 0, 1, 0, matrix[:, 0])).to(like)
        y, x = axes(size, like)
        depth = 1 + matrix[:, 6, None, None] * x + matrix[:, 7, None, None] * y[:, None]
        places = affine_places(matrix, size) / depth.unsqueeze(-1)
        return places.nan_to_num(_OUTSIDE, _OUTSIDE, _OUTSIDE)


def _homography(start: Tensor, end: Tensor) -> Tensor:
    """The eight numbers `(batch, 8)` that bring four points `end` to `start`, both `(batch, 4, 2)`."""
    x, y = end.double().unbind(-1)
    goal = start.double()
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    equations = torch.cat(
        [
            torch.stack([x, y, one, zero, zero, zero, -goal[..., 0] * x, -goal[..., 0] * y], -1),
            torch.stack([zero, zero, zero, x, y, one, -goal[..., 1] * x, -goal[..., 1] * y], -1),
        ],
        1,
    )
    found: Tensor = torch.linalg.solve_ex(equations, goal.mT.flatten(1)).result  # without a look at the numbers
    return found
