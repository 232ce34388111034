"""Gated recurrent units: one gate resets the state where a candidate is made of it, one mixes the candidate in.

    z_t = σ(W_z x_t + U_z h_{t-1} + b_z)        h̃_t = φ(W_h x_t + r_t (U_h h_{t-1} + b) + b_h)   reset after the product
    r_t = σ(W_r x_t + U_r h_{t-1} + b_r)             φ(W_h x_t + U_h (r_t h_{t-1}) + b_h)        or before it
                                                h_t = z_t h_{t-1} + (1 - z_t) h̃_t

Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import activations
from triarch.kernels.recurrent import Masks
from triarch.layers.recurrent.cell import RecurrentCell
from triarch.layers.recurrent.rnn import CellRNN, of_cell
from triarch.registry import register


@register("keras.layers")
class GRUCell(RecurrentCell):
    """One step: inputs `(batch, features)` and the state `(batch, units)` become the output, which is the new state."""

    gates = 3  # z, r, h̃

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        reset_after: bool = True,
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
        self.reset_after = reset_after

    @property
    def kind(self) -> str | None:  # type: ignore[override]
        """Compiled steps know the reset after the product."""
        return "gru" if self.reset_after else None

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _input_bias(self) -> torch.Tensor | None:
        return self.bias[0] if self.use_bias and self.reset_after else self.bias

    def recur(self, state: torch.Tensor, masks: Masks) -> torch.Tensor:
        """`U h` of all gates side by side, with the bias that `reset_after` has there."""
        recurrent = super().recur(state, masks)
        return recurrent + self.bias[1] if self.use_bias and self.reset_after else recurrent

    def step(
        self, projected: torch.Tensor, states: Sequence[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        (h,) = states
        sigma, phi = self.recurrent_activation, self.activation
        x_z, x_r, x_h = projected.chunk(3, -1)
        if self.reset_after:
            u_z, u_r, u_h = self.recur(h, masks).chunk(3, -1)
            z, r = sigma(x_z + u_z), sigma(x_r + u_r)
            candidate = phi(x_h + r * u_h)
        else:
            h_z, h_r, h_h = [h] * 3 if masks.states is None else h * masks.states
            of_z, of_r, of_h = self.recurrent_kernel.chunk(3, -1)
            z, r = sigma(x_z + h_z @ of_z), sigma(x_r + h_r @ of_r)
            candidate = phi(x_h + (r * h_h) @ of_h)
        h = z * h + (1 - z) * candidate
        return h, [h]


@register("keras.layers")
class GRU(CellRNN):
    """A series `(batch, steps, features)` becomes its last output `(batch, units)`, or all of them.

    Args:
        units: Of the state, and of the output.
        return_sequences: Whether the outputs of all steps are given, `(batch, steps, units)`.
        return_state: Whether the last state is given as well.
        go_backwards: Whether the last step comes first.
        stateful: Whether a batch begins with the states that the batch before it left; `reset_state` forgets them.
        dropout: The probability of dropping an input feature in training, in all steps of a series.
        recurrent_dropout: The same of a number of the state, where it is projected.
        reset_after: Whether the reset gate works after the product with the state, which then has a bias, or before it.
    """

    recurrent_activation = of_cell("recurrent_activation")
    reset_after = of_cell("reset_after")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        cell = GRUCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
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
            reset_after=reset_after,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="gru_cell",
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
