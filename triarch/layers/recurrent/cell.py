"""What cells of dense gates share: their weights, and dropout that stays the same for all steps of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from triarch import activations, constraints, initializers, regularizers
from triarch.kernels.recurrent import ACTIVATIONS, Cell, Masks
from triarch.layers.arguments import describe, is_integer
from triarch.layers.base import Layer
from triarch.random import SeedGenerator, dropout

_NAMES: dict[Any, str] = {getattr(activations, name): name for name in ACTIVATIONS}


class RecurrentCell(Layer):
    """One step of a recurrent layer: gates whose inputs are projected by `W`, states by `U`.

    Args:
        units: Of the state, and of the output.
        dropout: The probability of dropping an input feature in training, in all steps of a series.
        recurrent_dropout: The same of a number of the state, where it is projected; not 0, each gate drops its own.
    """

    gates: ClassVar[int]
    kind: ClassVar[str | None] = None  # what `kernels.recurrent` calls it

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not is_integer(units) or units <= 0:
            raise ValueError(f"`units` is a positive integer. Received: units={units!r}")
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.bias: Any = None

    @property
    def state_size(self) -> Any:
        """The sizes of the states: a number, or a list of them."""
        return self.units

    @property
    def output_size(self) -> int:
        """Of the output."""
        return self.units

    def build(self, input_shape: Any) -> None:
        if input_shape[self.axis] is None:
            raise ValueError(
                f"{describe(self)} needs a number of {self.features} that is known. "
                f"Received: shape {tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            self._kernel_shape(input_shape[self.axis]),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            name="kernel",
            memory_order=self._memory_order(),
        )
        self.recurrent_kernel = self.add_weight(
            self._kernel_shape(self.units),
            self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
            name="recurrent_kernel",
            memory_order=self._memory_order(),
        )
        if self.use_bias:
            self.bias = self.add_weight(
                self._bias_shape(),
                self._initial_bias,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                name="bias",
            )

    axis = -1  # of the features
    features: ClassVar[str] = "features"  # what they are called

    def _kernel_shape(self, features: int) -> tuple[int, ...]:
        return features, self.gates * self.units

    def _memory_order(self) -> Sequence[int] | None:
        return None

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _initial_bias(self, shape: Sequence[int], dtype: Any = None) -> torch.Tensor:
        return self.bias_initializer(shape, dtype=dtype)

    def get_initial_state(self, batch_size: int) -> list[torch.Tensor]:
        """States of zeros, each `(batch_size, units)`."""
        return as_list(zero_states(self.state_size, batch_size, self._compute_torch_dtype, self.device))

    def draw_masks(self, inputs: torch.Tensor, training: bool) -> Masks:
        """Dropout's masks for a series or a step, whose first axis is the batch's and last one the features'."""
        if not training:
            return Masks()
        gates = self.gates if self.recurrent_dropout else 1

        def drawn(rate: float, size: int) -> torch.Tensor | None:
            ones = inputs.new_ones(gates, inputs.shape[0], size)
            return dropout(ones, rate, seed=self.seed_generator) if rate else None

        return Masks(drawn(self.dropout, inputs.shape[-1]), drawn(self.recurrent_dropout, self.units))

    def project(self, inputs: torch.Tensor, masks: Masks) -> torch.Tensor:
        """`W x + b` of all gates side by side, of a step `(batch, features)` or of a series with an axis of steps."""
        bias = self._input_bias()
        if masks.inputs is None:
            return F.linear(inputs, self.kernel.mT, bias)
        each = masks.inputs if inputs.ndim == 2 else masks.inputs.unsqueeze(2)  # the same at all steps
        projected = _by_gates(inputs * each, self.kernel, self.gates)
        return projected if bias is None else projected + bias

    def _input_bias(self) -> torch.Tensor | None:
        return self.bias

    def recur(self, state: torch.Tensor, masks: Masks) -> torch.Tensor:
        """`U h` of all gates side by side."""
        if masks.states is None:
            return state @ self.recurrent_kernel
        return _by_gates(state * masks.states, self.recurrent_kernel, self.gates)

    def step(
        self, projected: torch.Tensor, states: Sequence[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The output and the new states, from the projected inputs of a step and the states before it."""
        raise NotImplementedError

    @property
    def compiled(self) -> Cell | None:
        """The cell as compiled steps know it; None where they do not."""
        names = [_NAMES.get(getattr(self, name, None)) for name in ("activation", "recurrent_activation")]
        if self.kind is None or names[0] is None:
            return None
        if not hasattr(self, "recurrent_activation"):
            return Cell(self.kind, names[0])
        return None if names[1] is None else Cell(self.kind, names[0], names[1])

    def call(  # type: ignore[override] # with states, as all cells
        self, inputs: torch.Tensor, states: Any, training: bool = False
    ) -> tuple[torch.Tensor, Any]:
        is_list = isinstance(states, (list, tuple))
        masks = self.draw_masks(inputs, training)
        output, new_states = self.step(self.project(inputs, masks), states if is_list else [states], masks)
        return output, new_states if is_list else new_states[0]

    def compute_output_shape(self, input_shape: Any, states_shape: Any = None) -> Any:
        """The shapes of the output and of the states."""
        shape = (input_shape[0], self.units)
        return shape, [shape] * len(self.state_size) if isinstance(self.state_size, list) else shape


def _by_gates(masked: torch.Tensor, kernel: torch.Tensor, gates: int) -> torch.Tensor:
    """Inputs `(gates or 1, ..., features)`, each gate's own, times each gate's part of a kernel, side by side."""
    if len(masked) == 1:
        return masked[0] @ kernel
    return torch.cat([own @ part for own, part in zip(masked, kernel.chunk(gates, -1), strict=True)], -1)


def as_list(states: Any) -> list[Any]:
    """States as a list, a single one too."""
    return list(states) if isinstance(states, (list, tuple)) else [states]


def zero_states(sizes: Any, batch_size: int, dtype: torch.dtype, device: torch.device) -> Any:
    """A state of zeros `(batch_size, size)` for a size, a list of them for a list of sizes."""
    if isinstance(sizes, (list, tuple)):
        return [zero_states(size, batch_size, dtype, device) for size in sizes]
    return torch.zeros(batch_size, sizes, dtype=dtype, device=device)


def call_cell(cell: Any, inputs: torch.Tensor, states: Any, training: bool) -> tuple[torch.Tensor, list[Any]]:
    """Any cell's output and its new states, as a list."""
    takes_training = "training" in getattr(cell, "_call_parameters", ())
    output, new_states = cell(inputs, states, training=training) if takes_training else cell(inputs, states)
    return output, as_list(new_states)
