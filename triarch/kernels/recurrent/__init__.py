"""Recurrence: cells that go through series, with compiled steps in both directions of time."""

from triarch.kernels.recurrent.cell import Cell, Weights
from triarch.kernels.recurrent.operation import recur
from triarch.kernels.recurrent.vendor import reordered, torch_weights

ACTIVATIONS = ("hard_sigmoid", "linear", "relu", "sigmoid", "tanh")  # that compiled steps have

__all__ = ["ACTIVATIONS", "Cell", "Weights", "recur", "reordered", "torch_weights"]
