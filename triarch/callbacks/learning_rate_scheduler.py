"""Setting the learning rate by the epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch

from triarch.callbacks.base import Callback
from triarch.callbacks.progress import print_message


class LearningRateScheduler(Callback):
    """Before each epoch sets the learning rate to `schedule(epoch, learning_rate)`, or `schedule(epoch)`."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two_arguments(schedule)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        if not hasattr(optimizer, "learning_rate"):
            raise ValueError(f"The optimizer must have a `learning_rate`. Received: {optimizer!r}")
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate else self.schedule(epoch)
        is_number = isinstance(rate, Real) or (isinstance(rate, (np.ndarray, torch.Tensor)) and rate.ndim == 0)
        if not is_number or isinstance(rate, bool) or not 0 <= float(rate) < math.inf:
            raise ValueError(
                f"The schedule must give a float that is finite and not negative. Received: {rate!r} for epoch {epoch}"
            )
        rate = float(rate)
        optimizer.learning_rate = rate
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two_arguments(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    return True
