"""The progress bar: drawn over itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from triarch import config
from triarch.callbacks.base import Callback

_SECONDS_BETWEEN_LINES = 10.0  # where lines cannot be drawn over
_BOLD, _GREEN, _WHITE, _PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


def print_message(message: str, line_break: bool = True) -> None:
    """Write to standard output, or to the logger "triarch" where interactive logging is off."""
    if config.is_interactive_logging_enabled():
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = message.encode(encoding, errors="replace").decode(encoding)
        sys.stdout.write(f"{text}\n" if line_break else text)
        sys.stdout.flush()
    else:
        logging.getLogger("triarch").info(message.strip("\n"))


class Progbar:
    """Shows how far some work has come, with the time left and values.

    Args:
        target: The number of steps, or None where it is not known.
        width: Of the bar, in characters.
        verbose: 1 draws a bar, 2 writes one line at the end, 0 nothing.
        interval: Least time between two drawings, in seconds.
        stateful_metrics: Names of values that are shown as they come; others are averaged over the steps.
        stateless_metrics: Names of values that are averaged; others are shown as they come. Give one of the two only.
        unit_name: What a step is called.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of stateful_metrics and stateless_metrics can be given. Received: "
                f"stateful_metrics={stateful_metrics} and stateless_metrics={stateless_metrics}"
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.unit_name = unit_name
        self.stateful_metrics = None if stateful_metrics is None else set(stateful_metrics)
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._redraws = config.is_interactive_logging_enabled() and (sys.stdout.isatty() or "ipykernel" in sys.modules)
        self.interval = interval if self._redraws else max(interval, _SECONDS_BETWEEN_LINES)
        self._sums: dict[str, tuple[Any, int]] = {}  # name -> sum, count
        self._seen = 0
        self._start = time.perf_counter()
        self._after_first: float | None = None
        self._last_drawing = -np.inf if self._redraws else self._start
        self._drawn_width = 0

    def advance(self, current: int) -> bool:
        """Note that `current` steps are done; gives whether it is time to draw (then call `update`)."""
        now = time.perf_counter()
        if current == 1 and self._after_first is None:
            self._after_first = now
        return self.verbose == 1 and now - self._last_drawing >= self.interval

    def update(
        self, current: int, values: Iterable[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Show that `current` steps are done, with these named values; `finalize` ends the line."""
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            self._count_in(name, value, current, finalize)
        self._seen = current
        is_due = self.advance(current)
        if (finalize and self.verbose in (1, 2)) or is_due:
            if self.verbose == 1 and self._redraws:
                self._draw(current, finalize)
            else:
                print_message(self._line(current, finalize))
            self._last_drawing = time.perf_counter()

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Show that `n` more steps are done."""
        self.update(self._seen + n, values)

    def _count_in(self, name: str, value: Any, current: int, finalize: bool) -> None:
        if self.stateless_metrics is not None:
            is_averaged = name in self.stateless_metrics
        else:
            is_averaged = name not in (self.stateful_metrics or ())
        if not is_averaged or finalize:
            self._sums[name] = (value, 1)
        else:
            steps = max(current - self._seen, 1)
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value * steps, count + steps)

    def _draw(self, current: int, finalize: bool) -> None:
        count = self._count(current)
        text, width = (f"{_BOLD}{count}{_PLAIN}", len(count)) if self.target else (count, len(count))
        if self.target:
            done = min(int(self.width * current / self.target), self.width)
            symbol = _bar_symbol()
            text += f" {_GREEN}{symbol * done}{_PLAIN}{_WHITE}{symbol * (self.width - done)}{_PLAIN}"
            width += 1 + self.width
        seconds = self._step_seconds(current)
        elapsed = f"{time.perf_counter() - self._start:.0f}s"
        clock = _duration(seconds * (self.target - current)) if self.target and not finalize else elapsed
        tail = f" {self._per_step(seconds)}{self._values()}"
        if not finalize:  # a line that wraps cannot be drawn over
            tail = tail[: max(shutil.get_terminal_size().columns - width - len(clock) - 2, 0)]
        width += 1 + len(clock) + len(tail)
        text += f" {_BOLD}{clock}{_PLAIN}{tail}{' ' * (self._drawn_width - width)}"
        print_message("\r" + text, line_break=finalize)
        self._drawn_width = 0 if finalize else width

    def _line(self, current: int, finalize: bool) -> str:
        seconds = self._step_seconds(current)
        left = "" if finalize or not self.target else f" - {_duration(seconds * (self.target - current))} left"
        elapsed = f"{time.perf_counter() - self._start:.0f}s"
        return f"{self._count(current)} - {elapsed}{left} - {self._per_step(seconds)}{self._values()}"

    def _count(self, current: int) -> str:
        return f"{current:{len(str(self.target))}d}/{self.target}" if self.target else f"{current:7d}/Unknown"

    def _values(self) -> str:
        shown = ""
        for name, (total, count) in self._sums.items():
            mean = float(np.mean(total)) / max(1, count)
            shown += f" - {name}: {mean:.4f}" if abs(mean) > 1e-3 else f" - {name}: {mean:.4e}"
        return shown

    def _step_seconds(self, current: int) -> float:
        """Seconds a step, leaving out the first, which has to set things up."""
        if not current:
            return 0.0
        if self._after_first is not None and current > 1:
            return (time.perf_counter() - self._after_first) / (current - 1)
        return (time.perf_counter() - self._start) / current

    def _per_step(self, seconds: float) -> str:
        if seconds >= 1 or seconds == 0:
            return f"{seconds:.0f}s/{self.unit_name}"
        if seconds >= 1e-3:
            return f"{seconds * 1e3:.0f}ms/{self.unit_name}"
        return f"{seconds * 1e6:.0f}us/{self.unit_name}"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole > 60 else f"{whole}s"


def _bar_symbol() -> str:
    try:
        "━".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "="
    return "━"


class ProgbarLogger(Callback):
    """Shows the progress of `fit`, `evaluate` and `predict`; `fit` adds one by itself unless `verbose` is 0."""

    def __init__(self) -> None:
        self.verbose: Any = 1
        self.epochs = 1
        self.target: int | None = None
        self.seen = 0
        self.progbar = Progbar(None, verbose=0)
        self._is_fitting = False

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else verbose
        self.epochs = params.get("epochs") or 1
        self.target = params.get("steps")

    def on_train_begin(self, logs: Any = None) -> None:
        self._is_fitting = True

    def on_train_end(self, logs: Any = None) -> None:
        self._is_fitting = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.verbose and self.epochs > 1:
            print_message(f"Epoch {epoch + 1}/{self.epochs}")
        self._start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._finish(logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._show(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        if not self._is_fitting:  # a validation inside `fit` is silent
            self._start()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._is_fitting:
            self._show(batch, logs)

    def on_test_end(self, logs: Any = None) -> None:
        if not self._is_fitting:
            self._finish(logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._start()

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._show(batch, None)

    def on_predict_end(self, logs: Any = None) -> None:
        self._finish(None)

    def _start(self) -> None:
        self.seen = 0
        self.progbar = Progbar(self.target, verbose=self.verbose, interval=0.1, stateless_metrics=())

    def _show(self, batch: int, logs: Any) -> None:
        self.seen = batch + 1
        if self.progbar.advance(self.seen):
            self.progbar.update(self.seen, list(logs.items()) if logs else None, finalize=False)

    def _finish(self, logs: Any) -> None:
        if self.target is None:  # now it is known how many steps the data give
            self.target = self.progbar.target = self.seen
        self.progbar.update(self.seen or self.target or 0, list((logs or {}).items()), finalize=True)
