"""Recurrence by compiled code.

Source of the gradients: Werbos, "Backpropagation Through Time: What It Does and How to Do It" (1990).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from triarch import config
from triarch.kernels.conv.batches import rounded_up
from triarch.kernels.native import registers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.recurrent.cell import NO_MASKS, Cell, Masks, Weights
from triarch.kernels.recurrent.job import CHUNK, JOB, SIZES
from triarch.kernels.recurrent.packing import Packing
from triarch.tensors import dtype_name

# Of all series together: products with a kernel then take less time than arranging it; so do those of one series.
_FEW_ROWS = 8
_LAYING = ("arrange", "collect")  # kernels that see weights only
_LATER = ("turn", "backward", "sum_products", "collect")  # those of the way back


def source(function: str, dtype: str, cell: Cell) -> Source:
    """A kernel for a cell."""
    if function in ("forward", "backward"):
        return Source("triarch.kernels.recurrent.compiled", function, (dtype, *cell), JOB)
    constants = (cell.kind,) if function in _LAYING else (cell.kind, cell.has_masks)
    return Source("triarch.kernels.recurrent.weights", function, (dtype, *constants), JOB)


class Tape(NamedTuple):
    """What the way forward leaves for the way back; units are made up to `held`."""

    gates: Tensor | None  # None where they are computed again
    outputs: Tensor
    memory: Tensor | None
    first: tuple[Tensor, ...]


class RecurrentKernel:
    """Recurrence of a cell, with gradients of its own."""

    def __init__(self, cell: Cell, units: int, dtype: torch.dtype, threads: int, goes_backwards: bool) -> None:
        self.cell, self.units, self.dtype, self.threads = cell, units, dtype, threads
        self.goes_backwards = goes_backwards
        self.sizes = SIZES[cell.kind]
        self.held = rounded_up(units, registers.columns(dtype))
        self.width = self.sizes.gates * self.held
        self.all_width = self.sizes.blocks * self.held
        self.calls = Calls(self.new_call)

    def new_call(self) -> Call:
        """A call that only this layer's sizes are told."""
        job = np.zeros(1, JOB)
        job["units"], job["held"], job["goes_backwards"] = self.units, self.held, self.goes_backwards
        name = dtype_name(self.dtype)
        return Call(job, self.threads, lambda function: source(function, name, self.cell))

    def forward(
        self,
        inputs: Tensor,
        weights: Weights,
        first: tuple[Tensor, ...],
        packing: Packing,
        learns: bool,
        shows: bool,
        masks: Masks = NO_MASKS,
    ) -> tuple[Tape | None, Tensor | None, tuple[Tensor, ...]]:
        """What the way back needs, the outputs `(steps, held)`, and the last states `(series, units)`.

        Args:
            inputs: `(steps, features)`, one step after the other.
            first: The states before the first step, `(series, units)` each.
            learns: Whether there will be a way back.
            shows: Whether the outputs are wanted; else only the last states.
            masks: Of a cell that has them, for each gate.
        """
        weights = _lying_side_by_side(weights)
        outputs = inputs.new_empty(packing.steps, self.held) if learns or shows else None
        gates, memory = self.kept(packing) if learns and not config.recomputes_gates() else (None, None)
        first = tuple(state.contiguous() for state in first)
        last = self._advance(inputs, weights, first, packing, gates, outputs, memory, learns, masks)
        tape = None if not learns or outputs is None else Tape(gates, outputs, memory, first)
        return tape, outputs, last

    def kept(self, packing: Packing) -> tuple[Tensor, Tensor | None]:
        """Room for the gates, and for what else the way back needs."""
        gates = torch.empty(packing.steps, self.width, dtype=self.dtype)
        has_memory = self.cell.kind != "simple"
        return gates, torch.empty(packing.steps, self.held, dtype=self.dtype) if has_memory else None

    def of_gates(self, packing: Packing) -> tuple[Tensor, Tensor | None]:
        """Room for the gradients of gates, and for what products with the states have of their own."""
        found = torch.empty(packing.steps, self.width, dtype=self.dtype)
        has_extra = self.cell.kind == "gru"
        return found, torch.empty(packing.steps, self.held, dtype=self.dtype) if has_extra else None

    def _advance(
        self,
        inputs: Tensor,
        weights: Weights,
        first: tuple[Tensor, ...],
        packing: Packing,
        gates: Tensor | None,
        outputs: Tensor | None,
        memory: Tensor | None,
        learns: bool,
        masks: Masks,
    ) -> tuple[Tensor, ...]:
        last = tuple(torch.empty_like(state) for state in first)
        step, laid = self.room(packing, inputs.shape[1])
        with self._one(inputs, packing, step, laid, masks) as (call, place):
            is_to_arrange = self.place_weights(call, weights, packing, place)
            call.place(gates=address_of(gates), outputs=address_of(outputs), memory=address_of(memory))
            place_states(call, "first", first)
            place_states(call, "last", last)
            if is_to_arrange:
                self.run(call, packing, "arrange", "forward", *(_LATER if learns else ()))
            self.run(call, packing, "forward", *(_LATER if learns else ()))
        return last

    def room(self, packing: Packing, features: int) -> tuple[int, int]:
        """Numbers of working memory for the way forward: of each thread, and what all share."""
        rows = self._rows(packing)
        step = rows * (2 * self.held + features + self.all_width) + self.held
        if self.cell.has_masks:
            step += rows * max(self.held, features)
        return step, self.width * (features + self.held) + self.all_width

    def place_weights(self, call: Call, weights: Weights, packing: Packing, place: int) -> bool:
        """Say where the weights for the way forward lie: from `place` on, or where the layer has them.

        Returns:
            Whether they have to be arranged.
        """
        is_packed = self._rows(packing) > 1 and packing.steps > _FEW_ROWS
        own = kernel, recurrent, bias = self._place_own(call, weights)
        size, rows = self.dtype.itemsize, len(weights.kernel)
        beside = registers.columns(self.dtype) if is_packed else self.width  # below the inputs' rows in every panel
        places = (place, place + rows * beside * size, place + (rows + self.held) * self.width * size)
        if not is_packed and self.held == self.units:
            places = (kernel, recurrent, bias if bias and self.cell.kind != "gru" else places[2])
        call.place(kernel=places[0], recurrent_kernel=places[1], bias=places[2], is_packed=is_packed)
        return places != own

    def backward(
        self,
        inputs: Tensor,
        weights: Weights,
        tape: Tape,
        packing: Packing,
        output_gradient: Tensor | None,
        last_gradients: tuple[Tensor | None, ...],
        wants_inputs: bool,
        wants_weights: bool,
        wants_states: bool,
        masks: Masks = NO_MASKS,
    ) -> tuple[Tensor | None, Weights | None, tuple[Tensor | None, ...]]:
        """The gradients of inputs `(steps, features)`, of the weights, and of the first states.

        Args:
            output_gradient: `(steps, units)`.
            last_gradients: Of the last states, `(series, units)`.
        """
        weights, gates, memory = _lying_side_by_side(weights), tape.gates, tape.memory
        if gates is None:
            gates, memory = self.kept(packing)
            self._advance(inputs, weights, tape.first, packing, gates, None, memory, True, masks)
        found, extra = self.of_gates(packing)
        if output_gradient is not None:
            output_gradient = output_gradient.contiguous()
        # Written over, so never the tensor that was given.
        states = tuple(
            given.clone(memory_format=torch.contiguous_format)
            if given is not None
            else (torch.zeros_like(state) if wants_states else None)
            for given, state in zip(last_gradients, tape.first, strict=True)
        )
        step, laid = self.room_back(packing, inputs.shape[1], wants_weights)
        with self._one(inputs, packing, step, laid, masks) as (call, place):
            self._place_own(call, weights)
            call.place(outputs=tape.outputs.data_ptr(), output_gradient=address_of(output_gradient))
            self.place_back(call, inputs.shape[1], place, gates, memory, found, extra)
            place_states(call, "first", tape.first)
            place_states(call, "gradient", states)
            self.run(call, packing, "turn", "backward")
            self.run(call, packing, "backward")
            of_weights = empty_like(weights) if wants_weights else None
            if of_weights is not None:
                place_gradients(call, of_weights)
                self.run(call, packing, "sum_products")
                self.run(call, packing, "collect")
        inputs_gradient = self.inputs_gradient(found, weights, packing, masks) if wants_inputs else None
        return inputs_gradient, of_weights, states

    def room_back(self, packing: Packing, features: int, wants_weights: bool) -> tuple[int, int]:
        """Numbers of working memory for the way back: of each thread, and what all share."""
        rows = self._rows(packing) * (2 * self.held + self.width) + 3 * self.held
        rows_of_weights = sum(self._tile_rows(features))
        layouts = 1
        if self.cell.has_masks:
            rows += self._rows(packing) * self.held
            layouts = self.sizes.gates
        tiles = (layouts * rows_of_weights + self.all_width) * CHUNK + max(features, self.held)
        sums = self.threads_for(packing) * rows_of_weights * self.all_width
        return max(rows, tiles), self.held * self.width + (sums if wants_weights else 0)

    def place_back(
        self,
        call: Call,
        features: int,
        place: int,
        gates: Tensor,
        memory: Tensor | None,
        gate_gradient: Tensor,
        extra_gradient: Tensor | None,
    ) -> None:
        """Say where the way back finds what the way forward left, and where it works: from `place` on."""
        rows_x, rows_h = self._tile_rows(features)
        call.place(gates=gates.data_ptr(), memory=address_of(memory), gate_gradient=gate_gradient.data_ptr())
        call.place(extra_gradient=address_of(extra_gradient), rows_of_inputs=rows_x, rows_of_states=rows_h)
        call.place(turned=place, sums=place + self.held * self.width * self.dtype.itemsize)

    def _tile_rows(self, features: int) -> tuple[int, int]:
        """Rows of the gradients of kernel and recurrent kernel, with one for the bias, in whole tiles."""
        return rounded_up(features + 1, registers.ROWS), rounded_up(self.units + 1, registers.ROWS)

    def inputs_gradient(self, found: Tensor, weights: Weights, packing: Packing, masks: Masks = NO_MASKS) -> Tensor:
        """The gradient of the inputs from that of their projections."""
        kernel = weights.kernel.unflatten(1, (-1, self.units))
        kernel = F.pad(kernel, (0, self.held - self.units)).flatten(1)
        if masks.inputs is None:
            return found @ kernel.mT
        series = torch.from_numpy(np.repeat(np.arange(len(packing.lengths)), packing.lengths))
        parts = zip(found.chunk(self.sizes.gates, 1), kernel.chunk(self.sizes.gates, 1), masks.inputs, strict=True)
        return torch.stack([(part @ own.mT).mul_(mask[series]) for part, own, mask in parts]).sum(0)

    def threads_for(self, packing: Packing) -> int:
        """How many there is work for."""
        return max(min(self.threads, len(packing.order)), 1)

    def _rows(self, packing: Packing) -> int:
        """How many series a thread has, at most."""
        return -(-len(packing.order) // self.threads_for(packing))

    def _place_own(self, call: Call, weights: Weights) -> tuple[int, int, int]:
        """Their addresses."""
        kernel, recurrent, bias = map(address_of, weights)
        call.place(own_kernel=kernel, own_recurrent_kernel=recurrent, own_bias=bias)
        return kernel, recurrent, bias

    @contextmanager
    def _one(
        self, inputs: Tensor, packing: Packing, step: int, shared: int, masks: Masks
    ) -> Iterator[tuple[Call, int]]:
        """A call for these series, and the address of `shared` numbers of working memory.

        Each thread has `step` numbers of its own behind them.
        """
        with self.calls.one() as call, workspace(shared + self.threads_for(packing) * step, self.dtype) as space:
            address = space.data_ptr()
            self.place_series(call, packing, inputs.shape[1], address + shared * self.dtype.itemsize, step)
            call.place(
                inputs=inputs.data_ptr(), inputs_mask=address_of(masks.inputs), states_mask=address_of(masks.states)
            )
            yield call, address

    def place_series(self, call: Call, packing: Packing, features: int, memory: int, step: int) -> None:
        """Say where series end, and where each thread's `step` numbers of working memory lie."""
        order, offsets, lengths = packing.addresses
        call.place(order=order, offsets=offsets, lengths=lengths, series=len(packing.order), steps=packing.steps)
        call.place(features=features, workspace=memory, workspace_step=step)

    def run(self, call: Call, packing: Packing, name: str, *later: str) -> None:
        """Run a kernel on these threads; `later` names those that will follow it."""
        (call.run_alone if self.threads_for(packing) == 1 else call.run)(name, *later)


def empty_like(weights: Weights) -> Weights:
    """Room for their gradients."""
    kernel, recurrent, bias = weights
    found = Weights(kernel.new_empty(kernel.shape), recurrent.new_empty(recurrent.shape))
    return found if bias is None else found._replace(bias=bias.new_empty(bias.shape))


def _lying_side_by_side(weights: Weights) -> Weights:
    kernel, recurrent, bias = weights
    return Weights(kernel.contiguous(), recurrent.contiguous(), None if bias is None else bias.contiguous())


def place_gradients(call: Call, found: Weights) -> None:
    """Say where the gradients of the weights are written."""
    kernel, recurrent, bias = map(address_of, found)
    call.place(kernel_gradient=kernel, recurrent_gradient=recurrent, bias_gradient=bias)


def place_states(call: Call, when: str, states: Sequence[Tensor | None]) -> None:
    """Say where the states lie: `"first"` or `"last"` ones, or the `"gradient"`."""
    call.place(**{f"{name}_{when}": address_of(state) for name, state in zip("hc", states, strict=False)})


def address_of(tensor: Tensor | None) -> int:
    """Where its numbers begin; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
