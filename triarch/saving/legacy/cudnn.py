"""Weights of `CuDNNLSTM` and `CuDNNGRU` as those of `LSTM` and `GRU`.

cuDNN keeps each gate's matrices transposed, and a bias for the input and one for the state, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

Shape = tuple[int, ...]

_PARTS = ("kernel", "recurrent_kernel", "bias")


def shapes_after_conversion(weights: Sequence[torch.Tensor], shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes that `converted` gives for arrays of these shapes."""
    made = [tuple(shape) for shape in shapes]
    for place in _places(weights, made):
        made[place + 2] = tuple(weights[place + 2].shape)
    return made


def converted(weights: Sequence[torch.Tensor], values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The values for weights, with cuDNN's in the place of which they are wanted turned into what these are."""
    made = list(values)
    for place in _places(weights, [value.shape for value in values]):
        kernel, recurrent, bias = made[place : place + 3]
        gates = kernel.shape[1] // recurrent.shape[0]
        wanted = tuple(weights[place + 2].shape)
        made[place] = _each_gate(kernel, gates, lambda part: part.T.reshape(part.shape, order="F"))
        made[place + 1] = _each_gate(recurrent, gates, np.transpose)
        made[place + 2] = bias.reshape(wanted) if len(wanted) == 2 else bias.reshape(2, -1).sum(0)
    return made


def _places(weights: Sequence[torch.Tensor], shapes: Sequence[Shape]) -> Iterator[int]:
    """Where the weights of a recurrent cell begin, for which the file has cuDNN's: their bias has two parts."""
    names = [getattr(weight, "name", None) for weight in weights]
    for place in range(len(weights) - 2):
        if tuple(names[place : place + 3]) != _PARTS or len(shapes[place + 2]) != 1:
            continue
        bias = weights[place + 2]
        is_summed = bias.ndim == 1 and shapes[place + 2][0] == 2 * len(bias)
        if is_summed or (bias.ndim == 2 and shapes[place + 2][0] == bias.numel()):
            yield place


def _each_gate(matrix: np.ndarray, gates: int, change: Any) -> np.ndarray:
    return np.hstack([change(part) for part in np.hsplit(matrix, gates)])
