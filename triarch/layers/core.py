"""Dense products, and layers that hold a function or nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch.layers.abstract import Elementwise, KernelLayer
from triarch.layers.activation import in_two_steps
from triarch.layers.arguments import describe, standardize_tuple
from triarch.layers.base import Layer
from triarch.registry import register


@register("keras.layers")
class Dense(KernelLayer):
    """`activation(inputs @ kernel + bias)` along the last axis, with a kernel of shape `(features, units)`."""

    supports_masking = True
    _optional_config = ("activity_regularizer",)

    def __init__(
        self,
        units: int,
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
        self.units = standardize_tuple(units, 1, "units")[0]

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        if input_shape[-1] is None:
            raise ValueError(
                f"{describe(self)} needs to know the size of the last axis. Received: shape {tuple(input_shape)}"
            )
        self._add_kernel_and_bias((input_shape[-1], self.units))

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        kernel, bias = self.kernel, self.bias
        if inputs.ndim < 2 or inputs.shape[-1] != kernel.shape[0]:
            self.compute_output_shape(inputs.shape)
        if inputs.dtype is not kernel.dtype:
            inputs = inputs.to(kernel.dtype)
        rows = inputs if inputs.ndim == 2 else inputs.reshape(inputs.shape[:-1].numel(), kernel.shape[0])
        outputs = torch.mm(rows, kernel) if bias is None else torch.addmm(bias, rows, kernel)
        in_place, activation = in_two_steps(self.activation)
        outputs = in_place(outputs)
        return activation(outputs if inputs.ndim == 2 else outputs.view(*inputs.shape[:-1], self.units))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape with `units` in place of its last size."""
        if len(input_shape) < 2:
            raise ValueError(
                f"{describe(self)} expects at least 2 axes (batch, ..., features). Received: shape {tuple(input_shape)}"
            )
        if self.built and input_shape[-1] not in (None, self.kernel.shape[0]):
            raise ValueError(
                f"{describe(self)} expects {self.kernel.shape[0]} features along the last axis. "
                f"Received: shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], self.units)


@register("keras.layers")
class Identity(Elementwise):
    """The inputs as they are."""

    def call(self, inputs: Any) -> Any:
        return inputs


@register("keras.layers")
class Rescaling(Elementwise):
    """`inputs * scale + offset` in the compute type: images of integers become floats.

    Args:
        scale: A number, or one for each channel; so is `offset`.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self._compute_torch_dtype)
        return inputs * _as_factor(self.scale, inputs) + _as_factor(self.offset, inputs)


def _as_factor(value: Any, like: torch.Tensor) -> Any:
    return value if isinstance(value, (int, float)) else torch.as_tensor(value, dtype=like.dtype, device=like.device)


@register("keras.layers")
class Lambda(Layer):
    """Any function of the inputs. It takes part in training but has no weights; a subclass of `Layer` may have some.

    A lambda works, but only a registered function can be saved.

    Args:
        output_shape: Of one sample, or a function of the input's shape; by default it is found by a trial run.
        mask: That of the outputs, or a function `(inputs, mask)` that makes it; None: they have none.
        arguments: Further keyword arguments of the function. It gets `training` too, if it takes that, and `mask`, that
            of the inputs.
    """

    supports_masking = False  # unless `mask` says otherwise
    makes_mask = False
    _optional_config = ("output_shape", "mask")

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"A Lambda layer needs a function. Received: {function!r}")
        self.function = function
        self.output_shape = output_shape
        self.mask = mask
        self.supports_masking = self.makes_mask = mask is not None
        self.arguments = dict(arguments or {})
        self._takes = _parameters_of(function)

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        offered = {"mask": mask, "training": training}
        extra = {name: value for name, value in offered.items() if name in self._takes}
        return self.function(inputs, **self.arguments, **extra)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that was given, or what the function makes of that of the inputs."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that was given, or what a trial run shows."""
        if self.output_shape is None:
            return super().compute_output_shape(input_shape)
        if callable(self.output_shape):
            return self.output_shape(input_shape)
        return (pytree.tree_leaves(input_shape, is_leaf=lambda leaf: leaf is None)[0], *self.output_shape)


def _parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except ValueError:  # some functions written in C do not tell
        return frozenset()
