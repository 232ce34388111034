"""The learning rate of an optimizer: a number that can be set, a schedule, or a function."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
import torch

from triarch.optimizers.schedules import LearningRateSchedule
from triarch.variable import Variable


def is_function(value: Any) -> TypeGuard[Callable[..., Any]]:
    """Whether `value` gives the rate when called: a schedule or a function."""
    return callable(value) and not isinstance(value, torch.Tensor)


def checked_number(value: Any) -> float:
    """A learning rate as a float; ValueError where it is none."""
    if isinstance(value, (bool, str)) or not isinstance(value, (Real, np.generic, np.ndarray, torch.Tensor)):
        raise ValueError(
            "learning_rate must be a number, a LearningRateSchedule or a function without arguments. "
            f"Received: {value!r}"
        )
    if float(value) < 0:
        raise ValueError(f"learning_rate must not be negative. Received: {value!r}")
    return float(value)


class Rate:
    """What gives the learning rate (a 0-d variable, a schedule or a function without arguments), and its value."""

    def __init__(self, source: Variable | LearningRateSchedule | Callable[[], Any]) -> None:
        self.source = source

    def at(self, iterations: torch.Tensor) -> float:
        """The rate when so many steps are done."""
        source = self.source
        if isinstance(source, Variable):
            return source.item()
        return source.value_at(iterations) if isinstance(source, LearningRateSchedule) else float(source())

    def assign(self, value: Any) -> None:
        """Set the number; TypeError where the rate is none."""
        if not isinstance(self.source, Variable):
            raise TypeError(
                "The learning rate of this optimizer is a schedule or a function, so it cannot be set to a number. "
                f"Make the optimizer with a number as `learning_rate` to set it later. Received: {value!r}"
            )
        self.source.assign(checked_number(value))

    @property
    def argument(self) -> Any:
        """What to make an equal optimizer with: the present number, or the schedule or function."""
        return float(self.source) if isinstance(self.source, Variable) else self.source
