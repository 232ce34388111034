"""Normalisation of samples and of groups of channels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from triarch.layers.abstract import Elementwise, ScaledNormalization, widened
from triarch.layers.arguments import describe, is_integer
from triarch.layers.masks import behind, mean_inside, of_first_axes, reaches
from triarch.registry import register
from triarch.tensors import kept_mask


@register("keras.layers")
class LayerNormalization(ScaledNormalization):
    """Each sample to mean 0 and variance 1 over the axes, then scaled and shifted (https://arxiv.org/abs/1607.06450).

    Where steps are among the axes, mean and variance are those of the steps inside the mask.

    Args:
        rms_scaling: Only False.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        rms_scaling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            **kwargs,
        )
        if rms_scaling:
            raise ValueError("`rms_scaling` is False; use `RMSNormalization` instead. Received: rms_scaling=True")
        self.axis = _checked_axis(axis)
        self.rms_scaling = False

    def build(self, input_shape: Any) -> None:
        self._add_scale_and_shift([self._size_of(axis, input_shape) for axis in _in_order(self.axis, len(input_shape))])

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        numbers, mask = widened(inputs), kept_mask(inputs)
        axes = _in_order(self.axis, inputs.ndim)
        if not reaches(mask, axes) and axes == list(range(inputs.ndim - len(axes), inputs.ndim)):
            shape = [inputs.shape[axis] for axis in axes]
            outputs = F.layer_norm(numbers, shape, self.gamma, self.beta, self.epsilon)
            return outputs.to(self._compute_torch_dtype)
        centred = numbers - mean_inside(numbers, mask, axes)
        outputs = centred * torch.rsqrt(mean_inside(centred.square(), mask, axes) + self.epsilon)
        shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(inputs.ndim)]
        if self.scale:
            outputs = outputs * self.gamma.reshape(shape)
        if self.center:
            outputs = outputs + self.beta.reshape(shape)
        return outputs.to(self._compute_torch_dtype)


@register("keras.layers")
class GroupNormalization(ScaledNormalization):
    """Groups of each sample's channels to mean 0 and variance 1, then scaled and shifted (https://arxiv.org/abs/1803.08494).

    Mean and variance are those of the steps inside the mask.

    Args:
        groups: How many; -1: one for each channel.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            **kwargs,
        )
        if not is_integer(groups) or not (groups > 0 or groups == -1):
            raise ValueError(f"`groups` is a positive integer or -1. Received: groups={groups!r}")
        self.groups = groups
        self.axis = int(axis)

    def build(self, input_shape: Any) -> None:
        channels = self._size_of(self.axis, input_shape)
        if self.groups == -1:
            self.groups = channels
        if channels % self.groups:
            raise ValueError(
                f"{describe(self)} divides the channels into {self.groups} equal groups. Received: {channels} channels"
            )
        self._add_scale_and_shift((channels,))

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        # torch's own group norm loses its memory in the gradient of inputs whose channels are not the second axis.
        numbers, axis = widened(inputs), self.axis % inputs.ndim
        grouped = numbers.unflatten(axis, (self.groups, inputs.shape[axis] // self.groups))
        axes = [place for place in range(1, grouped.ndim) if place != axis]
        mask = kept_mask(inputs)
        mask = None if mask is None else of_first_axes(mask, axis)
        centred = grouped - mean_inside(grouped, mask, axes)
        normal = centred * torch.rsqrt(mean_inside(centred.square(), mask, axes) + self.epsilon)
        outputs = normal.flatten(axis, axis + 1)
        shape = [1] * inputs.ndim
        shape[axis] = -1
        if self.scale:
            outputs = outputs * self.gamma.reshape(shape)
        if self.center:
            outputs = outputs + self.beta.reshape(shape)
        return outputs.to(self._compute_torch_dtype)


@register("keras.layers")
class RMSNormalization(Elementwise):
    """Each sample divided by its root mean square over the axes, then scaled (https://arxiv.org/abs/1910.07467)."""

    computes_in_floats = True

    supports_masking = False

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = _checked_axis(axis)
        self.epsilon = float(epsilon)

    def build(self, input_shape: Any) -> None:
        shape = [input_shape[axis] for axis in _in_order(self.axis, len(input_shape))]
        if None in shape:
            raise ValueError(f"{describe(self)} needs to know the sizes of its axes. Received: shape {input_shape}")
        self.scale = self.add_weight(shape, "ones", name="scale")

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        axes = _in_order(self.axis, inputs.ndim)
        numbers = widened(inputs)
        inverse = torch.rsqrt(numbers.square().mean(axes, keepdim=True) + self.epsilon)
        shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(inputs.ndim)]
        return (numbers * inverse * self.scale.reshape(shape)).to(self._compute_torch_dtype)


@register("keras.layers")
class UnitNormalization(Elementwise):
    """Each sample divided by its Euclidean norm over the axes; steps outside the mask add nothing to it."""

    computes_in_floats = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = _checked_axis(axis)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        axes = _in_order(self.axis, inputs.ndim)
        mask, counted = kept_mask(inputs), inputs
        if mask is not None and reaches(mask, axes):
            counted = torch.where(behind(mask.bool(), inputs.ndim), inputs, 0.0)
        return inputs * torch.rsqrt(counted.square().sum(axes, keepdim=True).clamp(min=1e-24))


def _checked_axis(axis: Any) -> Any:
    if is_integer(axis):
        return int(axis)
    if isinstance(axis, (list, tuple)) and axis and all(is_integer(entry) for entry in axis):
        return list(axis)
    raise TypeError(f"`axis` is an integer or a list of them. Received: axis={axis!r}")


def _in_order(axis: Any, ndim: int) -> list[int]:
    axes = [axis] if is_integer(axis) else axis
    if not all(-ndim <= entry < ndim for entry in axes):
        raise ValueError(f"There is no such axis among {ndim}. Received: axis={axis}")
    return sorted(entry % ndim for entry in axes)
