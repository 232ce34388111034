"""Convolution in training: several methods with gradients of their own, and the choice among them."""

from triarch.kernels.conv.choice import expected_calls, expecting, explain, method_in_use, use
from triarch.kernels.conv.operation import convolve, kernel_memory_order, plan_for
from triarch.kernels.conv.spec import ConvSpec

__all__ = [
    "ConvSpec",
    "convolve",
    "expected_calls",
    "expecting",
    "explain",
    "kernel_memory_order",
    "method_in_use",
    "plan_for",
    "use",
]
