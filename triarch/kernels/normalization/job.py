"""What a normalisation's kernel is told: addresses, sizes in numbers, one record for all passes."""

from __future__ import annotations

import numpy as np

from triarch.kernels.conv.binding import ROWS_OF_NORMALIZATION

_ADDRESSES = (
    *("inputs", "residual", "outputs", "output_gradient", "input_gradient", "residual_gradient"),
    *ROWS_OF_NORMALIZATION,  # (length): of each channel, again and again
    "totals",  # (team, 2, repeats, channels) in float64
    "sums",  # (team, 2, length)
    *("gamma", "beta", "gamma_gradient", "beta_gradient"),  # (channels), or nowhere
    *("batch_mean", "batch_variance"),  # (channels)
    *("mean", "inverse"),  # (channels) in float64: of the batch, and the inverse of its deviation
    "moments",  # (2, channels) in float64, or nowhere
    "rows",  # (5, channels) in float64
    "verdict",  # one integer
)
_SIZES = ("count", "length", "channels", "repeats", "places", "team", "has_residual", "rectifies")

JOB = np.dtype([*((name, np.int64) for name in (*_ADDRESSES, *_SIZES)), ("epsilon", np.float64)])
