"""Pooling over windows and over whole inputs."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from triarch.config import standardize_data_format
from triarch.kernels import Window, plan_pooling, pool
from triarch.kernels.windows import axis_names
from triarch.layers.arguments import describe, named_in_errors, require_axes, standardize_padding, standardize_tuple
from triarch.layers.base import Layer
from triarch.layers.masks import masked_mean, of_first_axes, of_steps
from triarch.registry import register
from triarch.watching import planner, sizes_of


class _Pooling(Layer):
    """What poolings over windows share; `strides` are `pool_size` where none are given."""

    computes_in_floats = True

    rank: ClassVar[int]
    statistic: ClassVar[str]

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = standardize_tuple(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else standardize_tuple(strides, self.rank, "strides")
        self.padding = standardize_padding(padding)
        self.data_format = standardize_data_format(data_format)
        self._window = Window(self.pool_size, self.strides, (1,) * self.rank, self.padding, self.data_format)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        with named_in_errors(self):
            plan = planner(plan_pooling)(sizes_of(inputs), self._window, self.statistic)
        return pool(plan, inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs: spatial sizes as padding and strides leave them."""
        with named_in_errors(self):
            return self._window.output_shape(input_shape)


@register("keras.layers", "MaxPool1D")
class MaxPooling1D(_Pooling):
    """The largest number of each window of series `(batch, length, channels)`."""

    rank = 1
    statistic = "max"


@register("keras.layers", "MaxPool2D")
class MaxPooling2D(_Pooling):
    """The largest number of each window of images `(batch, height, width, channels)`."""

    rank = 2
    statistic = "max"


@register("keras.layers", "MaxPool3D")
class MaxPooling3D(_Pooling):
    """The largest number of each window of volumes `(batch, depth, height, width, channels)`."""

    rank = 3
    statistic = "max"


@register("keras.layers", "AvgPool1D")
class AveragePooling1D(_Pooling):
    """The mean of each window of series `(batch, length, channels)`; margins do not count."""

    rank = 1
    statistic = "average"


@register("keras.layers", "AvgPool2D")
class AveragePooling2D(_Pooling):
    """The mean of each window of images `(batch, height, width, channels)`; margins do not count."""

    rank = 2
    statistic = "average"


@register("keras.layers", "AvgPool3D")
class AveragePooling3D(_Pooling):
    """The mean of each window of volumes `(batch, depth, height, width, channels)`; margins do not count."""

    rank = 3
    statistic = "average"


class _GlobalPooling(Layer):
    """What poolings over all places share; with `keepdims` the spatial axes stay, with size 1."""

    rank: ClassVar[int]
    computes_in_floats = True

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.keepdims = keepdims
        first = 1 if self.data_format == "channels_last" else 2
        self._spatial_axes = tuple(range(first, first + self.rank))

    def _reduce(self, inputs: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim != self.rank + 2:
            self.compute_output_shape(inputs.shape)
        return self._reduce(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Batch and channels, with axes of size 1 between where `keepdims` says so."""
        require_axes(self, input_shape, axis_names(self.rank, self.data_format))
        sizes = [1 if axis in self._spatial_axes else size for axis, size in enumerate(input_shape)]
        return tuple(size for axis, size in enumerate(sizes) if self.keepdims or axis not in self._spatial_axes)


class _GlobalMaxPooling(_GlobalPooling):
    def _reduce(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.amax(self._spatial_axes, keepdim=self.keepdims)


class _GlobalAveragePooling(_GlobalPooling):
    def _reduce(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean(self._spatial_axes, keepdim=self.keepdims)


@register("keras.layers", "GlobalMaxPool1D")
class GlobalMaxPooling1D(_GlobalMaxPooling):
    """The largest number of each channel of series."""

    rank = 1


@register("keras.layers", "GlobalMaxPool2D")
class GlobalMaxPooling2D(_GlobalMaxPooling):
    """The largest number of each channel of images."""

    rank = 2


@register("keras.layers", "GlobalMaxPool3D")
class GlobalMaxPooling3D(_GlobalMaxPooling):
    """The largest number of each channel of volumes."""

    rank = 3


@register("keras.layers", "GlobalAvgPool1D")
class GlobalAveragePooling1D(_GlobalAveragePooling):
    """The mean of each channel of series, over the steps inside the mask, if there is one; 0 where no step counts."""

    rank = 1
    supports_masking = True
    makes_mask = False

    def call(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is None:
            return super().call(inputs)
        self.compute_output_shape(inputs.shape)
        (axis,) = self._spatial_axes
        mask = of_first_axes(of_steps(mask, (len(inputs), inputs.shape[axis]), describe(self)), 2)
        return masked_mean(inputs, mask.unsqueeze(3 - axis), (axis,), self.keepdims).to(inputs.dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the steps are gone."""


@register("keras.layers", "GlobalAvgPool2D")
class GlobalAveragePooling2D(_GlobalAveragePooling):
    """The mean of each channel of images."""

    rank = 2


@register("keras.layers", "GlobalAvgPool3D")
class GlobalAveragePooling3D(_GlobalAveragePooling):
    """The mean of each channel of volumes."""

    rank = 3


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
