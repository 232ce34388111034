"""Recurrence: cells that go through series, with compiled steps in both directions of time."""

from triarch.kernels.recurrent.cell import Cell, Masks, Weights
from triarch.kernels.recurrent.operation import recur
from triarch.kernels.recurrent.prepared import Advance
from triarch.kernels.recurrent.series import Direction, Recurrences
from triarch.kernels.recurrent.vendor import reordered, torch_weights

ACTIVATIONS = (  # that compiled steps have
    *("elu", "hard_sigmoid", "hard_tanh", "leaky_relu", "linear", "relu", "relu6", "selu", "sigmoid", "softsign"),
    "tanh",
)

__all__ = [
    "ACTIVATIONS",
    "Advance",
    "Cell",
    "Direction",
    "Masks",
    "Recurrences",
    "Weights",
    "recur",
    "reordered",
    "torch_weights",
]
