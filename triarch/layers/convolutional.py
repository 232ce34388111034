"""Convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from triarch import activations, config
from triarch.config import standardize_data_format
from triarch.convolution import Explanation
from triarch.kernels import ConvSpec, Rectifier, Window, convolve, explain, kernel_memory_order, plan_for
from triarch.kernels.conv.binding import NormalizingKernel
from triarch.kernels.normalization import Convolution
from triarch.layers.abstract import KernelLayer
from triarch.layers.activation import in_two_steps
from triarch.layers.arguments import (
    describe,
    named_in_errors,
    refuse_strides_with_dilation,
    standardize_padding,
    standardize_tuple,
)
from triarch.registry import register

Margins = tuple[tuple[int, int], ...]  # places before and after each spatial axis


class _Convolution(KernelLayer):
    """What convolutions share: a kernel of shape `(*kernel_size, channels // groups, filters)` slides over the input.

    Args:
        padding: `"valid"`, `"same"` (the output is as large as the input where the stride is 1) or, for one axis,
            `"causal"` (an output depends on no later input).
        groups: Into how many parts channels and filters are divided; each part of the filters sees its channels only.
    """

    rank: ClassVar[int]
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        self.padding = standardize_padding(padding, self.paddings)
        self.data_format = standardize_data_format(data_format)
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        self.groups = standardize_tuple(groups, 1, "groups")[0]
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.data_format)
        if self.filters % self.groups:
            raise ValueError(
                f"`filters` must be a multiple of `groups`. Received: filters={self.filters}, groups={self.groups}"
            )
        refuse_strides_with_dilation(self.strides, self.dilation_rate)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        channels = input_shape[-1] if self.data_format == "channels_last" else input_shape[1]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"{describe(self)} needs a number of input channels that is known and a multiple of "
                f"groups={self.groups}. Received: shape {tuple(input_shape)}"
            )
        self._window = self._window._replace(channels=channels)
        self._add_kernel_and_bias(
            (*self.kernel_size, channels // self.groups, self.filters), kernel_memory_order(self.rank, self.data_format)
        )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        kernel = self.kernel
        if inputs.dtype is not kernel.dtype:
            inputs = inputs.to(kernel.dtype)
        in_place, activation = in_two_steps(self.activation)
        with named_in_errors(self):
            outputs = convolve(inputs, kernel, self.bias, self._window, self.groups, in_place)
        return activation(outputs)

    def normalizing(self, inputs: torch.Tensor, margins: Margins | None) -> Convolution | None:
        """This convolution as a part of the normalisation of its outputs; None where no kernel does that.

        Args:
            margins: Of zeros around the inputs, before the layer's own padding, which is then `"valid"`.
        """
        kernel = self.kernel
        if inputs.dtype is not kernel.dtype:
            return None
        with named_in_errors(self):
            plan = plan_for(inputs, self._window_with(margins), self.groups, self.filters, activations.linear)
        return Convolution(plan, kernel, self.bias) if isinstance(plan, NormalizingKernel) else None

    def call_rescaled(
        self,
        inputs: torch.Tensor,
        scale: torch.Tensor,
        shift: torch.Tensor,
        rectifies: bool,
        margins: Margins | None,
    ) -> torch.Tensor:
        """The outputs times a number for each filter, plus another, perhaps rectified, in one convolution.

        Args:
            margins: As in `normalizing`.
        """
        inputs = inputs.to(self.kernel.dtype)
        bias = shift if self.bias is None else self.bias * scale + shift
        finish = Rectifier() if rectifies else activations.linear
        with named_in_errors(self):
            return convolve(inputs, self.kernel * scale, bias, self._window_with(margins), self.groups, finish)

    def _window_with(self, margins: Margins | None) -> Window:
        return self._window if margins is None else self._window._replace(padding=margins)

    def explain_convolution(
        self, input_shape: Any, training: bool = True, calls: int = 1000, is_first: bool = False
    ) -> Explanation:
        """The methods for inputs of this shape with their predicted times, and why one is taken; print it.

        Args:
            calls: How many there will be, about: compiled code has to earn its start.
            is_first: Whether the inputs are data, of which no gradient is wanted.
        """
        channels = input_shape[-1] if self.data_format == "channels_last" else input_shape[1]
        with named_in_errors(self):
            self._window.output_shape(input_shape)
            spec = ConvSpec(
                tuple(input_shape),
                self._window._replace(channels=channels),
                self.groups,
                self.filters,
                in_two_steps(self.activation)[0],
                self._compute_torch_dtype,
                self.kernel.device.type if self.built else config.device().type,
                torch.get_num_threads(),
                training,
                calls,
                is_first,
            )
        return explain(spec)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs: spatial sizes as padding and strides leave them, and `filters` channels."""
        with named_in_errors(self):
            return self._window.output_shape(input_shape, self.filters)


@register("keras.layers", "Convolution1D")
class Conv1D(_Convolution):
    """Convolution of series `(batch, length, channels)` with `filters` kernels."""

    rank = 1
    paddings = ("valid", "same", "causal")


@register("keras.layers", "Convolution2D")
class Conv2D(_Convolution):
    """Convolution of images `(batch, height, width, channels)` with `filters` kernels."""

    rank = 2


@register("keras.layers", "Convolution3D")
class Conv3D(_Convolution):
    """Convolution of volumes `(batch, depth, height, width, channels)` with `filters` kernels."""

    rank = 3


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
