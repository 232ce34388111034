"""Recurrent layers one after the other, forward and backward without a graph: series become their last outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from triarch.kernels.recurrent.cell import Cell, Weights
from triarch.kernels.recurrent.packing import Packing, pack
from triarch.kernels.recurrent.plan import RecurrentKernel, empty_like
from triarch.kernels.recurrent.prepared import Advance, Round

States = tuple[Tensor, ...]
_KEPT = 4  # sizes of batches whose calls are kept


class Direction(NamedTuple):
    """A way through series: of a recurrent layer, or one of two whose outputs lie side by side."""

    cell: Cell
    weights: Weights
    goes_backwards: bool = False


class Recurrences:
    """Recurrent layers without masks; each takes the outputs of the one before it at all steps.

    Args:
        layers: Of each its directions, one or two.
    """

    def __init__(self, layers: Sequence[Sequence[Direction]]) -> None:
        self.layers = [tuple(layer) for layer in layers]
        self.directions = [direction for layer in self.layers for direction in layer]
        self.weights = [weight for direction in self.directions for weight in direction.weights if weight is not None]
        self._gradients = [[empty_like(direction.weights) for direction in layer] for layer in self.layers]
        self.gradients = [
            own for layer in self._gradients for found in layer for own in found if own is not None
        ]  # of the weights
        self._kernels: list[list[RecurrentKernel]] = []
        self._threads = 0
        self._inferences: dict[int, tuple[Packing, list[list[Advance]]]] = {}  # by the packing of series
        self._rounds: dict[int, tuple[Packing, list[list[Round]]]] = {}
        self._begun: tuple[list[list[Round]], list[Tensor]] = [], []  # rounds on their way, and what each layer takes
        self._zeros: dict[int, list[States]] = {}  # by the number of series

    def infer(self, x: Tensor, states: Sequence[States | None]) -> tuple[Tensor, list[States]]:
        """The last outputs `(series, units)` of the last layer, and each direction's states, till the next call.

        Args:
            x: `(series, steps, features)`.
            states: Those that each direction begins with; None for zeros.
        """
        packing = pack(x.shape[0], x.shape[1], None)
        rows, found = x, list[States]()
        for layer in self._inferences_for(packing):
            for way in layer:
                way.run(rows, states[len(found)] or self._zeros_for(x.shape[0])[len(found)])
                found.append(way.last)
            rows = _side_by_side([way.last[0] if way.outputs is None else way.outputs for way in layer])
        return rows, found

    def in_line(self, series: int, length: int) -> tuple[list[Advance], list[States]] | None:
        """The layers' ways forward, each from where the one before it writes; and zeros that each may begin with.

        None where a layer has two directions, or outputs with gaps between them.
        """
        layers = self._inferences_for(pack(series, length, None))
        if any(len(layer) > 1 for layer in layers):
            return None
        found = [way for (way,) in layers]
        if any(way.outputs is not None and not way.outputs.is_contiguous() for way in found):
            return None
        return found, self._zeros_for(series)

    def _inferences_for(self, packing: Packing) -> list[list[Advance]]:
        kernels = self._prepared()
        found = self._inferences.get(id(packing))
        if found is None:
            if len(self._inferences) >= _KEPT:
                self._inferences.clear()
            made = [
                [
                    Advance(kernel, direction.weights, packing, shows=layer is not kernels[-1], learns=False)
                    for kernel, direction in zip(layer, directions, strict=True)
                ]
                for layer, directions in zip(kernels, self.layers, strict=True)
            ]
            found = self._inferences[id(packing)] = packing, made  # which lives, so that no other gets its number
        return found[1]

    def forward(self, x: Tensor, states: Sequence[States | None]) -> tuple[Tensor, list[States]]:
        """The same, ready for the way back."""
        packing, zeros = pack(x.shape[0], x.shape[1], None), self._zeros_for(x.shape[0])
        begun = iter(zero if own is None else own for own, zero in zip(states, zeros, strict=True))
        rows, found = x, list[States]()
        self._begun = self._rounds_for(packing), []
        for number, layer in enumerate(self._begun[0]):
            self._begun[1].append(rows)  # which the way back reads
            parts = [way.run(rows, next(begun)) for way in layer]
            found += [way.last for way in parts]
            is_last = number + 1 == len(self.layers)
            rows = _side_by_side([way.last[0] if is_last or way.outputs is None else way.outputs for way in parts])
        return rows, found

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Write `gradients`, from that of the last outputs of what went forward last; it may be written over."""
        of_outputs, of_last = None, gradient
        rounds, _ = self._begun
        for number in reversed(range(len(rounds))):
            sizes = [way.forward.kernel.units for way in rounds[number]]
            parts = (of_last if of_outputs is None else of_outputs).split(sizes, 1)
            before: Tensor | None = None
            for way, part in reversed(list(zip(rounds[number], parts, strict=True))):
                own = part.contiguous()
                given = (None, own) if of_outputs is None else (own, None)
                found = way.run_back(*given, wants_inputs=number > 0)
                if found is not None:
                    before = found if before is None else before.add_(found)
            of_outputs = before

    def _rounds_for(self, packing: Packing) -> list[list[Round]]:
        kernels = self._prepared()
        found = self._rounds.get(id(packing))
        if found is None:
            if len(self._rounds) >= _KEPT:
                self._rounds.clear()
            made = [
                [
                    Round(kernel, direction.weights, into, packing)
                    for kernel, direction, into in zip(*parts, strict=True)
                ]
                for parts in zip(kernels, self.layers, self._gradients, strict=True)
            ]
            found = self._rounds[id(packing)] = packing, made  # which lives, so that no other gets its number
        return found[1]

    def _prepared(self) -> list[list[RecurrentKernel]]:
        """The kernels of each layer's directions, for as many threads as there are now."""
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._inferences.clear()
            self._rounds.clear()
            self._kernels = [
                [
                    RecurrentKernel(
                        each.cell, len(each.weights.recurrent_kernel), each.weights.kernel.dtype, threads,
                        each.goes_backwards,
                    )
                    for each in layer
                ]
                for layer in self.layers
            ]  # fmt: skip
        return self._kernels

    def _zeros_for(self, series: int) -> list[States]:
        found = self._zeros.get(series)
        if found is None:
            self._zeros.clear()  # batches have one size, the last one of an epoch another
            found = self._zeros[series] = [
                (each.weights.recurrent_kernel.new_zeros(series, len(each.weights.recurrent_kernel)),)
                * (2 if each.cell.kind == "lstm" else 1)
                for each in self.directions
            ]
        return found


def _side_by_side(parts: list[Tensor]) -> Tensor:
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, 1)
