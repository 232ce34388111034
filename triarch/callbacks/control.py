"""Callbacks that steer training from outside the logs' history."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

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
        if not isinstance(rate, Real) or isinstance(rate, bool):
            raise ValueError(f"The schedule must give a float. Received: {rate!r} for epoch {epoch}")
        optimizer.learning_rate = float(rate)
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


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite. It looks at the loss after every batch, which takes time.

    With `raise_error` that is a RuntimeError.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"The loss of batch {batch} is {loss}. Check the data for NaN; try a smaller learning rate or clipping."
            )
        print_message(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions: any hook's name may be an argument."""

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = [name for name in kwargs if name.startswith("on_") and not hasattr(Callback, name)]
        if unknown:
            raise TypeError(f"LambdaCallback knows no hook {', '.join(unknown)}; the hooks are methods of `Callback`.")
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        self.__dict__.update(kwargs, **{name: hook for name, hook in hooks.items() if hook is not None})


class SwapEMAWeights(Callback):
    """Puts the moving averages of the weights in their place for `evaluate`, `predict` and validations.

    The optimizer needs `use_ema=True`. With `swap_on_epoch` they are in place at the end of each epoch too, so that a
    `ModelCheckpoint` that comes after this callback saves them.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._averages_are_in_place = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put_averages_in_place(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put_averages_in_place(True)

    def on_train_end(self, logs: Any = None) -> None:
        self._averages_are_in_place = False  # the optimizer has made the averages the weights for good

    def on_test_begin(self, logs: Any = None) -> None:
        self._put_averages_in_place(True)

    def on_test_end(self, logs: Any = None) -> None:
        self._put_averages_in_place(False)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._put_averages_in_place(True)

    def on_predict_end(self, logs: Any = None) -> None:
        self._put_averages_in_place(False)

    def _put_averages_in_place(self, wanted: bool) -> None:
        if self._averages_are_in_place == wanted:
            return
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(f"SwapEMAWeights needs an optimizer with `use_ema=True`. Received: {optimizer!r}")
        optimizer.swap_averages()
        self._averages_are_in_place = wanted
