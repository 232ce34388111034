"""MNIST: handwritten digits. Y. LeCun, C. Cortes, C. J. C. Burges, CC BY-SA 3.0."""

from __future__ import annotations

import numpy as np

from triarch.datasets import originals

Arrays = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Arrays, Arrays]:
    """60,000 training and 10,000 test images `(28, 28)`, grey values 0..255, and digits 0..9; all `uint8`."""
    x_train, y_train, x_test, y_test = (
        originals.read_idx("mnist", row) for row in originals.SOURCES["mnist"].originals
    )
    return (x_train, y_train), (x_test, y_test)
