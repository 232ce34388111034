"""What a recurrent network is to learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Pair = tuple[Array, Array]  # inputs and targets


class Task(ABC):
    """Data in parts for training, validation and a test, and a network for them.

    Args:
        name: Of the data.
        learning, validation, tests: Inputs and targets.
    """

    loss: Any
    metrics: tuple[str, ...] = ("accuracy",)
    epochs = 30

    def __init__(self, name: str, learning: Pair, validation: Pair, tests: Pair) -> None:
        self.name, self.learning, self.validation, self.tests = name, learning, validation, tests

    @abstractmethod
    def network(self, model: str) -> Any:
        """The network, not compiled."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """For the report: what the network takes and gives."""

    @abstractmethod
    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        """A headline, lines for the screen, and the scores for the report; pictures go to the folder."""
