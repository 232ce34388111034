"""The forecast of a column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triarch import layers
from triarch.cli import pictures
from triarch.cli.output import CommandError, counted, listed, one_line, say
from triarch.cli.recurrent import stack
from triarch.cli.scaling import Scaling
from triarch.cli.tables import read_table
from triarch.cli.task import Array, Pair, Task
from triarch.models import Functional

_FEWEST_STEPS = 20  # of a series whose last fifth is forecast


class Forecast(Task):
    """The next steps of one column of a table, from the steps of all its columns of numbers before them."""

    loss, metrics = "mse", ()
    epochs = 40

    def __init__(self, path: Path, target: str | None, window: int | None, horizon: int) -> None:
        table = read_table(path, target)
        self.names, self.column, self.table, self.horizon = table.names, table.target, table.numbers, horizon
        steps = len(self.table)
        self.window = window or min(48, max(2, steps // 10))
        last_learnt, last_seen = int(0.7 * steps), int(0.8 * steps)
        if steps < _FEWEST_STEPS or self.window + horizon > min(last_learnt, steps - last_seen + self.window):
            raise CommandError(
                f"{str(path)!r} has {steps} steps, too few for windows of {self.window} and a horizon of {horizon}: "
                "the last fifth is held out for the test, and a tenth before it for validation."
            )
        self.scaling = Scaling.of(self.table[:last_learnt], str(path))
        self.first_test = last_seen - self.window
        parts = ((0, last_learnt), (last_learnt - self.window, last_seen), (self.first_test, steps))
        super().__init__(path.stem, *(self._windows(*part) for part in parts))
        say(one_line(f"{path.name}: {self.target}, forecast from {listed(self.names)} of {steps:,} steps"))

    @property
    def target(self) -> str:
        """The name of the column that is forecast."""
        return self.names[self.column]

    def _starts(self, first: int, end: int) -> Array:
        """Where the windows begin whose steps and whose targets lie in a part of the table."""
        return np.arange(first, end - self.window - self.horizon + 1)[:, None]

    def _windows(self, first: int, end: int) -> Pair:
        """Windows of a part, and their targets, scaled."""
        inputs = self.table[self._starts(first, end) + np.arange(self.window)]
        return self.scaling.taken(inputs), self.scaling.scaled(self._following(first, end), self.column)

    def _following(self, first: int, end: int) -> Array:
        """The steps of the column behind the windows of a part."""
        return self.table[self._starts(first, end) + self.window + np.arange(self.horizon), self.column]

    def network(self, model: str) -> Any:
        inputs = layers.Input((self.window, self.table.shape[1]))
        x = scaled = self.scaling.layer()(inputs)
        for layer in stack(model, units=64, dropout=0.1):
            x = layer(x)
        # What is learnt is the change from the last value, so levels that were never seen can be forecast.
        change = layers.Dense(self.horizon, kernel_initializer="zeros")(x)
        return Functional(inputs, change + scaled[:, -1, self.column : self.column + 1], name=model)

    def facts(self) -> dict[str, Any]:
        return {
            "task": "forecast",
            "target": self.target,
            "columns": self.names,
            "offsets": self.scaling.offset.tolist(),
            "window": self.window,
            "horizon": self.horizon,
            "mean": float(self.scaling.mean[self.column]),
            "deviation": float(self.scaling.deviation[self.column]),
        }

    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        part = self.first_test, len(self.table)
        truth, last = self._following(*part), self.table[self._starts(*part) + self.window - 1, self.column]
        found = self.scaling.restored(network.predict(self.tests[0], batch_size=256, verbose=0), self.column)
        errors = np.abs(found - truth).mean(0)  # of each step ahead
        error, naive = float(errors.mean()), float(np.abs(last - truth).mean())
        ahead, off = f"{counted(self.horizon, 'step')} ahead", f"off by {errors[-1]:.4g}"
        pictures.draw_forecast(
            folder / "forecast.png",
            truth[:, -1],
            found[:, -1],
            self.target,
            f"{self.target}, {ahead}: {off}",
        )
        lines = [("the last value", f"off by {naive:.4g}, taken for the next ones"), ("forecasts", f"{len(truth):,}")]
        lines = [(ahead, off), *lines] if self.horizon > 1 else lines
        scores = {
            "mean_absolute_error": error,
            "of_each_step_ahead": errors.tolist(),
            "of_the_last_value": naive,
            "forecasts": len(truth),
        }
        return f"Mean absolute error {error:.4g}", lines, scores
