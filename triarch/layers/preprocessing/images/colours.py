"""Brightness and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triarch.layers.preprocessing.images.base import (
    Draws,
    RandomImageLayer,
    Transformation,
    as_range,
    checked_value_range,
)
from triarch.registry import register


@register("keras.layers")
class RandomBrightness(RandomImageLayer):
    """Adds a number to each image, in training.

    Args:
        factor: A number `f` for draws from `-f` to `f`, or the lowest and the highest, from -1 (black) to 1 (white).
        value_range: The lowest and the highest value of pixels, of which `factor` is a part; outputs are clipped to it.
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", -1, 1, strict=False)
        self.value_range = checked_value_range(value_range)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        low, high = self.value_range
        return {"rgb_delta": draws.uniform(*self.factor, shape[0], 1, 1, 1) * (high - low)}

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        return (images + transformation["rgb_delta"]).clamp_(*self.value_range)


@register("keras.layers")
class RandomContrast(RandomImageLayer):
    """Multiplies what each channel of an image differs from its mean with a number, in training.

    Args:
        factor: The lowest and the highest, `(lower, upper)`, of which the number is drawn from `1 - lower` to
            `1 + upper`; one number `f` is `(0, f)`, as in Keras.
        value_range: The lowest and the highest value of pixels; outputs are clipped to it.
    """

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = as_range(factor, "factor", 0, 1, strict=False)
        self.value_range = checked_value_range(value_range)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        lower, upper = self.factor
        return {"contrast_factor": draws.uniform(1 - lower, 1 + upper, shape[0], 1, 1, 1)}

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        factor = transformation["contrast_factor"]
        means = images.mean((1, 2), keepdim=True, dtype=self._real_type)
        return torch.addcmul(means * (1 - factor), images.to(means.dtype), factor).clamp_(*self.value_range)
