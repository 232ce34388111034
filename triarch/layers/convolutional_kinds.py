"""Kinds of convolution: channel by channel, in two steps, and transposed."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from triarch import activations, constraints, initializers, regularizers
from triarch.config import standardize_data_format
from triarch.kernels import Window, convolve, kernel_memory_order
from triarch.kernels.transposed import convolve_transposed, transposed_output_shape
from triarch.layers.abstract import KernelLayer
from triarch.layers.activation import in_two_steps
from triarch.layers.arguments import (
    describe,
    is_integer,
    named_in_errors,
    refuse_strides_with_dilation,
    standardize_padding,
    standardize_tuple,
)
from triarch.layers.base import Layer
from triarch.registry import register


class _Sliding(Layer):
    """A window with strides that slides over the input."""

    rank: ClassVar[int]
    strides: tuple[int, ...]
    data_format: str
    activation: Any
    use_bias: bool
    bias: Any

    def _channels(self, input_shape: Any) -> int:
        channels = input_shape[-1] if self.data_format == "channels_last" else input_shape[1]
        if channels is None:
            raise ValueError(
                f"{describe(self)} needs to know the number of channels. Received: shape {tuple(input_shape)}"
            )
        return channels


def _as_is(outputs: torch.Tensor) -> torch.Tensor:
    return outputs


class _DepthwiseConvolution(_Sliding):
    """Each channel with `depth_multiplier` kernels of its own: `(*kernel_size, channels, depth_multiplier)` in all."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.padding = standardize_padding(padding)
        self.depth_multiplier = standardize_tuple(depth_multiplier, 1, "depth_multiplier")[0]
        self.data_format = standardize_data_format(data_format)
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        refuse_strides_with_dilation(self.strides, self.dilation_rate)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.bias = None
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.data_format)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        channels = self._channels(input_shape)
        self._window = self._window._replace(channels=channels)
        self.kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            name="kernel",
            memory_order=(self.rank, self.rank + 1, *range(self.rank)),
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (channels * self.depth_multiplier,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        in_place, activation = in_two_steps(self.activation)
        with named_in_errors(self):
            outputs = _depthwise(inputs, self.kernel, self.bias, self._window, in_place)
        return activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs: `channels * depth_multiplier` channels."""
        with named_in_errors(self):
            shape: Any = self._window.output_shape(input_shape)
        axis = len(shape) - 1 if self.data_format == "channels_last" else 1
        channels = None if shape[axis] is None else shape[axis] * self.depth_multiplier
        return (*shape[:axis], channels, *shape[axis + 1 :])


def _depthwise(
    inputs: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, window: Window, finish: Any
) -> torch.Tensor:
    *sizes, channels, multiplier = kernel.shape
    return convolve(
        inputs.to(kernel.dtype), kernel.reshape(*sizes, 1, channels * multiplier), bias, window, channels, finish
    )


@register("keras.layers")
class DepthwiseConv1D(_DepthwiseConvolution):
    """Convolution of series `(batch, length, channels)`, each channel for itself."""

    rank = 1


@register("keras.layers")
class DepthwiseConv2D(_DepthwiseConvolution):
    """Convolution of images `(batch, height, width, channels)`, each channel for itself."""

    rank = 2


class _SeparableConvolution(_Sliding):
    """A depthwise convolution, then one of size 1 over all channels."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = standardize_tuple(filters, 1, "filters")[0]
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.padding = standardize_padding(padding)
        self.data_format = standardize_data_format(data_format)
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        refuse_strides_with_dilation(self.strides, self.dilation_rate)
        self.depth_multiplier = standardize_tuple(depth_multiplier, 1, "depth_multiplier")[0]
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.pointwise_constraint = constraints.get(pointwise_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.bias = None
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.data_format)
        ones = (1,) * self.rank
        self._pointwise_window = Window(ones, ones, ones, "valid", self.data_format)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        channels = self._channels(input_shape)
        self._window = self._window._replace(channels=channels)
        self.depthwise_kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            name="depthwise_kernel",
            memory_order=(self.rank, self.rank + 1, *range(self.rank)),
        )
        self._pointwise_window = self._pointwise_window._replace(channels=channels * self.depth_multiplier)
        self.pointwise_kernel = self.add_weight(
            (*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
            name="pointwise_kernel",
            memory_order=kernel_memory_order(self.rank, self.data_format),
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        in_place, activation = in_two_steps(self.activation)
        with named_in_errors(self):
            outputs = _depthwise(inputs, self.depthwise_kernel, None, self._window, _as_is)
            outputs = convolve(outputs, self.pointwise_kernel, self.bias, self._pointwise_window, 1, in_place)
        return activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs: spatial sizes as padding and strides leave them, and `filters` channels."""
        with named_in_errors(self):
            return self._window.output_shape(input_shape, self.filters)


@register("keras.layers", "SeparableConvolution1D")
class SeparableConv1D(_SeparableConvolution):
    """Convolution of series `(batch, length, channels)`: each channel for itself, then all at each place."""

    rank = 1


@register("keras.layers", "SeparableConvolution2D")
class SeparableConv2D(_SeparableConvolution):
    """Convolution of images `(batch, height, width, channels)`: each channel for itself, then all at each place."""

    rank = 2


class _TransposedConvolution(KernelLayer, _Sliding):
    """The adjoint of a convolution: every place of the input adds a window to the output.

    The kernel is `(*kernel_size, filters, channels)`. With `"same"` padding an axis becomes `strides` times as long.

    Args:
        output_padding: How many places longer the output is than the input's windows reach with `"valid"` padding, or
            than `(size - 1) * strides + 1` or `2` with `"same"`; less than `strides`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            activity_regularizer,
            kernel_constraint,
            bias_constraint,
            **kwargs,
        )
        self.filters = standardize_tuple(filters, 1, "filters")[0]
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.padding = standardize_padding(padding)
        self.output_padding = _checked_output_padding(output_padding, self.strides)
        self.data_format = standardize_data_format(data_format)
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        refuse_strides_with_dilation(self.strides, self.dilation_rate)
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.data_format)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        channels = self._channels(input_shape)
        self._window = self._window._replace(channels=channels)
        self._add_kernel_and_bias(
            (*self.kernel_size, self.filters, channels), (self.rank + 1, *range(self.rank), self.rank), output_axis=-2
        )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        in_place, activation = in_two_steps(self.activation)
        with named_in_errors(self):
            outputs = convolve_transposed(
                inputs.to(self.kernel.dtype), self.kernel, self.bias, self._window, self.output_padding
            )
        return activation(in_place(outputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs: spatial sizes as padding and strides make them, and `filters` channels."""
        with named_in_errors(self):
            shape = transposed_output_shape(input_shape, self._window, self.output_padding, self.filters)
        if any(size is not None and size <= 0 for size in shape[1:]):
            raise ValueError(f"{describe(self)} leaves nothing of the input. Received: shape {tuple(input_shape)}")
        return shape


def _checked_output_padding(value: Any, strides: tuple[int, ...]) -> tuple[int, ...] | None:
    if value is None:
        return None
    counts = (value,) * len(strides) if is_integer(value) else tuple(value)
    fits = len(counts) == len(strides) and all(
        is_integer(count) and 0 <= count < stride for count, stride in zip(counts, strides, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`output_padding` is less than `strides` on every axis. Received: output_padding={value!r}, "
            f"strides={strides}"
        )
    return counts


@register("keras.layers", "Convolution1DTranspose")
class Conv1DTranspose(_TransposedConvolution):
    """Transposed convolution of series `(batch, length, channels)`."""

    rank = 1


@register("keras.layers", "Convolution2DTranspose")
class Conv2DTranspose(_TransposedConvolution):
    """Transposed convolution of images `(batch, height, width, channels)`."""

    rank = 2


@register("keras.layers", "Convolution3DTranspose")
class Conv3DTranspose(_TransposedConvolution):
    """Transposed convolution of volumes `(batch, depth, height, width, channels)`."""

    rank = 3


DepthwiseConvolution1D = DepthwiseConv1D
DepthwiseConvolution2D = DepthwiseConv2D
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
