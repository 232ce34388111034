"""Logs as a table in a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from triarch.callbacks.base import Callback


class CSVLogger(Callback):
    """Writes the logs of each epoch as a row of a CSV file, at once; values that are missing are `NA`.

    The columns are those of the first epoch, sorted, and their validation values. `append` goes on with a file that
    exists, in its columns.

    Raises:
        ValueError: the file to go on with has other columns; it stays as it is.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = os.fspath(filename)
        self.sep = separator
        self.append = append
        self.keys: list[str] | None = None
        self._file: IO[str] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._close()
        self.keys = self._kept_columns() if self.append else None
        path = Path(self.filename)
        self._file = path.open("a" if self.append else "w", newline="", encoding="utf-8")
        self._is_checked = self.keys is None

    def _kept_columns(self) -> list[str] | None:
        """The columns of the file to go on with, without that of the epochs; None where there is nothing in it."""
        path = Path(self.filename)
        if not path.exists() or path.stat().st_size == 0:
            return None
        with path.open("r+", newline="", encoding="utf-8") as file:
            header = next(csv.reader(file, delimiter=self.sep))
            if header[:1] != ["epoch"]:
                raise ValueError(
                    f"A file of logs starts with the names of its columns, `epoch` first. Received: {self.filename!r} "
                    f"with {header}"
                )
            lines = path.read_bytes()
            if not lines.endswith(b"\n"):  # its writer was stopped in the middle of a row
                file.seek(0, os.SEEK_END)
                file.write("\r\n")
        return header[1:]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._file is None:
            raise RuntimeError("CSVLogger has no open file: `on_train_begin` must be called before `on_epoch_end`.")
        logs = {} if logs is None else logs
        writer = csv.writer(self._file, delimiter=self.sep)
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]
            writer.writerow(["epoch", *self.keys])
        if not self._is_checked:
            self._is_checked = True
            if unknown := sorted(set(logs) - set(self.keys)):
                raise ValueError(
                    f"The logs have values without a column in {self.filename!r}: {unknown}. Choose another file, or "
                    f"append=False to write it anew. Received: logs {sorted(logs)} for the columns {self.keys}"
                )
        writer.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
        self._file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _cell(value: Any) -> Any:
    if not isinstance(value, str) and np.ndim(value) > 0:
        return f'"[{", ".join(map(str, value))}]"'
    return value
