"""The one way in which a kernel of a convolution becomes an operation that torch differentiates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Kernel(ABC):
    """A convolution with gradients of its own, all in the caller's axis order and none seen by autograd.

    Args:
        reference: The same convolution by torch's operations: it gives the gradients of gradients, and whatever has
            numbers in it that are not finite, which spread differently in sums that were rearranged.
        keeps_outputs: Whether `backward` reads the outputs.
    """

    def __init__(self, reference: Callable[[Tensor, Tensor, Tensor | None], Tensor], keeps_outputs: bool) -> None:
        self.reference = reference
        self.keeps_outputs = keeps_outputs

    @abstractmethod
    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor | None:
        """The outputs, finished; None where a number is not finite."""

    @abstractmethod
    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients | None:
        """The gradients of inputs, kernel and bias that are wanted; None where a number is not finite."""

    def __call__(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The outputs, as autograd's."""
        learns = inputs.requires_grad or kernel.requires_grad or (bias is not None and bias.requires_grad)
        if learns and torch.is_grad_enabled():
            return _Convolution.apply(self, inputs, kernel, bias)
        return self.outputs(inputs, kernel, bias)

    def outputs(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The outputs, whatever the numbers are."""
        outputs = self.forward(inputs, kernel, bias)
        return self.reference(inputs, kernel, bias) if outputs is None else outputs


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Kernel, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        outputs = plan.outputs(inputs, kernel, bias)
        ctx.plan = plan
        ctx.save_for_backward(inputs, kernel, bias, outputs if plan.keeps_outputs else None)
        return outputs

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> Any:
        (output_gradient,) = output_gradients
        inputs, kernel, bias, outputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        gradients = None
        if not torch.is_grad_enabled():
            gradients = ctx.plan.backward(output_gradient, inputs, kernel, outputs, wanted)
        if gradients is None:
            gradients = _reference_gradients(ctx.plan, output_gradient, (inputs, kernel, bias), wanted)
        return None, *gradients


def _reference_gradients(
    plan: Kernel, output_gradient: Tensor, operands: tuple[Tensor, Tensor, Tensor | None], wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients by torch's operations, which can be differentiated again."""
    with torch.enable_grad():
        # What is differentiated again must depend on the operands themselves: `view_as` hangs below them in the graph.
        parts = [None if part is None else part.view_as(part) for part in operands]
        outputs = plan.reference(*parts)  # type: ignore[arg-type]
    learnt: list[Any] = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
    found = iter(torch.autograd.grad(outputs, learnt, output_gradient, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if is_wanted else None for is_wanted in wanted)
