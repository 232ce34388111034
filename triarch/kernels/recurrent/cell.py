"""What is computed at each step, and with which weights."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Cell(NamedTuple):
    """What is computed at each step.

    Args:
        kind: `"simple"`, `"lstm"`, or `"gru"` with the reset after the product.
        activation: One of `triarch.kernels.recurrent.ACTIVATIONS`; so is the other.
        recurrent_activation: Of the gates.
        has_masks: Whether each gate has a mask of its own that inputs or states are multiplied with.
    """

    kind: str
    activation: str
    recurrent_activation: str = "sigmoid"
    has_masks: bool = False


class Weights(NamedTuple):
    """Of a cell, as the layer has them: gates side by side in Keras's order.

    Args:
        kernel: `(features, gates * units)`.
        recurrent_kernel: `(units, gates * units)`.
        bias: `(gates * units,)`; of a GRU `(2, 3 * units)`.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None


class Masks(NamedTuple):
    """What inputs and states are multiplied with at every step, `(gates or 1, batch, features)`; None for 1."""

    inputs: Tensor | None = None
    states: Tensor | None = None


NO_MASKS = Masks()
