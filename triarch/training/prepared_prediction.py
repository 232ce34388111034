"""A prediction like the one before, of a batch of the same shape, in as few steps of Python as can be.

A kernel that reads a layer's weights leaves nothing else in the caches: what Python does then costs several times what
it costs in a loop of its own. So all that stays the same is written down once: addresses, checks, and room for results.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.perceptron import Perceptron
from triarch.kernels.recurrent import Advance
from triarch.watching import is_watched

_BYTES_OF_ROOM = 1 << 16  # what is made at once for the results of many calls


class Way(NamedTuple):
    """A recurrent layer as what keeps states, without the detours of a module's attributes."""

    attributes: dict[str, Any]
    units: int

    def has_states_for(self, rows: int, dtype: torch.dtype) -> bool:
        """Whether the states, if it keeps any, are those of so many series, lying as kernels read them."""
        if self.attributes["stateful"]:
            for state in self.attributes["states"] or (None,):
                if type(state) is not Tensor or state.shape != (rows, self.units) or not lies_plainly(state, dtype):
                    return False
        return True


def lies_plainly(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether kernels for this type can read it where it lies."""
    return tensor.dtype is dtype and tensor.is_contiguous() and tensor.is_cpu


class _States(NamedTuple):
    """Of a way, with their addresses: first those of H."""

    tensors: Sequence[Tensor]
    addresses: tuple[int, ...]


def _states(tensors: Sequence[Tensor]) -> _States:
    return _States(tensors, tuple(tensor.data_ptr() for tensor in tensors))


class _Line:
    """A recurrent layer of one direction, and the states that it goes on from."""

    def __init__(self, way: Way, inference: Advance, zeros: Sequence[Tensor]) -> None:
        self.inference, self.is_stateful, self._way = inference, way.attributes["stateful"], way
        self._first = _states(zeros)
        self.last = _states(inference.last)

    def advance(self, inputs: int, last: _States) -> int:
        """Where the outputs lie, or last states; 0 where the layer's states are none for these series."""
        first = self._first
        if self.is_stateful:
            own = self._way.attributes["states"]
            if len(own) != len(first.tensors) or not all(map(operator.is_, own, first.tensors)):
                if not self._way.has_states_for(len(first.tensors[0]), first.tensors[0].dtype):
                    return 0
                first = _states(own)
        self.inference.run_at(inputs, first.addresses, last.addresses)
        return self.inference.outputs_at or last.addresses[0]

    def keep(self, last: _States) -> None:
        """Let a stateful layer go on from here."""
        if self.is_stateful:
            self._way.attributes["states"], self._first = list(last.tensors), last


class _Room(NamedTuple):
    """For the results of one call: the outputs and their address, and the last states of each line."""

    outputs: np.ndarray[Any, Any]
    outputs_at: int
    states: tuple[_States, ...]


class PreparedPrediction:
    """The prediction of batches of one shape, as long as the layers and their weights are what and where they were.

    Args:
        x: A batch for which all is in place.
        ways: The recurrent layers, each of one direction.
        inferences: Of these layers, for as many series of this length.
        zeros: The states that those without states of their own begin with.
        perceptron: The dense layers.
        weights: Of all layers.
        listeners: Hooks of the layers.
    """

    def __init__(
        self,
        x: Tensor,
        ways: Sequence[Way],
        inferences: Sequence[Advance],
        zeros: Sequence[Sequence[Tensor]],
        perceptron: Perceptron,
        weights: Sequence[Tensor],
        listeners: Sequence[dict[int, Any]],
    ) -> None:
        self._shape, self._dtype, self._threads = x.shape, x.dtype, torch.get_num_threads()
        self._lines = [_Line(*parts) for parts in zip(ways, inferences, zeros, strict=True)]
        self._perceptron, self._weights, self._listeners = perceptron, weights, listeners
        self._placed = [weight.data_ptr() for weight in weights]
        self._rooms: list[_Room] = []

    def predict(self, x: Any) -> np.ndarray[Any, Any] | None:
        """The outputs; None where anything is not as it was, and where a number is not finite."""
        if (
            type(x) is not Tensor
            or x.shape != self._shape
            or not lies_plainly(x, self._dtype)
            or any(self._listeners)
            or is_watched()
            or [weight.data_ptr() for weight in self._weights] != self._placed
            or torch.get_num_threads() != self._threads
        ):
            return None
        if not self._rooms:
            self._rooms.extend(self._new_rooms())
        outputs, outputs_at, states = self._rooms.pop()
        place = x.data_ptr()
        for line, last in zip(self._lines, states, strict=True):
            place = line.advance(place, last)
            if not place:
                return None
        if not self._perceptron.predict_at(len(x), place, outputs_at):
            return None
        for line, last in zip(self._lines, states, strict=True):
            line.keep(last)
        return outputs

    def _new_rooms(self) -> Iterator[_Room]:
        """Room for the next calls, of which each result is a part that is never written again."""
        rows, units = self._shape[0], self._perceptron.units
        dtype = torch.empty(0, dtype=self._dtype).numpy().dtype
        kept = [tensor.shape for line in self._lines if line.is_stateful for tensor in line.last.tensors]
        size = self._dtype.itemsize * rows * (units + sum(columns for _, columns in kept))
        count = max(_BYTES_OF_ROOM // size, 1)
        outputs = np.empty((count, rows, units), dtype)
        states = [torch.empty(count, *shape, dtype=self._dtype).unbind() for shape in kept]
        for number, own in enumerate(outputs):
            fresh = iter([made[number] for made in states])
            parts = (
                _states([next(fresh) for _ in line.last.tensors]) if line.is_stateful else line.last
                for line in self._lines
            )
            yield _Room(own, own.ctypes.data, tuple(parts))
