"""The hot operations of training: plans, found through a cache, and their execution."""

from triarch.kernels.conv import (
    ConvSpec,
    convolve,
    expected_calls,
    expecting,
    explain,
    kernel_memory_order,
    method_in_use,
    plan_for,
    use,
)
from triarch.kernels.native.allocator import keep_memory
from triarch.kernels.pooling import plan_pooling, pool
from triarch.kernels.rectifier import Rectifier
from triarch.kernels.sampling import affine_grid, grid_sample, projective_grid, tps_grid
from triarch.kernels.windows import Window

__all__ = [
    "ConvSpec",
    "Rectifier",
    "Window",
    "affine_grid",
    "convolve",
    "expected_calls",
    "expecting",
    "explain",
    "grid_sample",
    "keep_memory",
    "kernel_memory_order",
    "method_in_use",
    "plan_for",
    "plan_pooling",
    "pool",
    "projective_grid",
    "tps_grid",
    "use",
]
