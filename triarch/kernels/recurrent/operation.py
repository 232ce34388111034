"""A recurrent layer's way through its series: the choice of what computes it, and its execution."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from triarch.kernels.conv.choice import START_SECONDS, expected_calls, method_in_use
from triarch.kernels.recurrent import vendor
from triarch.kernels.recurrent.cell import NO_MASKS, Cell, Masks, Weights
from triarch.kernels.recurrent.job import SIZES
from triarch.kernels.recurrent.packing import Packing, pack, unpack
from triarch.kernels.recurrent.plan import RecurrentKernel, Tape
from triarch.watching import is_traced

# Inputs `(batch, length, features)` and first states -> outputs of all steps in the order of time, and last states.
Reference = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]

# What torch takes on a CPU: for a product of two numbers and their sum, and for a step whatever its size.
_VENDOR_PRODUCT, _VENDOR_STEP, _LOOP_STEP = 2 / 55e9, 30e-6, 150e-6
_SAVED = 0.5  # of that time, by compiled code


def recur(
    cell: Cell,
    inputs: Tensor,
    weights: Weights,
    states: tuple[Tensor, ...],
    mask: Tensor | None,
    reference: Reference,
    goes_backwards: bool = False,
    returns_sequences: bool = False,
    zero_output_for_mask: bool = False,
    is_stream: bool = False,
    masks: Masks = NO_MASKS,
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """The output and the last states; None where only the layer's own steps can give them.

    Args:
        inputs: `(batch, length, features)`.
        states: The first ones, `(batch, units)` each.
        mask: `(batch, length)`, true where a step counts; others leave states, and repeat the output before them.
        reference: The same by the layer's own steps, for gradients of gradients.
        returns_sequences: Whether the outputs of all steps are given, `(batch, length, units)`, in the order in which
            they are gone through; else the last one, `(batch, units)`.
        zero_output_for_mask: Whether steps that do not count give zeros.
        is_stream: Whether calls will follow for ever.
        masks: Of a cell that has them, for each gate.
    """
    if is_traced(inputs) or not _have_one_type(inputs, weights):
        return None
    batch, length, _ = inputs.shape
    if not (batch and length):
        return None
    is_compiled = _is_worth_code(cell, inputs, weights, is_stream)
    if not is_compiled and vendor.refuse(cell) is not None:
        return None
    packing = pack(batch, length, mask)
    if is_compiled:
        outputs, last = _run(
            cell, inputs, weights, states, packing, reference, goes_backwards, returns_sequences, masks
        )
    else:
        rows = _rows(inputs, packing)
        outputs, last = vendor.recur(cell, rows, weights, states, packing, goes_backwards)
    if returns_sequences:
        assert outputs is not None
        if mask is None:
            outputs = outputs.unflatten(0, (batch, length))
        else:
            outputs = unpack(packing, outputs, mask, goes_backwards, zero_output_for_mask)
        return (outputs.flip(1) if goes_backwards else outputs), last
    output = last[0]
    if mask is not None:  # states may have been given; outputs begin with zeros
        counts = mask[:, 0 if goes_backwards else -1] if zero_output_for_mask else mask.any(1)
        output = output * counts.unsqueeze(1)
    return output, last


def _have_one_type(inputs: Tensor, weights: Weights) -> bool:
    """Whether inputs and weights are of the same type of numbers, one that recurrence is exact enough in."""
    is_exact = inputs.dtype in (torch.float32, torch.float64) or inputs.device.type != "cpu"
    return is_exact and all(weight.dtype == inputs.dtype for weight in weights if weight is not None)


def _is_worth_code(cell: Cell, inputs: Tensor, weights: Weights, is_stream: bool) -> bool:
    """Whether compiled code can do it, and earns its start."""
    if inputs.device.type != "cpu" or method_in_use() == "direct":
        return False
    batch, length, features = inputs.shape
    units, learns = weights.recurrent_kernel.shape[0], torch.is_grad_enabled()
    products = batch * length * (features + units) * SIZES[cell.kind].gates * units
    step = _VENDOR_STEP if vendor.refuse(cell) is None else _LOOP_STEP
    seconds = (3 if learns else 1) * (products * _VENDOR_PRODUCT + length * step)
    return (is_stream and not learns) or _SAVED * seconds * expected_calls() > START_SECONDS


@lru_cache(maxsize=256)
def _plan(cell: Cell, units: int, dtype: torch.dtype, threads: int, goes_backwards: bool) -> RecurrentKernel:
    return RecurrentKernel(cell, units, dtype, threads, goes_backwards)


def _rows(inputs: Tensor, packing: Packing) -> Tensor:
    """The steps that count, `(steps, features)`."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    return (rows if packing.places is None else rows.index_select(0, packing.places)).contiguous()


