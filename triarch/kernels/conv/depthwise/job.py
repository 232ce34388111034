"""What a depthwise kernel is told: addresses, sizes and steps in numbers (not bytes), one record for both passes."""

from __future__ import annotations

from triarch.kernels.conv.batches import record, rounded_up

MANY, FEW = 8, 4  # vectors that are summed at a time: as many as the processor can have under way, or half of them

AXES = ("row", "column")

_ADDRESSES = (
    "kernel",  # (channels / lanes, a row of zeros and rows of taps and one of zeros, columns, lanes); backward turned
    "kernel_sums",  # (threads, channels / lanes, rows of taps, taps_held, lanes)
    "bias",
    "bias_gradient",  # (threads, channels / lanes, lanes)
    "check",  # (threads, lanes), which nobody looks at: the sums are direct
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

JOB = record(_ADDRESSES, _SIZES, _OF_AXES, AXES)


def is_in_pairs(taps_row: int, dilation_row: int) -> bool:
    """Whether two rows of sums are computed at a time: what their row of zeros costs must be little."""
    return taps_row >= 5 and dilation_row == 1


def taps_held(taps_column: int) -> int:
    """The columns of taps as a multiple of those that are summed at a time."""
    return rounded_up(taps_column, FEW if taps_column <= FEW else MANY)
