"""The recurrent network as it was first written: `h_t = σ(W x_t + U h_{t-1} + b)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch.kernels.recurrent import Masks
from triarch.layers.recurrent.cell import RecurrentCell
from triarch.layers.recurrent.rnn import CellRNN
from triarch.registry import register


@register("keras.layers")
class SimpleRNNCell(RecurrentCell):
    """One step: inputs `(batch, features)` and the state `(batch, units)` become the output, which is the new state."""

    gates = 1
    kind = "simple"

    _optional_config = ("seed",)  # which Keras does not write

    def step(
        self, projected: torch.Tensor, states: Sequence[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        (h,) = states
        h = self.activation(projected + self.recur(h, masks))
        return h, [h]


@register("keras.layers")
class SimpleRNN(CellRNN):
    """A series `(batch, steps, features)` becomes its last output `(batch, units)`, or all of them.

    Args:
        units: Of the state, and of the output.
        return_sequences: Whether the outputs of all steps are given, `(batch, steps, units)`.
        return_state: Whether the last state is given as well.
        go_backwards: Whether the last step comes first.
        stateful: Whether a batch begins with the states that the batch before it left; `reset_state` forgets them.
        dropout: The probability of dropping an input feature in training, in all steps of a series.
        recurrent_dropout: The same of a number of the state.
    """

    _optional_config = ("seed",)  # which Keras does not write

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
        cell = SimpleRNNCell(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
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
            name="simple_rnn_cell",
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
