"""Saving the model, or its weights, while it is trained."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from triarch.callbacks.monitoring import MonitorCallback
from triarch.callbacks.progress import print_message
from triarch.files.notes import noting, read_note
from triarch.tensors import whole_number


class ModelCheckpoint(MonitorCallback):
    """Saves the model after epochs, or after every so many batches.

    Args:
        filepath: Ends in `.keras`, or `.weights.h5` where `save_weights_only` is set. May hold `{epoch}` (counted from
            1), `{batch}` and the names of logs, with formats: `"runs/{epoch:02d}-{val_loss:.2f}.keras"`.
        save_best_only: Save only when the monitored value has improved. The file notes the value, so that a later
            training does not replace a better model; it says so when it finds one. To start anew, delete the file, or
            give the worst value as `initial_value_threshold`.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: The value to improve on at first, whatever the file's.
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
        self._has_threshold = initial_value_threshold is not None
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._epoch = 0
        self._last_batch: int | None = None
        self._batches_since_saving = 0
        self._known: set[str] = set()  # files of our own, and those whose notes were read

        if not isinstance(save_freq, str) or save_freq != "epoch":
            self.save_freq = whole_number(save_freq, "save_freq", least=1, instead="'epoch'")
        ending = ".weights.h5" if save_weights_only else ".keras"
        if not self.filepath.endswith(ending):
            raise ValueError(
                f"filepath must end in `{ending}` where save_weights_only is {save_weights_only}. "
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
        reason = self._reason_to_save(logs, path)
        if reason is None:
            self._say(epoch, f"{self.monitor} did not improve from {_shown(self.best)}")
            return
        self._say(epoch, f"{reason}saving model to {path}")
        note = {}
        if self.save_best_only and self._is_number(logs.get(self.monitor)):
            self.best = logs[self.monitor]
            note = {"monitor": self.monitor, "value": float(self.best)}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with noting(note):
            if self.save_weights_only:
                self.model.save_weights(path, overwrite=True)
            else:
                self.model.save(path, overwrite=True)
        self._known.add(path)
        self._say(epoch, f"finished saving model to {path}")

    def _say(self, epoch: int, message: str) -> None:
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: {message}")

    @staticmethod
    def _is_number(value: Any) -> bool:
        return value is not None and np.ndim(value) == 0

    def _reason_to_save(self, logs: Any, path: str) -> str | None:
        """Why the model is to be saved now, in words (possibly none); None where it is not."""
        if not self.save_best_only:
            return ""
        current = logs.get(self.monitor)
        if not self._is_number(current):
            kind = "is not available" if current is None else f"is no single number but {current!r}"
            warnings.warn(
                f"ModelCheckpoint is to save the best model only, but {self.monitor!r} {kind}; the model is saved. "
                f"Available are: {', '.join(logs)}",
                stacklevel=4,
            )
            return ""
        self._take_note(path)
        if math.isnan(current):
            warnings.warn(
                f"ModelCheckpoint is to save the best model only, and {self.monitor!r} is NaN; the model is not saved.",
                stacklevel=4,
            )
        if not self._is_improvement(current, self.best):
            return None
        return f"{self.monitor} improved from {_shown(self.best)} to {_shown(current)}, "

    def _take_note(self, path: str) -> None:
        """Let a file of an earlier training say what is to be improved on, unless the user did."""
        if path in self._known or self._has_threshold:
            return
        self._known.add(path)
        note = read_note(Path(path)) if Path(path).is_file() else {}
        value = note.get("value")
        if note.get("monitor") != self.monitor or not isinstance(value, float):
            return
        if self._is_improvement(value, self.best):
            self.best = value
            warnings.warn(
                f"{path} holds a model whose {self.monitor} was {value:.5g}, of an earlier training; ModelCheckpoint "
                "replaces it by a better one only. To start anew, delete the file, or give the worst value as "
                "`initial_value_threshold`.",
                stacklevel=5,
            )

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
