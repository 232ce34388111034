"""What lies between `Layer` and the layers: interfaces, never made by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triarch import activations, constraints, initializers, regularizers
from triarch.layers.base import Layer


class Elementwise(Layer):
    """A layer whose output has the shape of its input."""

    supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class KernelLayer(Layer):
    """A layer with a kernel, whose last axis is that of the outputs, and perhaps a bias for each of these."""

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

    def _add_kernel_and_bias(self, kernel_shape: Sequence[int], memory_order: Sequence[int] | None = None) -> None:
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
                kernel_shape[-1:],
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )
