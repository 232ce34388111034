"""Localisation networks: from images to the parameters of a transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from triarch.layers.base import Layer
from triarch.layers.convolutional import Conv2D
from triarch.layers.core import Dense
from triarch.layers.pooling import MaxPooling2D
from triarch.layers.shaping import Flatten


class Localization(Layer):
    """Layers one after the other, the last of them dense, with as many units as there are parameters."""

    def __init__(self, members: list[Layer], count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = [*members, Dense(count, kernel_initializer="zeros", name="parameters")]

    def build(self, input_shape: Any) -> None:
        for member in self.members:
            member.build(input_shape)
            input_shape = member.compute_output_shape(input_shape)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        for member in self.members:
            inputs = member(inputs)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.members[-1].units)


def _convolutional() -> list[Layer]:
    """Two convolutions with poolings, and a hidden layer."""
    return [
        MaxPooling2D(),
        Conv2D(20, 5, padding="same", activation="relu"),
        MaxPooling2D(),
        Conv2D(20, 5, padding="same", activation="relu"),
        Flatten(),
        Dense(20, activation="relu"),
    ]


def _dense() -> list[Layer]:
    """Two hidden layers of 32 units."""
    return [Flatten(), Dense(32, activation="relu"), Dense(32, activation="relu")]


NETWORKS: dict[str, Callable[[], list[Layer]]] = {"cnn": _convolutional, "dense": _dense}
