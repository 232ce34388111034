"""What keeps a network from learning its data by heart: dropouts, in training only, and activity regularization."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from triarch.config import standardize_data_format
from triarch.kernels.windows import axis_names
from triarch.layers.abstract import Elementwise
from triarch.layers.arguments import is_integer, require_axes
from triarch.random import SeedGenerator, dropout
from triarch.registry import register
from triarch.regularizers import L1L2


@register("keras.layers")
class Dropout(Elementwise):
    """In training, zeroes each element with probability `rate` and scales the rest by `1 / (1 - rate)`.

    Args:
        noise_shape: The shape in which elements are dropped together, broadcast over the inputs; None entries take
            the input's size. `(None, 1, None)` drops a feature at all time steps at once.
    """

    computes_in_floats = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = _checked_rate(rate)
        self.noise_shape = _checked_noise_shape(noise_shape)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if not training:
            return inputs
        return dropout(inputs, self.rate, self.noise_shape, self.seed_generator)  # type: ignore[arg-type]


class _SpatialDropout(Elementwise):
    """Dropout of whole channels: what is dropped for a sample is dropped at all its places."""

    computes_in_floats = True

    rank: ClassVar[int]
    rate: float
    data_format: str
    seed_generator: SeedGenerator

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if not training:
            return inputs
        self.compute_output_shape(inputs.shape)
        spatial = (1,) * self.rank
        noise_shape = (None, *spatial, None) if self.data_format == "channels_last" else (None, None, *spatial)
        return dropout(inputs, self.rate, noise_shape, self.seed_generator)  # type: ignore[arg-type]

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_axes(self, input_shape, axis_names(self.rank, self.data_format))
        return super().compute_output_shape(input_shape)


@register("keras.layers")
class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of series `(batch, length, channels)` in training (https://arxiv.org/abs/1411.4280)."""

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.rate = _checked_rate(rate)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.data_format = "channels_last"


class _ImageSpatialDropout(_SpatialDropout):
    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.rate = _checked_rate(rate)
        self.data_format = standardize_data_format(data_format)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)


@register("keras.layers")
class SpatialDropout2D(_ImageSpatialDropout):
    """Drops whole channels of images `(batch, height, width, channels)` in training."""

    rank = 2


@register("keras.layers")
class SpatialDropout3D(_ImageSpatialDropout):
    """Drops whole channels of volumes `(batch, depth, height, width, channels)` in training."""

    rank = 3


@register("keras.layers")
class GaussianNoise(Elementwise):
    """Adds normal numbers of mean 0 and standard deviation `stddev`, from 0 to 1, in training."""

    computes_in_floats = True

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= stddev <= 1:
            raise ValueError(f"`stddev` is a number from 0 to 1. Received: stddev={stddev!r}")
        self.stddev = stddev
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if not training or self.stddev == 0:
            return inputs
        return inputs + self.stddev * _normal_like(inputs, self.seed_generator)


@register("keras.layers")
class GaussianDropout(Elementwise):
    """Multiplies by normal numbers of mean 1 and variance `rate / (1 - rate)` in training."""

    computes_in_floats = True

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` is a number from 0 to below 1. Received: rate={rate!r}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if not training or self.rate == 0:
            return inputs
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return inputs * (1 + deviation * _normal_like(inputs, self.seed_generator))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@register("keras.layers")
class AlphaDropout(Elementwise):
    """Dropout that keeps the mean and variance of what `selu` gives (https://arxiv.org/abs/1706.02515), in training.

    Args:
        noise_shape: The shape in which elements are dropped together; None entries take the input's size.
    """

    computes_in_floats = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` is a number from 0 to below 1. Received: rate={rate!r}")
        self.rate = rate
        self.noise_shape = _checked_noise_shape(noise_shape)
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if not training or self.rate == 0:
            return inputs
        shape = inputs.shape if self.noise_shape is None else self.noise_shape
        sizes = [size if given is None else given for given, size in zip(shape, inputs.shape, strict=True)]
        draws = torch.rand(sizes, generator=self.seed_generator.on(inputs.device), device=inputs.device)
        dropped = -_SELU_ALPHA * _SELU_SCALE
        scale = ((1 - self.rate) * (1 + self.rate * dropped**2)) ** -0.5
        return scale * torch.where(draws >= self.rate, inputs, dropped).to(inputs.dtype) - scale * dropped * self.rate


def _normal_like(inputs: torch.Tensor, seed: SeedGenerator) -> torch.Tensor:
    generator = seed.on(inputs.device)
    return torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)


@register("keras.layers")
class ActivityRegularization(Elementwise):
    """The inputs as they are; adds `l1 * sum(|x|) + l2 * sum(x²)`, divided by the batch's size, to the loss."""

    computes_in_floats = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=L1L2(l1=l1, l2=l2), **kwargs)
        self.l1 = l1
        self.l2 = l2

    def call(self, inputs: Any) -> Any:
        return inputs

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        return (item for item in super()._arguments() if item[0] != "activity_regularizer")


def _checked_rate(rate: float) -> float:
    if not 0 <= rate <= 1:
        raise ValueError(f"`rate` is a probability from 0 to 1. Received: rate={rate!r}")
    return rate


def _checked_noise_shape(noise_shape: Any) -> tuple[int | None, ...] | None:
    if noise_shape is None:
        return None
    is_series = isinstance(noise_shape, (list, tuple))
    if not is_series or not all(size is None or (is_integer(size) and size > 0) for size in noise_shape):
        raise ValueError(
            f"`noise_shape` is a tuple of positive integers and Nones. Received: noise_shape={noise_shape!r}"
        )
    return tuple(None if size is None else int(size) for size in noise_shape)
