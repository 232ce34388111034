"""Saving the model, or its weights, while it is trained."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from triarch.callbacks.monitoring import MonitorCallback
from triarch.callbacks.progress import print_message


class ModelCheckpoint(MonitorCallback):
    """Saves the model after epochs, or after every so many batches.

    Args:
        filepath: Ends in `.keras` (or `.h5`), or `.weights.h5` where `save_weights_only` is set. May hold `{epoch}`
            (counted from 1), `{batch}` and the names of logs, with formats: `"runs/{epoch:02d}-{val_loss:.2f}.keras"`.
        save_best_only: Save only when the monitored value has improved.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: The value to improve on at first.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._epoch = 0
        self._last_batch: int | None = None
        self._batches_since_saving = 0

        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"save_freq must be 'epoch' or a number of batches. Received: {save_freq!r}")
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5", ".hdf5")
        if not self.filepath.endswith(endings) or self.filepath.endswith(".weights.h5") != save_weights_only:
            raise ValueError(
                f"filepath must end in `{endings[0]}` where save_weights_only is {save_weights_only}. "
                f"Received: {self.filepath!r}"
            )
        list(Formatter().parse(self.filepath))  # a ValueError for braces that do not match

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            return
        is_new_epoch = self._last_batch is None or batch <= self._last_batch
        self._batches_since_saving += batch + 1 if is_new_epoch else batch - self._last_batch  # type: ignore[operator]
        self._last_batch = batch
        if self._batches_since_saving >= self.save_freq:  # type: ignore[operator]
            self._batches_since_saving = 0
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _save(self, epoch: int, batch: int | None, logs: Any) -> None:
        logs = {} if logs is None else logs
        path = self._path(epoch, batch, logs)
        reason = self._reason_to_save(logs)
        if reason is None:
            self._say(epoch, f"{self.monitor} did not improve from {_shown(self.best)}")
            return
        self._say(epoch, f"{reason}saving model to {path}")
        if self.save_best_only and self.monitor in logs:
            self.best = logs[self.monitor]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        self._say(epoch, f"finished saving model to {path}")

    def _say(self, epoch: int, message: str) -> None:
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: {message}")

    def _reason_to_save(self, logs: Any) -> str | None:
        """Why the model is to be saved now, in words (possibly none); None where it is not."""
        if not self.save_best_only:
            return ""
        current = logs.get(self.monitor)
        if current is None or np.ndim(current) > 0:
            kind = "is not available" if current is None else f"is no single number but {current!r}"
            warnings.warn(
                f"ModelCheckpoint is to save the best model only, but {self.monitor!r} {kind}; the model is saved. "
                f"Available are: {', '.join(logs)}",
                stacklevel=4,
            )
            return ""
        if not self._is_improvement(current, self.best):
            return None
        return f"{self.monitor} improved from {_shown(self.best)} to {_shown(current)}, "

    def _path(self, epoch: int, batch: int | None, logs: Any) -> str:
        names = {field.partition("!")[0] for _, field, _, _ in Formatter().parse(self.filepath) if field is not None}
        values: dict[str, Any] = {"epoch": epoch + 1}
        if batch is not None:
            values["batch"] = batch + 1
        missing = sorted(name for name in names - values.keys() if name not in logs)
        if missing:
            raise KeyError(
                f"The filepath {self.filepath!r} of ModelCheckpoint names {', '.join(missing)}, which the logs do not "
                f"have. Available are: {', '.join([*values, *logs])}"
            )
        return self.filepath.format(**values, **{name: logs[name] for name in names - values.keys()})


def _shown(value: Any) -> str:
    return "None" if value is None else f"{value:.5f}"
