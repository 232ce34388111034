"""What a depthwise kernel is told: addresses, sizes and steps in numbers (not bytes), one record for both passes."""

from __future__ import annotations

import numpy as np

SUMS = 8  # vectors that are summed at a time, of places; half as many in each of two rows
FEW_TAPS, MANY_TAPS = 4, 8  # the same of taps, for the kernel's gradient

AXES = ("row", "column")
BATCHES = ("inputs", "outputs", "output_gradient", "input_gradient")

_ADDRESSES = (
    *BATCHES,
    "kernel",  # (channels / lanes, a row of zeros and rows of taps and one of zeros, columns, lanes); backward turned
    "kernel_sums",  # (threads, channels / lanes, rows of taps, taps_held, lanes)
    "bias",
    "bias_gradient",  # (threads, channels / lanes, lanes)
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("wants_input", "wants_kernel"),  # the gradients that are computed
    *("images", "channels"),
    "in_pairs",  # whether two rows of sums are computed at a time
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


def is_in_pairs(taps_row: int, dilation_row: int) -> bool:
    """Whether two rows of sums are computed at a time: what their row of zeros costs must be little."""
    return taps_row >= 5 and dilation_row == 1


def taps_held(taps_column: int) -> int:
    """The columns of taps as a multiple of those that are summed at a time."""
    number = FEW_TAPS if taps_column <= FEW_TAPS else MANY_TAPS
    return -(-taps_column // number) * number
