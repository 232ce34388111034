"""What lies between `Layer` and the layers: interfaces, never made by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import activations, constraints, initializers, regularizers
from triarch.layers.base import Layer


class Elementwise(Layer):
    """A layer whose output has the shape of its input."""

    supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class KernelLayer(Layer):
    """A layer with a kernel, one axis of which is that of the outputs, and perhaps a bias for each of these."""

    def __init__(
        self,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        activity_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.bias: Any = None

    def _add_kernel_and_bias(
        self, kernel_shape: Sequence[int], memory_order: Sequence[int] | None = None, output_axis: int = -1
    ) -> None:
        self.kernel = self.add_weight(
            kernel_shape,
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
            memory_order=memory_order,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (kernel_shape[output_axis],),
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )


class ScaledNormalization(Elementwise):
    """A normalisation with a learnt scale and shift."""

    computes_in_floats = True

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma: Any = None
        self.beta: Any = None

    def _add_scale_and_shift(self, shape: Sequence[int]) -> None:
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                autocast=False,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                autocast=False,
                name="beta",
            )

    def _size_of(self, axis: int, input_shape: Sequence[int | None]) -> int:
        if not -len(input_shape) <= axis < len(input_shape) or input_shape[axis] is None:
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) needs to know the size of axis {axis}. "
                f"Received: shape {tuple(input_shape)}"
            )
        return input_shape[axis]  # type: ignore[return-value]


def widened(inputs: torch.Tensor) -> torch.Tensor:
    """Half precision overflows in sums of squares."""
    return inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs
