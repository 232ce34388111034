"""What the kernels of sampling are told: addresses, sizes in numbers, and how places become pixels."""

from __future__ import annotations

import numpy as np

TAPS = 4  # of an axis, at most

_FIELDS = (
    "images",  # (batch, height, width, channels)
    "places",  # (batch, out_height, out_width, 2): x and y
    "outputs",  # (batch, out_height, out_width, channels)
    "output_gradient",  # as the outputs
    *("images_gradient", "places_gradient"),  # as images and places; may be 0
    *("batch", "height", "width", "channels", "out_height", "out_width"),
    *("pixels", "weights", "slopes"),  # working memory of each thread: two axes of taps
)
JOB = np.dtype([(name, np.int64) for name in _FIELDS])
