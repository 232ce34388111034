"""Cells on top of each other, as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch.kernels.recurrent import Masks
from triarch.layers.base import Layer
from triarch.layers.recurrent.cell import RecurrentCell, as_list, call_cell, zero_states
from triarch.registry import register


@register("keras.layers")
class StackedRNNCells(Layer):
    """Cells each of which takes the output of the one before it; their states are a list with an entry for each."""

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            if not callable(getattr(cell, "call", None)) or getattr(cell, "state_size", None) is None:
                raise ValueError(
                    f"Each of `cells` has a method `call(inputs, states)` and a `state_size`. Received: {cell!r}"
                )
        self.cells = list(cells)

    casts_inputs = True

    @property
    def state_size(self) -> list[Any]:
        """Of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        """Of the last cell."""
        return _output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
            input_shape = (input_shape[0], _output_size(cell))

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """States of zeros for each cell."""
        return [self._initial_state(cell, batch_size) for cell in self.cells]

    def _initial_state(self, cell: Any, batch_size: int) -> Any:
        if hasattr(cell, "get_initial_state"):
            return cell.get_initial_state(batch_size=batch_size)
        return zero_states(cell.state_size, batch_size, self._compute_torch_dtype, self.device)

    def call(  # type: ignore[override] # with states, as all cells
        self, inputs: torch.Tensor, states: Any, training: bool = False
    ) -> tuple[torch.Tensor, list[Any]]:
        return self.step(inputs, states, self.draw_masks(inputs, training), training)

    def draw_masks(self, inputs: torch.Tensor, training: bool) -> list[Masks]:
        """Dropout's masks of each cell, for a series or a step with the batch first."""
        return [self._masks_of(cell, inputs, training) for cell in self.cells]

    def _masks_of(self, cell: Any, inputs: torch.Tensor, training: bool) -> Masks:
        if not isinstance(cell, RecurrentCell):
            return Masks()
        return cell.draw_masks(inputs.new_empty(inputs.shape[0], cell.kernel.shape[0]), training)

    def step(
        self, inputs: torch.Tensor, states: Any, masks: Sequence[Masks], training: bool
    ) -> tuple[torch.Tensor, list[Any]]:
        """The output of the last cell and the new states of all."""
        new_states = []
        for cell, own, drops in zip(self.cells, states, masks, strict=True):
            if isinstance(cell, RecurrentCell):
                inputs, new = cell.step(cell.project(inputs, drops), as_list(own), drops)
            else:
                inputs, new = call_cell(cell, inputs, own, training)
            new_states.append(new if isinstance(own, (list, tuple)) else new[0])
        return inputs, new_states


def _output_size(cell: Any) -> Any:
    size = getattr(cell, "output_size", None) or cell.state_size
    return size[0] if isinstance(size, (list, tuple)) else size
