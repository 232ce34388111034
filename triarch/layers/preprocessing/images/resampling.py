"""Images read anew: each output pixel is somewhere in the input.

Places are in pixels, x to the right and y down, from the centre of the first one. A matrix of a transformation is the
eight numbers `a0, a1, a2, b0, b1, b2, c0, c1` of the place that an output pixel `(x, y)` shows, as in Keras:
`(a0 x + a1 y + a2, b0 x + b1 y + b2) / (c0 x + c1 y + 1)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from triarch.kernels import expecting
from triarch.kernels.sampling import sample
from triarch.layers.preprocessing.images.base import RandomImageLayer, Size, Transformation, as_range, require

PADDINGS = {"reflect": "reflection", "wrap": "wrap", "constant": "zeros", "nearest": "border"}
_CALLS = 2000  # about an epoch's batches: augmentation is seldom called once


class Geometric(RandomImageLayer):
    """A layer that reads images at other places; an interface, never made by itself."""

    fill_mode = "constant"

    def __init__(
        self, interpolation: str, fill_value: float, seed: int | None, data_format: str | None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.interpolation = require(self, "interpolation", interpolation, ("nearest", "bilinear"))
        self.fill_value = fill_value

    def _places(self, transformation: Transformation, size: Size, like: Tensor) -> Tensor:
        """Where each pixel is read, `(batch, height, width, 2)`, of the device and type of `like`."""
        raise NotImplementedError(f"{type(self).__name__} does not define `_places`.")

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        images = images.to(self._real_type)
        places = self._places(transformation, (images.shape[1], images.shape[2]), images)
        filling = self.fill_value if self.fill_mode == "constant" else 0  # outside are zeros, then
        with expecting(_CALLS):
            outputs = sample(images - filling if filling else images, places, self.interpolation, self._padding)
        return outputs + filling if filling else outputs

    @property
    def _padding(self) -> str:
        return PADDINGS[self.fill_mode]


class Affine(Geometric):
    """A layer that keeps parallels parallel; an interface, never made by itself."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        fill_value: float,
        seed: int | None,
        data_format: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interpolation, fill_value, seed, data_format, **kwargs)
        self.fill_mode = require(self, "fill_mode", fill_mode, tuple(PADDINGS))

    def _matrix(self, transformation: Transformation, size: Size) -> Tensor:
        """The numbers `a0, a1, a2, b0, b1, b2` for each image, `(batch, 6)` or `(batch, 8)`."""
        raise NotImplementedError(f"{type(self).__name__} does not define `_matrix`.")

    def _places(self, transformation: Transformation, size: Size, like: Tensor) -> Tensor:
        return affine_places(self._matrix(transformation, size).to(like), size)


def matrices(a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any, like: Tensor) -> Tensor:
    """`(batch, 8)` of numbers, and of numbers `(batch,)`; `like` has the batch's size."""
    parts = (a0, a1, a2, b0, b1, b2, 0, 0)
    columns = [part if isinstance(part, Tensor) else torch.full_like(like, part) for part in parts]
    return torch.stack(columns, 1)


def about(centre: Size, a0: Any, a1: Any, b0: Any, b1: Any, like: Tensor) -> Tensor:
    """The matrices that leave the middle of images of this height and width where it is."""
    y, x = middle(centre)
    return matrices(a0, a1, x - x * a0 - y * a1, b0, b1, y - x * b0 - y * b1, like)


def middle(size: Size) -> tuple[float, float]:
    """The middle of images of this height and width: its row and its column."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def affine_places(matrix: Tensor, size: Size) -> Tensor:
    """The places of the pixels of outputs of this size, without a perspective: `(batch, height, width, 2)`."""
    a0, a1, a2, b0, b1, b2 = matrix[:, :6].unsqueeze(-1).unbind(1)
    y, x = axes(size, matrix)
    # Added as complex numbers, since two numbers at a time are too few for vectors.
    across, down = torch.complex(a0 * x, b0 * x), torch.complex(a1 * y + a2, b1 * y + b2)
    return torch.view_as_real(across[:, None] + down[:, :, None])


def axes(size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """The places of rows and of columns."""
    rows, columns = (torch.arange(count, dtype=like.dtype, device=like.device) for count in size)
    return rows, columns


def turned(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine."""
    radians = degrees.deg2rad()
    return radians.cos(), radians.sin()


def zoom_range(factor: Any, name: str) -> tuple[float, float]:
    """How much of an axis is shown at least and at most, for an argument that says what is shown more than all of it.

    Raises:
        ValueError: It is not above -1 and up to 1.
    """
    lowest, highest = as_range(factor, name, -1, 1)
    if -1 in (factor if isinstance(factor, (list, tuple)) else (factor,)):
        raise ValueError(
            f"`{name}` is above -1, where nothing of the image would be shown. Received: {name}={factor!r}"
        )
    return 1 + lowest, 1 + highest
