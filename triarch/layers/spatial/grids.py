"""The two parts of a spatial transformer as layers, for those who build their own."""

from __future__ import annotations

from typing import Any

import torch

from triarch.kernels import affine_grid, grid_sample
from triarch.kernels.sampling.method import Method
from triarch.layers.arguments import describe, standardize_tuple
from triarch.layers.base import Layer
from triarch.registry import register


@register("triarch.layers")
class AffineGrid(Layer):
    """Affine transformations `(batch, 2, 3)` or `(batch, 6)` -> the places `(batch, height, width, 2)` that they show.

    Args:
        size: Height and width of the outputs that will show the places; or one number for both.
        align_corners: Whether -1 and 1 are the centres of the outermost pixels, rather than their outer edges.
    """

    def __init__(self, size: Any, align_corners: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = standardize_tuple(size, 2, "size")
        self.align_corners = align_corners

    def call(self, theta: torch.Tensor) -> torch.Tensor:
        self.compute_output_shape(theta.shape)
        height, width = self.size
        return affine_grid(theta.reshape(-1, 2, 3), (height, width), self.align_corners)

    def compute_output_shape(self, theta_shape: Any) -> Any:
        if tuple(theta_shape[1:]) not in ((2, 3), (6,)):
            raise ValueError(
                f"{describe(self)} takes transformations (batch, 2, 3) or (batch, 6). "
                f"Received: shape {tuple(theta_shape)}"
            )
        return (theta_shape[0], *self.size, 2)


@register("triarch.layers")
class GridSample(Layer):
    """`[images, grid]` -> the images' numbers at the places of the grid, `(batch, rows, columns, channels)`.

    Images are `(batch, height, width, channels)`; the grid is `(batch, rows, columns, 2)`, x and y from -1 to 1.

    Args:
        interpolation: `"bilinear"`, `"nearest"` or `"bicubic"`.
        padding: What lies outside: `"zeros"`, the nearest pixel of the `"border"`, the image in `"reflection"` or again
            (`"wrap"`).
        align_corners: Whether -1 and 1 are the centres of the outermost pixels, rather than their outer edges.
    """

    computes_in_floats = True

    def __init__(
        self,
        interpolation: str = "bilinear",
        padding: str = "zeros",
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        Method(interpolation, padding).check()
        self.interpolation, self.padding, self.align_corners = interpolation, padding, align_corners

    def call(self, inputs: Any) -> torch.Tensor:
        images, grid = self._parts(inputs)
        return grid_sample(images, grid, self.interpolation, self.padding, self.align_corners)

    def compute_output_shape(self, input_shape: Any) -> Any:
        images, grid = self._parts(input_shape)
        return (images[0], *grid[1:3], images[3])

    def _parts(self, given: Any) -> Any:
        if not isinstance(given, (list, tuple)) or len(given) != 2:
            raise ValueError(f"{describe(self)} takes a list [images, grid]. Received: {given!r}")
        return given
