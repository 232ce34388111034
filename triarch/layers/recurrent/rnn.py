"""`RNN`: a cell, step after step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch.kernels.recurrent import Masks, Weights, recur
from triarch.layers.arguments import describe, require_axes
from triarch.layers.base import Layer
from triarch.layers.masks import of_first_axes, of_steps
from triarch.layers.recurrent.cell import RecurrentCell, as_list, call_cell, zero_states
from triarch.layers.recurrent.stacked import StackedRNNCells
from triarch.layers.running import reading_casts
from triarch.registry import register

Step = Callable[[int, Any], tuple[torch.Tensor, Any]]  # number of the step, states -> output, new states


def run_steps(
    step: Step,
    length: int,
    states: Any,
    mask: torch.Tensor | None,
    goes_backwards: bool,
    zero_output_for_mask: bool,
) -> tuple[list[torch.Tensor], Any]:
    """The outputs of all steps in the order in which they are taken, and the last states.

    Args:
        mask: `(batch, length)`; a step that does not count leaves states as they are, and repeats the output before it,
            zeros at first; or, with `zero_output_for_mask`, gives zeros.
    """
    outputs: list[torch.Tensor] = []
    previous: torch.Tensor | None = None
    for number in reversed(range(length)) if goes_backwards else range(length):
        output, new_states = step(number, states)
        if mask is None:
            states = new_states
            outputs.append(output)
            continue
        counts = mask[:, number]
        states = pytree.tree_map(lambda new, old, own=counts: _where(own, new, old), new_states, states)
        previous = _where(counts, output, torch.zeros_like(output) if previous is None else previous)
        outputs.append(_where(counts, output, torch.zeros_like(output)) if zero_output_for_mask else previous)
    return outputs, states


def _where(counts: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    return torch.where(counts.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


@register("keras.layers")
class RNN(Layer):
    """A cell that goes through series `(batch, steps, ...)`: the last output, or all of them.

    Args:
        cell: With `state_size`, a number or a list of numbers, and `call(inputs, states)`, which gives the output and
            the new states; or a list of such cells, each of which takes the outputs of the one before it.
        return_sequences: Whether the outputs of all steps are given, `(batch, steps, ...)`.
        return_state: Whether the last states are given as well.
        go_backwards: Whether the last step comes first.
        stateful: Whether a batch begins with the states that the batch before it left; `reset_state` forgets them.
        unroll: Of no effect: steps are never a part of a compiled graph here.
        zero_output_for_mask: Whether steps that do not count give zeros instead of the output before them.
    """

    computes_in_floats = True

    supports_masking = True
    makes_mask = False

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        if not callable(getattr(cell, "call", None)):
            raise ValueError(f"`cell` has a method `call(inputs, states)`. Received: cell={cell!r}")
        if not isinstance(getattr(cell, "state_size", None), (int, list, tuple)):
            raise ValueError(f"`cell` has a `state_size`, a number or a list of numbers. Received: cell={cell!r}")
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.states: Any = None  # of a stateful layer

    untracked = Layer.untracked | {"states", "state_size"}

    @property
    def state_size(self) -> list[Any]:
        """The sizes of the states."""
        return as_list(self.cell.state_size)

    def _check_shape(self, shape: Any) -> None:
        if len(shape) < 3:
            raise ValueError(f"{describe(self)} takes series (batch, steps, ...). Received: shape {tuple(shape)}")

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        self._check_shape(sequences_shape)
        step_shape = (sequences_shape[0], *sequences_shape[2:])
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build(step_shape)
        if self.stateful:
            if self.states is not None:
                self.reset_state()
            elif sequences_shape[0] is None:
                raise ValueError(
                    f"{describe(self)} is stateful, so the batch size must be known: give the model "
                    f"`Input(batch_shape=...)`. Received: shape {tuple(sequences_shape)}"
                )
            else:
                self.states = self._zeros_for(sequences_shape)

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """States of zeros for a batch."""
        made = getattr(self.cell, "get_initial_state", None)
        if made is None:
            return zero_states(self.state_size, batch_size, self._compute_torch_dtype, self.device)
        return as_list(made(batch_size=batch_size))

    def reset_state(self) -> None:
        """Let a stateful layer begin with zeros again."""
        if self.states is not None:
            self.states = pytree.tree_map(torch.zeros_like, self.states)

    reset_states = reset_state

    def call(self, sequences: torch.Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        self._check_shape(sequences.shape)
        mask = self._checked_mask(mask, sequences)
        states = self._first_states(initial_state, sequences.shape)
        output, states = self._run(sequences, states, mask, training)
        if self.stateful:
            self.states = pytree.tree_map(torch.Tensor.detach, states)
        return (output, *states) if self.return_state else output

    def _run(self, sequences: torch.Tensor, states: Any, mask: torch.Tensor | None, training: bool) -> tuple[Any, Any]:
        """The output and the last states."""
        return self._run_steps(sequences, states, mask, training)

    def _run_steps(
        self,
        sequences: torch.Tensor,
        states: Any,
        mask: torch.Tensor | None,
        training: bool,
        masks: Masks | None = None,
    ) -> tuple[Any, Any]:
        """The same by the cell's own steps; `masks` are those of a `RecurrentCell`, where they are drawn already."""
        with reading_casts():  # the steps of cells are taken without their `forward`
            outputs, states = self._take_steps(sequences, states, mask, training, masks)
        if self.return_sequences:
            return torch.stack(outputs, 1) if outputs else self._nothing(sequences), states
        return outputs[-1] if outputs else self._nothing(sequences)[:, :0].sum(1), states

    def _take_steps(
        self,
        sequences: torch.Tensor,
        states: Any,
        mask: torch.Tensor | None,
        training: bool,
        masks: Masks | None,
    ) -> tuple[list[torch.Tensor], Any]:
        cell, inputs = self.cell, sequences.unbind(1)
        if isinstance(cell, RecurrentCell):  # all steps are projected in one product
            own = cell.draw_masks(sequences, training) if masks is None else masks
            projected = cell.project(sequences, own).unbind(1)

            def step(number: int, states: Any) -> tuple[torch.Tensor, Any]:
                return cell.step(projected[number], states, own)

        elif isinstance(cell, StackedRNNCells):
            drops = cell.draw_masks(sequences, training)

            def step(number: int, states: Any) -> tuple[torch.Tensor, Any]:
                return cell.step(inputs[number], states, drops, training)

        else:

            def step(number: int, states: Any) -> tuple[torch.Tensor, Any]:
                return call_cell(cell, inputs[number], states, training)

        return run_steps(step, len(inputs), states, mask, self.go_backwards, self.zero_output_for_mask)

    def _nothing(self, sequences: torch.Tensor) -> torch.Tensor:
        """The outputs of a series of no steps."""
        shape = self.compute_output_shape(tuple(sequences.shape))
        shape = shape[0] if self.return_state else shape
        return sequences.new_zeros(len(sequences), 0, *shape[2 if self.return_sequences else 1 :])

    def _checked_mask(self, mask: Any, sequences: torch.Tensor) -> torch.Tensor | None:
        mask = mask[0] if isinstance(mask, (list, tuple)) and isinstance(mask[0], torch.Tensor) else mask
        if mask is None:
            return None
        mask = of_steps(torch.as_tensor(mask, device=sequences.device), sequences.shape[:2], describe(self))
        return of_first_axes(mask, 2).bool()

    def _zeros_for(self, shape: Sequence[int]) -> list[Any]:
        """States of zeros for series of this shape."""
        return self.get_initial_state(shape[0])

    def _first_states(self, given: Any, shape: Sequence[int]) -> list[Any]:
        batch = shape[0]
        if given is None:
            given = self.states if self.stateful else self._zeros_for(shape)
        states = as_list(given)
        if len(states) != len(self.state_size):
            raise ValueError(f"{describe(self)} has {len(self.state_size)} states. Received: {len(states)}")
        for state in pytree.tree_leaves(states):
            if len(state) != batch:
                raise ValueError(
                    f"{describe(self)} needs states for {batch} series, as many as the batch has. "
                    f"Received: states for {len(state)}" + (" (of the batch before)" if given is self.states else "")
                )
        return pytree.tree_map(lambda state: state.to(self._compute_torch_dtype), states)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the inputs for all outputs, in their order; None for a single one and for states."""
        own = mask_of_outputs(self, mask)
        return [own, *(None for _ in self.state_size)] if self.return_state else own

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shape of the output, and those of the states where these are given."""
        self._check_shape(sequences_shape)
        batch, length = sequences_shape[:2]
        size = getattr(self.cell, "output_size", None) or self.state_size[0]
        shape = (batch, length, size) if self.return_sequences else (batch, size)
        if not self.return_state:
            return shape
        return shape, *(
            [(batch, part) for part in size] if isinstance(size, (list, tuple)) else (batch, size)
            for size in self.state_size
        )


