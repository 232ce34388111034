"""Images turned over and cut out: no pixel gets another value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.arguments import standardize_tuple
from triarch.layers.preprocessing.images.base import Draws, ImageLayer, RandomImageLayer, Transformation, require
from triarch.layers.preprocessing.images.resizing import fitted
from triarch.registry import register

# The axes of a batch that a mode turns over.
FLIPS = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}


@register("keras.layers")
class RandomFlip(RandomImageLayer):
    """Turns every second image over, in training.

    Args:
        mode: `"horizontal"` (left becomes right), `"vertical"`, or `"horizontal_and_vertical"`: one draw decides about
            both, as in Keras, so that an image is turned by 180 degrees or stays. `RandomAffine` draws for each.
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self._axes = FLIPS[require(self, "mode", mode, tuple(FLIPS))]
        # Keras's name; it hides `Layer.mode`, which only models and layers that hold others are asked for.
        self.mode = mode  # type: ignore[method-assign, assignment]

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        return {"flips": draws.uniform(0, 1, shape[0], 1, 1, 1) <= 0.5}

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        flips = transformation["flips"].reshape(-1, 1, 1, 1)
        return torch.where(flips, images.flip(self._axes), images)


@register("keras.layers")
class RandomCrop(RandomImageLayer):
    """Cuts a window of this height and width out of each image, at a place drawn for it, in training.

    In inference, and where an image is smaller, it is the largest window of that shape in the middle, resized.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, name=name, **kwargs)
        self.height = standardize_tuple(height, 1, "height")[0]
        self.width = standardize_tuple(width, 1, "width")[0]

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        """The first row and the first column of each window."""
        batch, height, width, _ = shape
        if height < self.height or width < self.width:
            return None
        return tuple(
            torch.randint(0, size - own + 1, (batch,), generator=draws.generator, device=draws.device)
            for size, own in ((height, self.height), (width, self.width))
        )

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        batch = len(images)
        top, left = (torch.as_tensor(place, device=images.device).long().expand(batch) for place in transformation)
        windows = images.unfold(1, self.height, 1).unfold(2, self.width, 1).movedim(3, -1)
        return windows[torch.arange(batch, device=images.device), top, left]

    def _fixed(self, images: Tensor) -> Tensor:
        return fitted(images, self.height, self.width)

    def _output_size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return self.height, self.width


@register("keras.layers")
class CenterCrop(ImageLayer):
    """The window of this height and width in the middle of images, in training and inference.

    Smaller images give their largest window of that shape, resized.
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.height = standardize_tuple(height, 1, "height")[0]
        self.width = standardize_tuple(width, 1, "width")[0]

    def _fixed(self, images: Tensor) -> Tensor:
        top, left = (images.shape[1] - self.height) // 2, (images.shape[2] - self.width) // 2
        if top < 0 or left < 0:
            return fitted(images, self.height, self.width)
        return images.narrow(1, top, self.height).narrow(2, left, self.width)

    def _output_size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return self.height, self.width
