"""The moving averages of the weights in their place."""

from __future__ import annotations

from typing import Any

from triarch.callbacks.base import Callback


class SwapEMAWeights(Callback):
    """Puts the moving averages of the weights in their place for `evaluate`, `predict` and validations.

    The optimizer needs `use_ema=True`. With `swap_on_epoch` they are in place at the end of each epoch too, so that a
    `ModelCheckpoint` that comes after this callback saves them.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put_averages_in_place(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.swap_on_epoch:
            self._put_averages_in_place(True)

    def on_test_begin(self, logs: Any = None) -> None:
        self._put_averages_in_place(True)

    def on_test_end(self, logs: Any = None) -> None:
        self._put_averages_in_place(False)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._put_averages_in_place(True)

    def on_predict_end(self, logs: Any = None) -> None:
        self._put_averages_in_place(False)

    def _put_averages_in_place(self, wanted: bool) -> None:
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(f"SwapEMAWeights needs an optimizer with `use_ema=True`. Received: {optimizer!r}")
        if optimizer.averages_are_in_place != wanted:
            optimizer.swap_averages()
