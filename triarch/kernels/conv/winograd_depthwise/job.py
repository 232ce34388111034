"""What a depthwise kernel of tiles is told: addresses, sizes and steps in numbers, one record for both passes."""

from __future__ import annotations

from triarch.kernels.conv.batches import record

TILE, CHUNK = 4, 4  # outputs of a tile, and taps of a chunk: F(4, 4)
POINTS = TILE + CHUNK - 1

AXES = ("row", "column")

_ADDRESSES = (
    "kernel",  # (channels / lanes, points, a row of zeros and rows of taps and one of zeros, chunks, lanes)
    "kernel_sums",  # (threads, channels / lanes, points, rows of taps, chunks_held, lanes)
    "bias",
    "bias_gradient",  # (threads, channels / lanes, lanes)
    "check",  # (threads, lanes): zero, and NaN as soon as an output was not finite
    "workspace",  # (threads, workspace_step)
)
_SIZES = (
    *("wants_input", "wants_kernel"),  # the gradients that are computed
    *("images", "channels"),
    "in_pairs",  # whether two rows of sums are computed at a time
    *("chunks", "chunks_held"),  # of a row of taps, and these as a multiple of what is summed at a time
    *("tiles", "tiles_seen"),  # of a row of outputs, as such a multiple, and of a row that these see
    *("gradient_tiles", "gradient_tiles_seen"),  # the same of a row of the input's gradient
    "line",  # places of a row with its margins
    "workspace_step",
)
_OF_AXES = ("size", "out", "taps", "margin", "gradient_margin")

JOB = record(_ADDRESSES, _SIZES, _OF_AXES, AXES)
