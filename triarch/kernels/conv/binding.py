"""The one way in which a kernel of a convolution becomes an operation that torch differentiates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.conv.spec import ConvSpec

ROWS_OF_NORMALIZATION = ("centre", "scale", "slope", "shift", "offset")  # a number of each for each filter


class Passes(NamedTuple):
    """The names of the kernels of a method, forward and backward."""

    forward: str
    backward: str


PLAIN = Passes("forward", "backward")
NORMALIZING = Passes("forward_and_sum", "backward_through_normalization")  # with a part of the outputs' normalisation

Numbers = np.ndarray[Any, Any]
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

    def reference_gradients(
        self, output_gradient: Tensor, operands: tuple[Tensor, Tensor, Tensor | None], wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        """The gradients by torch's operations, which can be differentiated again."""
        with torch.enable_grad():
            # What is differentiated again must depend on the operands: `view_as` hangs below them in the graph.
            parts = [None if part is None else part.view_as(part) for part in operands]
            outputs = self.reference(*parts)  # type: ignore[arg-type]
        learnt: list[Any] = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
        found = iter(torch.autograd.grad(outputs, learnt, output_gradient, create_graph=torch.is_grad_enabled()))
        return tuple(next(found) if is_wanted else None for is_wanted in wanted)


class NormalizingKernel(Kernel):
    """A kernel that can do a part of the normalisation of its outputs while it has them at hand."""

    spec: ConvSpec

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the outputs that it makes."""
        return (self.spec.batch, *self.spec.output_sizes, self.spec.filters)

    @abstractmethod
    def forward(
        self, inputs: Tensor, kernel: Tensor, bias: Tensor | None, moments: Numbers | None = None
    ) -> Tensor | None:
        """The outputs; None where a number is not finite.

        Args:
            moments: `(2, filters)` in double precision: gets the sums of the outputs and of their squares.
        """

    @abstractmethod
    def backward(
        self,
        output_gradient: Tensor,
        inputs: Tensor,
        kernel: Tensor,
        outputs: Tensor | None,
        wanted: tuple[bool, ...],
        normalization: Numbers | None = None,
    ) -> Gradients | None:
        """The gradients of inputs, kernel and bias that are wanted; None where a number is not finite.

        Args:
            normalization: `(5, filters)`: rows of centre, scale, slope, shift and offset. Then the output gradient is
                that of the normalised outputs, `g`, and that of the outputs `y` themselves is
                `scale * g + slope * (y - centre) + shift`, with 0 for g where `(y - centre) * scale + offset <= 0`.
        """


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
            gradients = ctx.plan.reference_gradients(output_gradient, (inputs, kernel, bias), wanted)
        return None, *gradients
