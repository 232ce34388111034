"""The networks that `--model` names."""

from __future__ import annotations

from collections.abc import Callable

from triarch import layers
from triarch.models import Sequential

_FIRST_FILTERS = 32
_MOST_FILTERS = 128


_Network = Callable[[tuple[int, int, int], int, tuple[float, float]], Sequential]


def cnn(shape: tuple[int, int, int], classes: int, value_range: tuple[float, float]) -> Sequential:
    """Pairs of 3x3 convolutions, each pair before a pooling that halves the image, down to a side below 8 pixels.

    The network takes pixels as they are in the data and scales `value_range` to 0..1 itself.
    """
    lowest, highest = value_range
    scale = 1 / (highest - lowest)
    stack = [layers.Input(shape), layers.Rescaling(scale, offset=-lowest * scale)]
    filters, side = _FIRST_FILTERS, min(shape[:2])
    while side >= 8 and filters <= _MOST_FILTERS:
        stack += [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        stack += [layers.MaxPooling2D()]
        filters, side = 2 * filters, side // 2
    stack += [
        layers.Conv2D(min(filters, _MOST_FILTERS), 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(classes, activation="softmax"),
    ]
    return Sequential(stack, name="cnn")


NETWORKS: dict[str, _Network] = {"cnn": cnn}
