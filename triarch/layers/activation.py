"""Activation functions as layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from triarch import activations, constraints, initializers, regularizers
from triarch.kernels import Rectifier
from triarch.layers.abstract import Elementwise
from triarch.layers.arguments import describe, is_integer
from triarch.layers.masks import behind
from triarch.registry import register
from triarch.tensors import kept_mask

Function = Callable[[torch.Tensor], torch.Tensor]

# What may overwrite the fresh output of a product or convolution, whose gradients do not need it; by the function's id,
# as a callable of the user's need not be hashable.
_IN_PLACE: dict[int, Function] = {
    id(activations.relu): Rectifier(),
    id(activations.relu6): Rectifier(cap=6.0),
    id(activations.leaky_relu): Rectifier(slope=0.2),
    id(activations.tanh): torch.tanh_,
}


def in_two_steps(activation: Any) -> tuple[Function, Function]:
    """`activation` as one that overwrites a fresh tensor element by element, and one that works on the outcome."""
    in_place = _IN_PLACE.get(id(activation))
    return (in_place, activations.linear) if in_place else (activations.linear, activation)


@register("keras.layers")
class Activation(Elementwise):
    """An activation function, given by name or itself."""

    computes_in_floats = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.activation(inputs)


@register("keras.layers")
class ReLU(Elementwise):
    """`x` from `threshold` up to `max_value`, `negative_slope * (x - threshold)` below the threshold."""

    computes_in_floats = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        _require_non_negative("max_value", max_value or 0)
        _require_non_negative("negative_slope", negative_slope)
        _require_non_negative("threshold", threshold)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


@register("keras.layers")
class LeakyReLU(Elementwise):
    """`x` above 0, `negative_slope * x` below. The slope's older name `alpha` is accepted with a warning."""

    computes_in_floats = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("LeakyReLU's `alpha` is now called `negative_slope`.", DeprecationWarning, stacklevel=2)
        super().__init__(**kwargs)
        _require_non_negative("negative_slope", negative_slope)
        self.negative_slope = negative_slope

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return activations.leaky_relu(inputs, self.negative_slope)


@register("keras.layers")
class ELU(Elementwise):
    """`x` above 0, `alpha * (exp(x) - 1)` below (https://arxiv.org/abs/1511.07289)."""

    computes_in_floats = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return activations.elu(inputs, self.alpha)


@register("keras.layers")
class PReLU(Elementwise):
    """`x` above 0, `alpha * x` below, with a learnt `alpha` for each place (https://arxiv.org/abs/1502.01852).

    Args:
        shared_axes: Axes (the batch's is 0) along which all places have one `alpha`, such as `[1, 2]` for images.
    """

    computes_in_floats = True

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        axes = [shared_axes] if is_integer(shared_axes) else shared_axes
        self.shared_axes = axes and [int(axis) for axis in axes]

    def build(self, input_shape: Any) -> None:
        shared = [axis % len(input_shape) for axis in self.shared_axes or ()]
        shape = [1 if axis in shared else size for axis, size in enumerate(input_shape)][1:]
        if None in shape:
            raise ValueError(
                f"{describe(self)} has a weight for each place, so every size must be known except along "
                f"`shared_axes`. Received: shape {tuple(input_shape)}, shared_axes={self.shared_axes}"
            )
        self.alpha = self.add_weight(
            shape,
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
            name="alpha",
        )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.where(inputs > 0, inputs, self.alpha * inputs)


@register("keras.layers")
class Softmax(Elementwise):
    """`exp(x) / sum(exp(x))` along one axis or several.

    `call` takes a `mask` of a shape that stretches to the inputs', True where a place takes part; the others get
    probability 0. The mask that the inputs carry is one of their first axes: it leaves steps out of a sum over steps,
    says nothing within a step, and goes on to the outputs.
    """

    makes_mask = False
    computes_in_floats = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis) if is_integer(axis) else axis

    def call(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if mask is not None:
            mask = self._stretched(mask, inputs)
        if mask is not None:
            inputs = inputs.masked_fill(~mask, -3e4 if inputs.dtype is torch.float16 else -1e9)
        if isinstance(self.axis, int):
            outputs = activations.softmax(inputs, self.axis)
        else:
            outputs = torch.exp(inputs - torch.logsumexp(inputs, tuple(self.axis), keepdim=True))
        return outputs if mask is None else outputs.masked_fill(~mask, 0.0)

    def _stretched(self, mask: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor | None:
        """A mask as it stretches to the inputs; None for one of steps where each step is summed over by itself."""
        mask = mask if mask.dtype is torch.bool else mask > 0.5
        carried = kept_mask(inputs)
        if carried is not None and mask.shape == carried.shape:
            axes = [self.axis] if isinstance(self.axis, int) else self.axis
            first = min(axis % inputs.ndim for axis in axes)
            return None if first >= mask.ndim else behind(mask, inputs.ndim)
        sizes = zip(reversed(mask.shape), reversed(inputs.shape), strict=False)
        if mask.ndim > inputs.ndim or any(size not in (1, wanted) for size, wanted in sizes):
            raise ValueError(
                f"{describe(self)} takes a mask of a shape that stretches to the inputs' {tuple(inputs.shape)}; give "
                f"one of the first axes further axes of size 1. Received: a mask of shape {tuple(mask.shape)}"
            )
        return mask

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the inputs carry; one that is given says what is summed over, not what counts."""
        return kept_mask(inputs)


def _require_non_negative(name: str, value: Any) -> None:
    if value is None or value < 0:
        raise ValueError(f"`{name}` must be a number of at least 0. Received: {name}={value!r}")
