"""Recurrence by torch's own operations: cuDNN's on CUDA, oneDNN's or plain loops on a CPU.

They know the usual activations only. Their gates have an order of their own, and each product has a bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.recurrent.cell import Cell, Weights
from triarch.kernels.recurrent.packing import Packing

_OPERATIONS: dict[tuple[str, str], Any] = {
    ("simple", "tanh"): torch._VF.rnn_tanh,
    ("simple", "relu"): torch._VF.rnn_relu,
    ("lstm", "tanh"): torch._VF.lstm,
    ("gru", "tanh"): torch._VF.gru,
}
# Keras's gates in torch's order: z, r, h̃ and r, z, n; LSTMs have the same.
_ORDER = {"simple": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}


def refuse(cell: Cell) -> str | None:
    """Why torch has no operation for a cell; None where it has."""
    if cell.has_masks:
        return "there is none with a mask for each gate"
    if (cell.kind, cell.activation) not in _OPERATIONS:
        return f"there is none with the activation {cell.activation!r}"
    if cell.kind != "simple" and cell.recurrent_activation != "sigmoid":
        return f"there is none with the recurrent activation {cell.recurrent_activation!r}"
    return None


def reordered(kind: str, tensor: Tensor) -> Tensor:
    """The last axis, gates side by side: from Keras's order to torch's, or back."""
    order = _ORDER[kind]
    return tensor if order == tuple(range(len(order))) else torch.cat([tensor.chunk(3, -1)[gate] for gate in order], -1)


def torch_weights(cell: Cell, weights: Weights) -> list[Tensor]:
    """`weight_ih`, `weight_hh` and, with a bias, `bias_ih` and `bias_hh`, as `torch.nn` has them."""
    flat = [reordered(cell.kind, own).mT for own in weights[:2]]
    if weights.bias is None:
        return flat
    biases = weights.bias if weights.bias.ndim == 2 else torch.stack([weights.bias, torch.zeros_like(weights.bias)])
    return [*flat, *reordered(cell.kind, biases)]


def recur(
    cell: Cell,
    inputs: Tensor,
    weights: Weights,
    first: tuple[Tensor, ...],
    packing: Packing,
    goes_backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The outputs `(steps, units)` and the last states `(series, units)`, from inputs `(steps, features)`."""
    operation = _OPERATIONS[cell.kind, cell.activation]
    flat = [weight.contiguous() for weight in torch_weights(cell, weights)]
    settings = (len(flat) == 4, 1, 0.0, torch.is_grad_enabled(), False)  # biases, layers, dropout, training, directions
    rows, batch_sizes, series = _in_order_of_steps(packing, goes_backwards)
    if not len(rows):
        return inputs.new_empty(0, first[0].shape[1]), first
    device = inputs.device
    rows, series = rows.to(device), series.to(device)
    begun: Any = tuple(state[series].unsqueeze(0) for state in first)
    found, *last = operation(inputs[rows], batch_sizes, begun if len(first) == 2 else begun[0], flat, *settings)
    outputs = torch.empty_like(found).index_copy(0, rows, found)
    return outputs, tuple(state.index_copy(0, series, own[0]) for state, own in zip(first, last, strict=True))


def _in_order_of_steps(packing: Packing, goes_backwards: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All first steps, all second ones and so on: where they lie, how many there are of each, and of which series."""
    series = packing.order[packing.lengths[packing.order] > 0]
    lengths, offsets = packing.lengths[series], packing.offsets[series]
    steps = np.arange(lengths.max(initial=0))[:, None]
    goes_on = steps < lengths
    places = (offsets + lengths - 1 - steps if goes_backwards else offsets + steps)[goes_on]
    return torch.from_numpy(places), torch.from_numpy(goes_on.sum(1)), torch.from_numpy(series.copy())
