"""Long short-term memory: gates decide what a cell forgets, takes in and shows.

    f_t = σ(W_f x_t + U_f h_{t-1} + b_f)        C̃_t = φ(W_C x_t + U_C h_{t-1} + b_C)
    i_t = σ(W_i x_t + U_i h_{t-1} + b_i)        C_t = f_t C_{t-1} + i_t C̃_t
    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)        h_t = o_t φ(C_t)

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997), with the forget gate of Gers et al. (2000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from triarch import activations
from triarch.kernels.recurrent import Masks
from triarch.layers.recurrent.cell import RecurrentCell
from triarch.layers.recurrent.rnn import CellRNN, of_cell
from triarch.registry import register

Activation = Callable[[torch.Tensor], torch.Tensor]


def remember(
    gates: Sequence[torch.Tensor], c: torch.Tensor, sigma: Activation, phi: Activation
) -> tuple[torch.Tensor, torch.Tensor]:
    """h and C from the gates before their activations and the C before it."""
    i, f, candidate, o = gates
    c = sigma(f) * c + sigma(i) * phi(candidate)
    return sigma(o) * phi(c), c


def initial_bias(cell: Any, shape: Sequence[int], dtype: Any) -> torch.Tensor:
    """Of the gates i, f, C̃ and o: where the cell says so, that of f begins at 1."""
    if not cell.unit_forget_bias:
        return cell.bias_initializer(shape, dtype=dtype)
    first = cell.bias_initializer((cell.units,), dtype=dtype)
    return torch.cat([first, torch.ones_like(first), cell.bias_initializer((2 * cell.units,), dtype=dtype)])


@register("keras.layers")
class LSTMCell(RecurrentCell):
    """One step: inputs `(batch, features)`, and states h and C, `(batch, units)` each, become h and the new states."""

    gates = 4  # i, f, C̃, o
    kind = "lstm"

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
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
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            seed,
            **kwargs,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    @property
    def state_size(self) -> list[int]:
        """Of h and of C."""
        return [self.units, self.units]

    def _initial_bias(self, shape: Sequence[int], dtype: Any = None) -> torch.Tensor:
        return initial_bias(self, shape, dtype)

    def step(
        self, projected: torch.Tensor, states: Sequence[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        h, c = states
        gates = (projected + self.recur(h, masks)).chunk(4, -1)
        h, c = remember(gates, c, self.recurrent_activation, self.activation)
        return h, [h, c]


@register("keras.layers")
class LSTM(CellRNN):
    """A series `(batch, steps, features)` becomes its last output `(batch, units)`, or all of them.

    Args:
        units: Of the state, and of the output.
        return_sequences: Whether the outputs of all steps are given, `(batch, steps, units)`.
        return_state: Whether the last state is given as well.
        go_backwards: Whether the last step comes first.
        stateful: Whether a batch begins with the states that the batch before it left; `reset_state` forgets them.
        dropout: The probability of dropping an input feature in training, in all steps of a series.
        recurrent_dropout: The same of a number of the state h, where it is projected.
        unit_forget_bias: Whether the bias of the forget gate begins at 1: at first nothing is forgotten.
    """

    recurrent_activation = of_cell("recurrent_activation")
    unit_forget_bias = of_cell("unit_forget_bias")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        cell = LSTMCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="lstm_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
