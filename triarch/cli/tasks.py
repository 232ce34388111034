"""The task that `--data` sets a recurrent network, by the kind of its file."""

from __future__ import annotations

from pathlib import Path

from triarch.cli.data import BUILT_IN
from triarch.cli.forecast import Forecast
from triarch.cli.letters import Letters
from triarch.cli.output import CommandError
from triarch.cli.series import classes_of_images, classes_of_ts
from triarch.cli.task import Task


def task_of(data: str, target: str | None, window: int | None, horizon: int, sample: int) -> Task:
    """The classes of series, a forecast, or the letters of a text."""
    path = Path(data).expanduser()
    kind = path.suffix.lower() if data not in BUILT_IN else ""
    if target is not None and kind != ".csv":
        raise CommandError(f"--target is for the columns of a .csv file. Received: --data {data!r}")
    if kind in (".csv", ".txt", ".ts") and not path.is_file():
        raise CommandError(f"The file {data!r} does not exist.")
    if kind == ".csv":
        return Forecast(path, target, window, horizon)
    if kind == ".txt":
        return Letters(path, window, sample)
    return classes_of_ts(path) if kind == ".ts" else classes_of_images(data)