def _run(
    cell: Cell,
    inputs: Tensor,
    weights: Weights,
    states: tuple[Tensor, ...],
    packing: Packing,
    reference: Reference,
    goes_backwards: bool,
    shows: bool,
    masks: Masks,
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    units = weights.recurrent_kernel.shape[0]
    plan = _plan(cell, units, inputs.dtype, torch.get_num_threads(), goes_backwards)
    operands = (inputs, *weights, *states)
    if torch.is_grad_enabled() and any(operand is not None and operand.requires_grad for operand in operands):
        outputs, *last = _Recurrence.apply(plan, packing, reference, masks, *operands)
        return outputs, tuple(last)
    with torch.no_grad():
        rows = _rows(inputs, packing)
        _, shown, last = plan.forward(rows, weights, states, packing, learns=False, shows=shows, masks=masks)
    return (None if shown is None else shown[:, :units]), last


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: RecurrentKernel,
        packing: Packing,
        reference: Reference,
        masks: Masks,
        inputs: Tensor,
        *operands: Tensor,
    ) -> tuple[Tensor, ...]:
        weights, states = Weights(*operands[:3]), operands[3:]
        rows = _rows(inputs, packing)
        tape, outputs, last = plan.forward(rows, weights, states, packing, learns=True, shows=True, masks=masks)
        assert tape is not None
        assert outputs is not None
        ctx.save_for_backward(inputs, *operands, tape.gates, tape.outputs, tape.memory, *tape.first)
        ctx.plan, ctx.packing, ctx.reference, ctx.masks, ctx.states = plan, packing, reference, masks, len(states)
        ctx.set_materialize_grads(False)
        return outputs[:, : plan.units], *last

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor | None, *last_gradients: Tensor | None) -> Any:
        inputs, *operands = ctx.saved_tensors
        weights, states = Weights(*operands[:3]), tuple(operands[3 : 3 + ctx.states])
        gates, outputs, memory, *first = operands[3 + ctx.states :]
        wanted = ctx.needs_input_grad[4:]
        if torch.is_grad_enabled():
            given = (output_gradient, *last_gradients)
            return None, None, None, None, *_differentiable(ctx, given, inputs, weights, states, wanted)
        plan, packing = ctx.plan, ctx.packing
        inputs_gradient, of_weights, of_states = plan.backward(
            _rows(inputs, packing),
            weights,
            Tape(gates, outputs, memory, tuple(first)),
            packing,
            output_gradient,
            last_gradients,
            wanted[0],
            any(wanted[1:4]),
            any(wanted[4:]),
            ctx.masks,
        )
        if inputs_gradient is not None:
            if packing.places is not None:
                all_rows = inputs_gradient.new_zeros(inputs.shape[0] * inputs.shape[1], inputs.shape[2])
                inputs_gradient = all_rows.index_copy_(0, packing.places, inputs_gradient)
            inputs_gradient = inputs_gradient.view(inputs.shape)
        found = (inputs_gradient, *(of_weights or (None,) * 3), *of_states)
        return (
            None,
            None,
            None,
            None,
            *(own if is_wanted else None for own, is_wanted in zip(found, wanted, strict=True)),
        )


def _differentiable(
    ctx: Any,
    given: tuple[Tensor | None, ...],
    inputs: Tensor,
    weights: Weights,
    states: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """The gradients by torch's operations, which can be differentiated again."""
    # What is differentiated again must depend on the operands: `view_as` hangs below them in the graph.
    inputs, *begun = (part.view_as(part) for part in (inputs, *states))
    outputs, last = ctx.reference(inputs, tuple(begun))
    outputs = _rows(outputs, ctx.packing)
    pairs = [(made, own) for made, own in zip((outputs, *last), given, strict=True) if own is not None]
    learnt: list[Any] = [part for part, yes in zip((inputs, *weights, *begun), wanted, strict=True) if yes]
    found = iter(
        torch.autograd.grad(
            [made for made, _ in pairs], learnt, [own for _, own in pairs], create_graph=True, allow_unused=True
        )
    )
    return tuple(next(found) if is_wanted else None for is_wanted in wanted)
