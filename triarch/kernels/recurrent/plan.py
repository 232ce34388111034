"""Recurrence by compiled code.

Source of the gradients: Werbos, "Backpropagation Through Time: What It Does and How to Do It" (1990).
"""

from __future__ import annotations

from collections.abc import Iterator
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
from triarch.kernels.recurrent.cell import Cell, Weights
from triarch.kernels.recurrent.job import CHUNK, JOB, SIZES
from triarch.kernels.recurrent.packing import Packing
from triarch.tensors import dtype_name

# Of all series together: products with a kernel then take less time than arranging it; so do those of one series.
_FEW_ROWS = 8


def source(function: str, dtype: str, cell: Cell) -> Source:
    """A kernel for a cell."""
    constants = (cell.kind,) if function == "weight_gradients" else cell
    return Source("triarch.kernels.recurrent.compiled", function, (dtype, *constants), JOB)


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
        self.panel = registers.columns(dtype)
        self.held = rounded_up(units, self.panel)
        self.width = self.sizes.gates * self.held
        self.calls = Calls(self._call)

    def _call(self) -> Call:
        job = np.zeros(1, JOB)
        job["units"], job["held"], job["goes_backwards"] = self.units, self.held, self.goes_backwards
        name = dtype_name(self.dtype)
        return Call(job, self.threads, lambda function: source(function, name, self.cell))

    def held_states(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """States `(series, held)`, the same one twice where the cell has only one."""
        held = tuple(self._padded(state).contiguous() for state in states)
        return held if len(held) == 2 else held * 2

    def _padded(self, tensor: Tensor) -> Tensor:
        """The last axis made up from `units` to `held`."""
        return tensor if self.held == self.units else F.pad(tensor, (0, self.held - self.units))

    def _by_gates(self, tensor: Tensor) -> Tensor:
        """The last axis, gates of units side by side, made up to gates of `held`."""
        return tensor if self.held == self.units else self._padded(tensor.unflatten(-1, (-1, self.units))).flatten(-2)

    def _of_gates(self, tensor: Tensor) -> Tensor:
        """The way back."""
        return tensor.unflatten(-1, (-1, self.held))[..., : self.units].flatten(-2)

    def _recurrent(self, weights: Weights) -> Tensor:
        """The recurrent kernel, `(held, gates * held)`."""
        rows = self.held - self.units
        return self._by_gates(F.pad(weights.recurrent_kernel, (0, 0, 0, rows)) if rows else weights.recurrent_kernel)

    def _biases(self, weights: Weights) -> Tensor:
        """What sums of products begin with, `(blocks, held)`."""
        bias = weights.bias
        if bias is None:
            return weights.kernel.new_zeros(self.sizes.blocks * self.held)
        if self.cell.kind == "gru":  # a bias of the inputs' products and one of the states'
            bias = torch.cat([bias[0] + F.pad(bias[1, : 2 * self.units], (0, self.units)), bias[1, 2 * self.units :]])
        return self._by_gates(bias).contiguous()

    def _panels(self, matrix: Tensor) -> Tensor:
        """A matrix in panels of a tile's columns."""
        return matrix.unflatten(1, (-1, self.panel)).transpose(0, 1).contiguous()

    def forward(
        self, inputs: Tensor, weights: Weights, first: tuple[Tensor, ...], packing: Packing, learns: bool, shows: bool
    ) -> tuple[Tape | None, Tensor | None, tuple[Tensor, ...]]:
        """What the way back needs, the outputs `(steps, held)`, and the last states `(series, held)`.

        Args:
            inputs: `(steps, features)`, one step after the other.
            learns: Whether there will be a way back.
            shows: Whether the outputs are wanted; else only the last states.
        """
        recomputes = config.recomputes_gates()
        outputs = inputs.new_empty(packing.steps, self.held) if learns or shows else None
        gates, memory = self._kept(inputs, packing) if learns and not recomputes else (None, None)
        last = self._advance(inputs, weights, first, packing, gates, outputs, memory, learns)
        tape = None if not learns or outputs is None else Tape(gates, outputs, memory, first)
        return tape, outputs, last

    def _kept(self, inputs: Tensor, packing: Packing) -> tuple[Tensor, Tensor | None]:
        """Room for the gates, and for what else the way back needs."""
        gates = inputs.new_empty(packing.steps, self.width)
        return gates, None if self.cell.kind == "simple" else inputs.new_empty(packing.steps, self.held)

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
    ) -> tuple[Tensor, ...]:
        kernel, recurrent, bias = self._by_gates(weights.kernel), self._recurrent(weights), self._biases(weights)
        is_packed = self._rows(packing) > 1 and packing.steps > _FEW_ROWS
        arranged = self._panels if is_packed else Tensor.contiguous
        kernel, recurrent = arranged(kernel), arranged(recurrent)
        last = tuple(torch.empty_like(state) for state in first)
        rows = self._rows(packing)
        step = rows * (2 * self.held + inputs.shape[1] + self.sizes.blocks * self.held) + self.width
        with self._one(inputs, packing, step) as call:
            call.place(kernel=kernel.data_ptr(), recurrent_kernel=recurrent.data_ptr(), bias=bias.data_ptr())
            call.place(gates=_address(gates), outputs=_address(outputs), memory=_address(memory), is_packed=is_packed)
            call.place(h_first=first[0].data_ptr(), c_first=first[1].data_ptr())
            call.place(h_last=last[0].data_ptr(), c_last=last[1].data_ptr())
            self._run(call, packing, "forward", *(("backward", "weight_gradients") if learns else ()))
        return last

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
    ) -> tuple[Tensor | None, Weights | None, tuple[Tensor, ...]]:
        """The gradients of inputs `(steps, features)`, of the weights, and of the first states.

        Args:
            output_gradient: `(steps, units)`.
            last_gradients: Of the last states, `(series, units)`.
        """
        gates, memory = tape.gates, tape.memory
        if gates is None:
            gates, memory = self._kept(inputs, packing)
            self._advance(inputs, weights, tape.first, packing, gates, None, memory, learns=True)
        series = len(packing.order)
        found = torch.empty_like(gates)
        extra = inputs.new_empty(packing.steps, self.held) if self.cell.kind == "gru" else None
        panels = self._panels(self._recurrent(weights).mT)
        if output_gradient is not None:
            output_gradient = self._padded(output_gradient).contiguous()
        # Written over, so never the tensor that was given.
        state_gradients = [inputs.new_zeros(series, self.held) for _ in range(2)]
        for own, given in zip(state_gradients, last_gradients, strict=False):
            if given is not None:
                own[:, : self.units] = given
        rows = self._rows(packing) * (2 * self.held + self.width) + 2 * self.held
        step = max(rows, (sum(self._tile_rows(inputs)) + self.sizes.blocks * self.held) * CHUNK)
        with self._one(inputs, packing, step) as call:
            call.place(gates=gates.data_ptr(), outputs=tape.outputs.data_ptr(), memory=_address(memory))
            call.place(recurrent_kernel=panels.data_ptr(), output_gradient=_address(output_gradient))
            call.place(gate_gradient=found.data_ptr(), extra_gradient=_address(extra))
            call.place(h_first=tape.first[0].data_ptr(), c_first=tape.first[1].data_ptr())
            call.place(h_gradient=state_gradients[0].data_ptr(), c_gradient=state_gradients[1].data_ptr())
            self._run(call, packing, "backward")
            of_weights = self._weight_gradients(call, inputs, packing) if wants_weights else None
        inputs_gradient = found @ self._by_gates(weights.kernel).mT if wants_inputs else None
        return inputs_gradient, of_weights, tuple(own[:, : self.units] for own in state_gradients)

    def _tile_rows(self, inputs: Tensor) -> tuple[int, int]:
        """Rows of the gradients of kernel and recurrent kernel, with one for the bias, in whole tiles."""
        return rounded_up(inputs.shape[1] + 1, registers.ROWS), rounded_up(self.units + 1, registers.ROWS)

    def _weight_gradients(self, call: Call, inputs: Tensor, packing: Packing) -> Weights:
        """The gradients of the weights, by the call that has gone back through the steps."""
        features, units, threads = inputs.shape[1], self.units, self._threads(packing)
        rows_x, rows_h = self._tile_rows(inputs)
        sums = inputs.new_empty(threads, rows_x + rows_h, self.sizes.blocks * self.held)
        call.place(rows_of_inputs=rows_x, rows_of_states=rows_h, weight_gradient=sums.data_ptr())
        self._run(call, packing, "weight_gradients")
        of_inputs, of_states = self._of_gates(sums.sum(0) if threads > 1 else sums[0]).split([rows_x, rows_h])
        gates, own = self.sizes.gates * units, self.sizes.added * units
        of_inputs = of_inputs[:, :gates]
        of_states = of_states if own == gates else torch.cat([of_states[:, :own], of_states[:, gates:]], 1)
        bias = of_inputs[features]
        if self.cell.kind == "gru":
            bias = torch.stack([bias, of_states[units]])
        return Weights(of_inputs[:features], of_states[:units], bias)

    def _threads(self, packing: Packing) -> int:
        return max(min(self.threads, len(packing.order)), 1)

    def _rows(self, packing: Packing) -> int:
        """How many series a thread has, at most."""
        return -(-len(packing.order) // self._threads(packing))

    @contextmanager
    def _one(self, inputs: Tensor, packing: Packing, step: int) -> Iterator[Call]:
        """A call for these series with a workspace of `step` numbers for each thread."""
        with self.calls.one() as call, workspace(self._threads(packing) * step, self.dtype) as space:
            call.place(order=packing.order.ctypes.data, offsets=packing.offsets.ctypes.data)
            call.place(lengths=packing.lengths.ctypes.data, series=len(packing.order), steps=packing.steps)
            call.place(inputs=inputs.data_ptr(), features=inputs.shape[1])
            call.place(workspace=space.data_ptr(), workspace_step=step)
            yield call

    def _run(self, call: Call, packing: Packing, name: str, *later: str) -> None:
        (call.run_alone if self._threads(packing) == 1 else call.run)(name, *later)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