def mask_of_outputs(layer: Any, mask: Any) -> Any:
    """The mask of the outputs of all steps in the order in which a layer takes them; None where it gives one output."""
    mask = mask[0] if isinstance(mask, (list, tuple)) else mask
    if mask is None or not layer.return_sequences:
        return None
    mask = of_first_axes(mask, 2)
    return mask.flip(1) if layer.go_backwards and mask.ndim > 1 else mask


def of_cell(name: str) -> property:
    """An argument of a layer that its cell keeps."""
    return property(lambda layer: getattr(layer.cell, name))


class CellRNN(RNN):
    """A recurrent layer with a cell of its own, whose arguments are the layer's."""

    cell: RecurrentCell
    units = of_cell("units")
    activation = of_cell("activation")
    use_bias = of_cell("use_bias")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")
    seed = of_cell("seed")

    def _check_shape(self, shape: Any) -> None:
        require_axes(self, shape, ("batch", "steps", "features"))
        if self.cell.built and shape[-1] != self.cell.kernel.shape[0]:
            raise ValueError(
                f"{describe(self)} expects {self.cell.kernel.shape[0]} features. Received: shape {tuple(shape)}"
            )

    def _run(self, sequences: torch.Tensor, states: Any, mask: torch.Tensor | None, training: bool) -> tuple[Any, Any]:
        cell, known = self.cell, self.cell.compiled
        if known is None:
            return super()._run(sequences, states, mask, training)
        masks = cell.draw_masks(sequences, training)
        if masks.states is not None:
            known = known._replace(has_masks=True)
        elif masks.inputs is not None:
            sequences, masks = sequences * masks.inputs[0].unsqueeze(1), Masks()

        def reference(inputs: torch.Tensor, states: Any) -> tuple[torch.Tensor, Any]:
            outputs, states = self._take_steps(inputs, list(states), mask, False, masks)
            return torch.stack(outputs[::-1] if self.go_backwards else outputs, 1), states

        found = recur(
            known,
            sequences,
            Weights(cell.kernel, cell.recurrent_kernel, cell.bias),
            tuple(states),
            mask,
            reference,
            self.go_backwards,
            self.return_sequences,
            self.zero_output_for_mask,
            self.stateful,
            masks,
        )
        if found is None:
            return self._run_steps(sequences, states, mask, False, masks)
        return found[0], list(found[1])

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from (pair for pair in super()._arguments() if pair[0] != "cell")
        yield "activity_regularizer", self.activity_regularizer
