"""What a kernel of patches is told: addresses, sizes and steps in numbers (not bytes), one record for all passes.

Every batch is one of volumes: images have one plane, series one row as well.
"""

from __future__ import annotations

from triarch.kernels.conv.batches import record

AXES = ("plane", "row", "column")

_ADDRESSES = (
    "kernel",  # forward (filters / panel, depth, panel), backward (depth / panel, filters, panel)
    "kernel_sums",  # (threads, filters in whole tiles, depth_held)
    "bias",
    "bias_gradient",  # (threads, filters_held)
    "moments",  # (threads, 2, filters_held) in float64: sums of outputs and of their squares
    "normalization",  # (5, filters_held)
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("wants_input", "wants_kernel"),  # the gradients that are computed
    *("images", "channels", "filters"),
    *("depth", "depth_held"),  # numbers of a patch, and these as a multiple of a tile's columns; so is filters_held
    "filters_held",
    *("chunk", "workspace_step"),  # places that a thread works on at a time; numbers of its workspace
)
_OF_AXES = ("size", "out", "taps", "stride", "dilation", "margin")

JOB = record(_ADDRESSES, _SIZES, _OF_AXES, AXES)
