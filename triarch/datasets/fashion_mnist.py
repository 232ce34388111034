"""Fashion-MNIST: clothes. H. Xiao, K. Rasul, R. Vollgraf (Zalando SE), MIT licence."""

from __future__ import annotations

import numpy as np

from triarch.datasets import originals

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

Arrays = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Arrays, Arrays]:
    """60,000 training and 10,000 test images `(28, 28)`, grey values 0..255, and classes 0..9; all `uint8`."""
    rows = originals.SOURCES["fashion_mnist"].originals
    x_train, y_train, x_test, y_test = (originals.read_idx("fashion_mnist", row) for row in rows)
    return (x_train, y_train), (x_test, y_test)
