"""Images with a part missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.arguments import describe
from triarch.layers.preprocessing.images.base import (
    Draws,
    RandomImageLayer,
    Transformation,
    as_range,
    checked_value_range,
)
from triarch.layers.preprocessing.images.boxes import inside, random_boxes
from triarch.registry import register


@register("keras.layers")
class RandomErasing(RandomImageLayer):
    """Writes over a box in some images, in training (https://arxiv.org/abs/1708.04896).

    Args:
        factor: The probability, drawn for each image: its lowest and its highest value; one number `f` is `(0, f)`.
        scale: The lowest and the highest square of what part of the width, and of the height, the box has.
        fill_value: A number, or one for each channel, in the box; None for normal noise.
        value_range: The lowest and the highest value of pixels. The noise's standard deviation is the highest; what is
            written is clipped to it.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", 0, 1, strict=False)
        self.scale = as_range(scale, "scale", 0, 1)
        self.fill_value = fill_value
        self.value_range = checked_value_range(value_range)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        batch, height, width, _ = shape
        across, down = draws.uniform(*self.scale, 2, batch).sqrt_()
        boxes = random_boxes(across, down, (height, width), draws)
        probability = draws.uniform(*self.factor, batch)
        return {
            "apply_erasing": draws.uniform(0, 1, batch) < probability,
            "batch_masks": inside(boxes, (height, width)),
            "fill_value": self._filling(shape, draws).clamp_(*self.value_range),
        }

    def _filling(self, shape: Sequence[int], draws: Draws) -> Tensor:
        if self.fill_value is None:
            return draws.normal(*shape).mul_(self.value_range[1])
        values = self.fill_value if isinstance(self.fill_value, (list, tuple)) else (self.fill_value,)
        if len(values) not in (1, shape[3]):
            raise ValueError(
                f"{describe(self)}: `fill_value` is a number, or one for each of {shape[3]} channels. "
                f"Received: fill_value={self.fill_value!r}"
            )
        return torch.cat([draws.empty(1).fill_(value) for value in values])

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        is_erased = transformation["batch_masks"] & transformation["apply_erasing"].reshape(-1, 1, 1, 1)
        return torch.where(is_erased, transformation["fill_value"].to(images.dtype), images)
