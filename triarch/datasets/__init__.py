"""Data sets for learning and testing; each module's `load_data()` gives `(x_train, y_train), (x_test, y_test)`."""

from triarch.datasets import cifar10, digits, fashion_mnist, mnist
from triarch.datasets.distorted import DistortedImages, Distortion, cluttered, digit_addition, distort

__all__ = [
    "DistortedImages",
    "Distortion",
    "cifar10",
    "cluttered",
    "digit_addition",
    "digits",
    "distort",
    "fashion_mnist",
    "mnist",
]
