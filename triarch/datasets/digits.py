"""Optical recognition of handwritten digits; comes with the package.

E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0: the 1,797 test images of
the original, 4x4 blocks of 32x32 bitmaps counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_FILE = Path(__file__).with_name("digits.npz")

Arrays = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Arrays, Arrays]:
    """1,438 training and 359 test images `(8, 8)`, values 0..16, and digits 0..9; all `uint8`.

    The test part is a fixed fifth of every class: its 3rd, 8th, 13th, ... image in the order of the original file.
    """
    with np.load(_FILE) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[2::5]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])
