"""Callbacks that watch one value of the logs: early stopping, and a smaller learning rate on a plateau."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from triarch.callbacks.base import Callback
from triarch.callbacks.progress import print_message

_SIGNS = {"min": -1.0, "max": 1.0}  # times a value: more is better; 0: not yet known


class MonitorCallback(Callback):
    """Base class of callbacks that compare the value called `monitor` with the best so far.

    NaN is never an improvement, and never the best: the first number after it is.

    Args:
        mode: `"min"`, `"max"`, or `"auto"`: what the metric of that name says of itself (a loss is to be small).
        baseline: The value to improve on at first.
        min_delta: What counts as no improvement.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None, min_delta: float = 0
    ) -> None:
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__} takes mode 'auto' for unknown mode {mode!r}.", stacklevel=3)
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.best: Any = baseline
        self.min_delta = abs(min_delta)
        self._sign = _SIGNS.get(mode, 0.0)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._sign = _SIGNS.get(self.mode, 0.0)  # another model may count something else under this name

    def _is_improvement(self, value: Any, reference: Any) -> bool:
        if self._sign == 0:
            self._sign = self._find_sign()
        if math.isnan(value):
            return False
        if reference is None or math.isnan(reference):
            return True
        return self._sign * (float(value) - float(reference)) > self.min_delta

    def _find_sign(self) -> float:
        name = self.monitor.removeprefix("val_")
        for metric in _single_metrics(self.model):
            direction = getattr(metric, "_direction", None)
            if metric.name == name and direction is not None:
                return 1.0 if direction == "up" else -1.0
        if name == "loss":
            return -1.0
        raise ValueError(
            f"{type(self).__name__} cannot tell whether {self.monitor!r} should be large or small. Pass `mode='max'` "
            "or `mode='min'`."
        )

    def _monitored(self, logs: Any) -> Any:
        """The value to watch, or None with a warning where the logs have none.

        Raises:
            ValueError: it is no single number.
        """
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which is not available. Available are: "
                f"{', '.join(logs or {})}",
                stacklevel=3,
            )
        elif np.ndim(value) > 0:
            raise ValueError(
                f"{type(self).__name__} watches one number; {self.monitor!r} has {np.size(value)}. Received: {value!r}"
            )
        return value


def _single_metrics(model: Any) -> Iterator[Any]:
    for metric in getattr(model, "metrics", ()):
        yield metric
        yield from getattr(metric, "metrics", ())  # those of `compile` come as one


class EarlyStopping(MonitorCallback):
    """Stops training when the monitored value has not improved for `patience` epochs.

    Args:
        min_delta: A change of at most so much is no improvement.
        baseline: Waiting ends only with values better than this.
        restore_best_weights: At the end, go back to the weights of the best epoch; where the value was never a
            number, to those of the first epoch that was looked at.
        start_from_epoch: Epochs before this one are not looked at.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def on_train_begin(self, logs: Any = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_weights: list[np.ndarray] | None = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        current = self._monitored(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep_weights(epoch)
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best = current
            self._keep_weights(epoch)
            if self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print_message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print_message(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def _keep_weights(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when the monitored value has not improved for `patience` epochs.

    Args:
        cooldown: Epochs after a reduction in which nothing is counted.
        min_lr: The learning rate stays at or above this.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"factor must be less than 1: the learning rate is to shrink. Received: {factor!r}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def on_train_begin(self, logs: Any = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.best = None
        self.cooldown_counter = 0
        self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether the last reduction is less than `cooldown` epochs ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = self._monitored(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = float(self.model.optimizer.learning_rate)
        if old <= np.float32(self.min_lr):
            return
        new = max(old * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = new
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")
