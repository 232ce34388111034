"""What the kernel of the inputs' gradient is told: addresses, and sizes and steps in numbers (not bytes)."""

from __future__ import annotations

from triarch.kernels.conv.batches import record

AXES = ("row", "column")

_ADDRESSES = (
    "kernel",  # (channels, rows of taps, columns, filters_held), turned round
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("images", "channels", "filters"),
    "filters_held",  # as a multiple of a vector
    "columns_held",  # of the inputs, as a multiple of what is summed at a time, and of a vector
    *("plane_rows", "plane_columns"),  # of an image of the outputs' gradient with its margins
    "workspace_step",
)
_OF_AXES = ("size", "out", "taps", "dilation", "margin")

JOB = record(_ADDRESSES, _SIZES, _OF_AXES, AXES)
