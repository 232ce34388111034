"""What a normalisation's kernel is told: addresses, sizes in numbers, one record for all passes."""

from __future__ import annotations

import numpy as np

OF_CHANNELS = ("centre", "scale", "slope", "shift", "offset")  # (length): of each channel, again and again

_ADDRESSES = (
    *("inputs", "residual", "outputs", "output_gradient", "input_gradient", "residual_gradient"),
    *OF_CHANNELS,
    "totals",  # (threads, 2, length) in float64
    "sums",  # (threads, 2, length)
)
_SIZES = ("count", "length", "has_residual", "rectifies")

JOB = np.dtype([(name, np.int64) for name in (*_ADDRESSES, *_SIZES)])
