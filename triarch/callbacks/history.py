"""What was reported, epoch by epoch."""

from __future__ import annotations

from typing import Any

from triarch.callbacks.base import Callback


class History(Callback):
    """Keeps the logs of every epoch: `history` has a list of values for each name, `epoch` the epochs' numbers."""

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self
