"""Recurrent layers one after the other, forward and backward without a graph: series become their last outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from triarch.kernels.recurrent.cell import Cell, Weights
from triarch.kernels.recurrent.packing import Packing, pack
from triarch.kernels.recurrent.plan import Inference, RecurrentKernel, Tape, empty_like

States = tuple[Tensor, ...]
_KEPT = 4  # sizes of batches whose calls are kept


class Direction(NamedTuple):
    """A way through series: of a recurrent layer, or one of two whose outputs lie side by side."""

    cell: Cell
    weights: Weights
    goes_backwards: bool = False


class _Stage(NamedTuple):
    """What a layer leaves for the way back."""

    inputs: Tensor
    tapes: list[Tape]


class Passage(NamedTuple):
    """What series leave for the way back."""

    packing: Packing
    stages: list[_Stage]


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
        self._inferences: dict[int, tuple[Packing, list[list[Inference]]]] = {}  # by the packing of series
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

    def in_line(self, series: int, length: int) -> tuple[list[Inference], list[States]] | None:
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

    def _inferences_for(self, packing: Packing) -> list[list[Inference]]:
        kernels = self._prepared()
        found = self._inferences.get(id(packing))
        if found is None:
            if len(self._inferences) >= _KEPT:
                self._inferences.clear()
            made = [
                [
                    Inference(kernel, direction.weights, packing, shows=layer is not kernels[-1])
                    for kernel, direction in zip(layer, directions, strict=True)
                ]
                for layer, directions in zip(kernels, self.layers, strict=True)
            ]
            found = self._inferences[id(packing)] = packing, made  # which lives, so that no other gets its number
        return found[1]

    def forward(self, x: Tensor, states: Sequence[States | None]) -> tuple[Tensor, Passage, list[States]]:
        """The same, with what the way back needs."""
        packing, zeros = pack(x.shape[0], x.shape[1], None), self._zeros_for(x.shape[0])
        begun = iter(zero if own is None else own for own, zero in zip(states, zeros, strict=True))
        rows, passage, found = x.view(-1, x.shape[2]), Passage(packing, []), []
        for number, kernels in enumerate(self._prepared()):
            outputs: list[Tensor] = []
            stage = _Stage(rows, [])
            for kernel, direction in zip(kernels, self.layers[number], strict=True):
                tape, shown, last = kernel.forward(rows, direction.weights, next(begun), packing, True, True)
                assert tape is not None
                assert shown is not None
                found.append(last)
                stage.tapes.append(tape)
                outputs.append(shown[:, : kernel.units] if number + 1 < len(self.layers) else last[0])
            passage.stages.append(stage)
            rows = _side_by_side(outputs)
        return rows, passage, found

    @torch.no_grad()
    def backward(self, passage: Passage, gradient: Tensor) -> None:
        """Write `gradients`, from that of the last outputs."""
        of_outputs, of_last = None, gradient
        for number in reversed(range(len(self.layers))):
            rows, tapes = passage.stages[number]
            kernels = self._kernels[number]
            sizes = [kernel.units for kernel in kernels]
            parts: Sequence[Tensor | None]
            if of_outputs is None:
                parts, lasts = [None] * len(sizes), list(of_last.split(sizes, 1))
            else:
                parts, lasts = of_outputs.split(sizes, 1), [None] * len(sizes)
            before: Tensor | None = None
            for each in reversed(range(len(kernels))):
                own, _, _ = kernels[each].backward(
                    rows,
                    self.layers[number][each].weights,
                    tapes[each],
                    passage.packing,
                    parts[each],
                    (lasts[each], None)[: len(tapes[each].first)],
                    wants_inputs=number > 0,
                    wants_weights=True,
                    wants_states=False,
                    into=self._gradients[number][each],
                )
                if own is not None:
                    before = own if before is None else before.add_(own)
            of_outputs = before

    def _prepared(self) -> list[list[RecurrentKernel]]:
        """The kernels of each layer's directions, for as many threads as there are now."""
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._inferences.clear()
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
