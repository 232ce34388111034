"""The hot operations of training: plans, found through a cache, and their execution."""

from triarch.kernels.convolution import convolve, kernel_memory_order, plan_convolution
from triarch.kernels.pooling import plan_pooling, pool
from triarch.kernels.windows import Window

__all__ = ["Window", "convolve", "kernel_memory_order", "plan_convolution", "plan_pooling", "pool"]
