"""Data sets for learning and testing; each module's `load_data()` gives `(x_train, y_train), (x_test, y_test)`."""

from triarch.datasets import cifar10, digits, fashion_mnist, mnist

__all__ = ["cifar10", "digits", "fashion_mnist", "mnist"]
