"""Long short-term memory of images: gates whose products with weights are convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from triarch import activations
from triarch.config import standardize_data_format
from triarch.kernels import Window, convolve, kernel_memory_order
from triarch.kernels.recurrent import Masks
from triarch.kernels.windows import axis_names, split_shape
from triarch.layers.arguments import (
    describe,
    named_in_errors,
    refuse_strides_with_dilation,
    require_axes,
    standardize_padding,
    standardize_tuple,
)
from triarch.layers.recurrent.cell import RecurrentCell
from triarch.layers.recurrent.lstm import initial_bias, remember
from triarch.layers.recurrent.rnn import CellRNN, of_cell
from triarch.random import dropout
from triarch.registry import register


class ConvLSTMCell(RecurrentCell):
    """One step: an image and states h and C, which are images of `filters` channels, become h and the new states."""

    gates = 4  # i, f, C̃, o

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        recurrent_activation: Any,
        unit_forget_bias: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, **kwargs)
        self.rank = rank
        self.filters = self.units
        self.kernel_size = standardize_tuple(kernel_size, rank, "kernel_size")
        self.strides = standardize_tuple(strides, rank, "strides")
        self.dilation_rate = standardize_tuple(dilation_rate, rank, "dilation_rate")
        self.padding = standardize_padding(padding, ("valid", "same"))
        self.data_format = standardize_data_format(data_format)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        refuse_strides_with_dilation(self.strides, self.dilation_rate)
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.data_format)
        unit = (1,) * rank
        self._recurrent_window = Window(self.kernel_size, unit, unit, "same", self.data_format)

    @property
    def state_size(self) -> list[int]:
        """The channels of h and of C."""
        return [self.filters, self.filters]

    def state_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The shape of a state for images of this shape."""
        with named_in_errors(self):
            return self._window.output_shape(input_shape, self.filters)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self._window = self._window._replace(channels=input_shape[self.axis])

    features = "channels"

    @property
    def axis(self) -> int:  # type: ignore[override]
        """That of the channels."""
        return -1 if self.data_format == "channels_last" else 1

    def _kernel_shape(self, features: int) -> tuple[int, ...]:
        return (*self.kernel_size, features, self.gates * self.filters)

    def _memory_order(self) -> Sequence[int]:
        return kernel_memory_order(self.rank, self.data_format)

    def _initial_bias(self, shape: Sequence[int], dtype: Any = None) -> torch.Tensor:
        return initial_bias(self, shape, dtype)

    def draw_masks(self, inputs: torch.Tensor, training: bool) -> Masks:
        """Dropout's masks, for a step or a series."""
        if not training:
            return Masks()
        shape = (inputs.shape[0], *inputs.shape[-self.rank - 1 :])
        gates = 4 if self.recurrent_dropout else 1

        def drawn(rate: float, shape: Sequence[Any]) -> torch.Tensor | None:
            return dropout(inputs.new_ones(gates, *shape), rate, seed=self.seed_generator) if rate else None

        return Masks(drawn(self.dropout, shape), drawn(self.recurrent_dropout, self.state_shape(shape)))

    def project(self, inputs: torch.Tensor, masks: Masks) -> torch.Tensor:
        """`W * x + b` of all gates, for a step or a series, whose steps are convolved as one batch."""
        if inputs.ndim == self.rank + 2:
            return self._convolved(inputs, self.kernel, self.bias, self._window, masks.inputs)
        drops = masks.inputs
        if drops is not None:  # the same at all steps
            drops = drops.unsqueeze(2).expand(*drops.shape[:2], inputs.shape[1], *drops.shape[2:]).flatten(1, 2)
        projected = self._convolved(inputs.flatten(0, 1), self.kernel, self.bias, self._window, drops)
        return projected.unflatten(0, inputs.shape[:2])

    def recur(self, state: torch.Tensor, masks: Masks) -> torch.Tensor:
        """`U * h` of all gates."""
        return self._convolved(state, self.recurrent_kernel, None, self._recurrent_window, masks.states)

    def _convolved(
        self, inputs: torch.Tensor, kernel: Any, bias: Any, window: Window, drops: torch.Tensor | None
    ) -> torch.Tensor:
        def convolved(inputs: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            with named_in_errors(self):
                return convolve(inputs, kernel, bias, window, 1, activations.linear)

        if drops is None:
            return convolved(inputs, kernel, bias)
        if len(drops) == 1:
            return convolved(inputs * drops[0], kernel, bias)
        biases = [None] * 4 if bias is None else bias.chunk(4)
        parts = zip(inputs * drops, kernel.chunk(4, -1), biases, strict=True)
        return torch.cat([convolved(own, part, shift) for own, part, shift in parts], self.axis)

    def step(
        self, projected: torch.Tensor, states: Sequence[torch.Tensor], masks: Masks
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        h, c = states
        gates = (projected + self.recur(h, masks)).chunk(4, self.axis)
        h, c = remember(gates, c, self.recurrent_activation, self.activation)
        return h, [h, c]


class _ConvLSTM(CellRNN):
    """What the layers of all ranks share.

    Args:
        filters: Channels of the states and of the outputs.
        kernel_size: Of the convolutions of the inputs and of the states; strides, padding and dilation are the inputs'.
        return_sequences: Whether the outputs of all steps are given.
        return_state: Whether the last states, h and C, are given as well.
        go_backwards: Whether the last step comes first.
        stateful: Whether a batch begins with the states that the batch before it left; `reset_state` forgets them.
        dropout: The probability of dropping a number of the inputs in training, in all steps of a series.
        recurrent_dropout: The same of a number of the state h, where it is convolved.
    """

    rank: ClassVar[int]
    cell: ConvLSTMCell

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        cell = ConvLSTMCell(
            self.rank,
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            recurrent_activation,
            unit_forget_bias,
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
            name="conv_lstm_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )

    filters = of_cell("filters")
    kernel_size = of_cell("kernel_size")
    strides = of_cell("strides")
    padding = of_cell("padding")
    data_format = of_cell("data_format")
    dilation_rate = of_cell("dilation_rate")
    recurrent_activation = of_cell("recurrent_activation")
    unit_forget_bias = of_cell("unit_forget_bias")

    def _check_shape(self, shape: Any) -> None:
        batch, *others = axis_names(self.rank, self.data_format)
        require_axes(self, shape, (batch, "steps", *others))
        _, channels = split_shape((shape[0], *shape[2:]), self.rank, self.data_format)
        if self.cell.built and channels != self.cell.kernel.shape[-2]:
            raise ValueError(
                f"{describe(self)} expects {self.cell.kernel.shape[-2]} channels. Received: shape {tuple(shape)}"
            )

    def _zeros_for(self, shape: Sequence[int]) -> list[torch.Tensor]:
        size: Any = self.cell.state_shape((shape[0], *shape[2:]))
        return [torch.zeros(size, dtype=self._compute_torch_dtype, device=self.device) for _ in range(2)]

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shape of the output, and those of the states where these are given."""
        self._check_shape(sequences_shape)
        batch, length, *rest = sequences_shape
        state = self.cell.state_shape((batch, *rest))
        shape = (batch, length, *state[1:]) if self.return_sequences else state
        return (shape, state, state) if self.return_state else shape


@register("keras.layers")
class ConvLSTM1D(_ConvLSTM):
    """Goes through series of rows `(batch, steps, length, channels)`."""

    rank = 1


@register("keras.layers")
class ConvLSTM2D(_ConvLSTM):
    """Goes through series of images `(batch, steps, height, width, channels)`."""

    rank = 2


@register("keras.layers")
class ConvLSTM3D(_ConvLSTM):
    """Goes through series of volumes `(batch, steps, depth, height, width, channels)`."""

    rank = 3
