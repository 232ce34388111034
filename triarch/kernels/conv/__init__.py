"""Convolution in training: several methods with gradients of their own, and the choice among them."""

from triarch.kernels.conv.choice import expecting, explain, use
from triarch.kernels.conv.operation import convolve, kernel_memory_order
from triarch.kernels.conv.spec import ConvSpec

__all__ = ["ConvSpec", "convolve", "expecting", "explain", "kernel_memory_order", "use"]
