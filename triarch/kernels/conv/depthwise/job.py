"""What a depthwise kernel is told: addresses, sizes and steps in numbers (not bytes), one record for both passes."""

from __future__ import annotations

import numpy as np

SUMS, TAPS = 8, 4  # vectors that are summed at a time: of places, and of taps for the kernel's gradient

AXES = ("row", "column")
BATCHES = ("inputs", "outputs", "output_gradient", "input_gradient")

_ADDRESSES = (
    *BATCHES,
    "kernel",  # (channels / lanes, rows of taps, columns of taps, lanes); backward turned round in both
    "kernel_sums",  # (threads, channels / lanes, rows of taps, taps_held, lanes)
    "bias",
    "bias_gradient",  # (threads, channels / lanes, lanes)
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("wants_input", "wants_kernel"),  # the gradients that are computed
    *("images", "channels"),
    "taps_held",  # columns of taps as a multiple of what is summed at a time
    "columns_held",  # columns of the output, or the input, as such a multiple
    *("plane_rows", "plane_columns"),  # of a channel vector's plane with its margins
    *("gradient_rows", "gradient_columns"),  # of the output's gradient, spread by the strides, with its margins
    "workspace_step",
)
_OF_AXES = ("size", "out", "taps", "stride", "dilation", "margin", "gradient_margin")
_NUMBERS = ("slope", "cap")  # of a rectifier; 1 and NaN where there is none

JOB = np.dtype(
    [(name, np.int64) for name in (*_ADDRESSES, *_SIZES)]
    + [(f"{name}_{axis}", np.int64) for name in _OF_AXES for axis in AXES]
    + [(f"{name}_{axis}", np.int64) for name in BATCHES for axis in ("image", *AXES)]
    + [(name, np.float64) for name in _NUMBERS]
)
