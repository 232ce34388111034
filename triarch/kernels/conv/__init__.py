"""Convolution in training: several methods with gradients of their own, and the choice among them."""

from triarch.kernels.conv.choice import candidates, expecting, use
from triarch.kernels.conv.operation import convolve, kernel_memory_order
from triarch.kernels.conv.spec import ConvSpec

__all__ = ["ConvSpec", "candidates", "convolve", "expecting", "kernel_memory_order", "use"]
