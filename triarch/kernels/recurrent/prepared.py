"""Recurrence of as many series of one length, again and again: all but inputs and first states has its place.

Not for several threads of the program at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from triarch.kernels.recurrent.cell import Weights
from triarch.kernels.recurrent.packing import Packing
from triarch.kernels.recurrent.plan import RecurrentKernel, address_of, place_gradients


class Advance:
    """The way forward.

    Attributes:
        outputs: `(steps, units)`, if they are wanted.
        outputs_at: Their address; 0 for none.
        last: The last states, `(series, units)` each; like the outputs, they are written over by the next series.
    """

    def __init__(self, kernel: RecurrentKernel, weights: Weights, packing: Packing, shows: bool, learns: bool) -> None:
        self.kernel, self.weights, self.packing, self.call = kernel, weights, packing, kernel.new_call()
        features = len(weights.kernel)
        step, shared = kernel.room(packing, features)
        if learns:
            back = kernel.room_back(packing, features, wants_weights=True)
            step, shared = max(step, back[0]), max(shared, back[1])
        self._memory = torch.empty(shared + kernel.threads_for(packing) * step, dtype=kernel.dtype)
        self.place = self._memory.data_ptr()
        kernel.place_series(self.call, packing, features, self.place + shared * kernel.dtype.itemsize, step)
        outputs = torch.empty(packing.steps, kernel.held, dtype=kernel.dtype) if shows or learns else None
        self.outputs = None if outputs is None else outputs[:, : kernel.units]
        self.outputs_at = address_of(outputs)
        self.call.place(outputs=self.outputs_at)
        count = 2 if kernel.cell.kind == "lstm" else 1
        self.last = tuple(torch.empty(len(packing.order), kernel.units, dtype=kernel.dtype) for _ in range(count))
        self._last_at = tuple(state.data_ptr() for state in self.last)
        self._set_operands = self.call.placer("inputs", "h_first", "c_first", "h_last", "c_last")
        self.run_kernel = self.call.run_alone if kernel.threads_for(packing) == 1 else self.call.run
        self._own = [weight for weight in weights if weight is not None]
        self._placed: list[int] = []
        self._is_to_arrange = True

    def run(self, inputs: Tensor, first: tuple[Tensor, ...]) -> None:
        """Go through series that lie one after the other, however their axes are seen."""
        placed = [weight.data_ptr() for weight in self._own]
        if placed != self._placed:
            self._is_to_arrange = self.kernel.place_weights(self.call, self.weights, self.packing, self.place)
            self._placed = placed
        self.run_at(inputs.data_ptr(), tuple(state.data_ptr() for state in first), self._last_at)

    def run_at(self, inputs: int, first: tuple[int, ...], last: tuple[int, ...]) -> None:
        """The same from and to these addresses; the weights lie where they lay."""
        self._set_operands(inputs, first[0], first[-1], last[0], last[-1])
        if self._is_to_arrange:
            self.run_kernel("arrange", "forward")
        self.run_kernel("forward")


class Round:
    """The way forward and the way back.

    Args:
        gradients: Where those of the weights are written.
    """

    def __init__(self, kernel: RecurrentKernel, weights: Weights, gradients: Weights, packing: Packing) -> None:
        self.forward = Advance(kernel, weights, packing, shows=True, learns=True)
        call = self.forward.call
        self._found, self._kept = kernel.of_gates(packing), kernel.kept(packing)
        kernel.place_back(call, len(weights.kernel), self.forward.place, *self._kept, *self._found)
        place_gradients(call, gradients)
        self._set_gradients = call.placer("output_gradient", "h_gradient")

    def run(self, inputs: Tensor, first: tuple[Tensor, ...]) -> Advance:
        """Go through series, as `Advance` does."""
        self.forward.run(inputs, first)
        return self.forward

    def run_back(
        self, output_gradient: Tensor | None, last_gradient: Tensor | None, wants_inputs: bool
    ) -> Tensor | None:
        """Write the weights' gradients, and give that of the inputs `(steps, features)`; both must still lie there.

        Args:
            output_gradient: `(steps, units)`, contiguous.
            last_gradient: Of the last outputs, `(series, units)`, contiguous; it is written over.
        """
        self._set_gradients(address_of(output_gradient), address_of(last_gradient))
        run, own = self.forward.run_kernel, self.forward
        for kernel in ("turn", "backward", "sum_products", "collect"):
            run(kernel)
        return own.kernel.inputs_gradient(self._found[0], own.weights, own.packing) if wants_inputs else None
