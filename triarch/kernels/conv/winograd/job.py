"""What a Winograd kernel is told: addresses, sizes and steps in numbers (not bytes), one record for all passes."""

from __future__ import annotations

import numpy as np

AXES = ("row", "column")
BATCHES = ("inputs", "outputs", "output_gradient", "input_gradient")

TABLES = 4  # of a thread

_ADDRESSES = (
    *BATCHES,  # (images, rows, columns, channels or filters)
    "kernel",  # (filters, *sizes, channels)
    "kernel_gradient",
    "products",  # of kernels: a point's panels one after the other
    "bias",  # (filters)
    "bias_gradient",  # (threads, filters)
    "kernel_sums",  # (threads, points, filters, channels)
    "moments",  # (threads, 2, filters) in float64: sums of outputs and of their squares
    "normalization",  # (2, 5, filters): of outputs, and one that changes nothing
    "workspace",  # (threads, workspace_step)
    "tables",  # (threads, TABLES, points) of integers: where the places of tiles lie
    "check",  # (threads, lanes): NaN where a number was not finite
)
_SIZES = (
    *("images", "height", "width", "channels", "out_height", "out_width", "filters"),
    *("channels_held", "filters_held"),  # as multiples of a tile's columns
    *("top", "left"),  # margins of zeros before the first row and column
    *("tile_rows", "tile_columns"),  # tiles of an image
    *("wants_input", "wants_kernel"),  # the gradients that are computed
    *("chunk", "workspace_step"),  # tiles that a thread works on at a time; numbers of its workspace
)
_STEPS = tuple(f"{name}_{axis}" for name in BATCHES for axis in ("image", *AXES))
_NUMBERS = ("slope", "cap")  # of a rectifier; 1 and NaN where there is none

JOB = np.dtype(
    [(name, np.int64) for name in (*_ADDRESSES, *_SIZES, *_STEPS)] + [(name, np.float64) for name in _NUMBERS]
)
