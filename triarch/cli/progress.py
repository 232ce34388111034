"""Training before one's eyes: a line an epoch, and on a terminal a bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from triarch.callbacks import Callback
from triarch.cli.output import console, duration

_INTERVAL = 0.2  # seconds between two looks at the metrics, which make the host wait for the device


class EpochLines(Callback):
    """Writes a line after each epoch and keeps what it says as `rows`; use as a context round `fit`."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.rows: list[dict[str, float]] = []
        self.console = console()
        self._start = 0.0

    def __enter__(self) -> EpochLines:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        seconds = time.perf_counter() - self._start
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values, "seconds": round(seconds, 3)})
        count = str(epoch + 1).rjust(len(str(self.epochs)))
        self.console.print(Text(f"epoch {count}/{self.epochs}  {_both(values)}  {_brief(seconds)}"))


class EpochBar(EpochLines):
    """`EpochLines` above a bar that shows the whole training, its time left and the metrics so far."""

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__(epochs)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f} %"),
            _TimeLeft(),
            TextColumn("{task.fields[metrics]}", style="dim"),
            console=self.console,
            expand=True,
            transient=True,
        )
        self.bar = self.progress.add_task("epoch 1", total=epochs * steps, metrics="")
        self._last_look = 0.0

    def __enter__(self) -> EpochBar:
        self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self.progress.update(self.bar, description=f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.progress.advance(self.bar)
        now = time.monotonic()
        if now - self._last_look > _INTERVAL:
            self._last_look = now
            self.progress.update(self.bar, metrics=_described({k: float(v) for k, v in (logs or {}).items()}))


@contextmanager
def reading_bar(count: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, a bar while so many images are read; what it gives is told how many more have been."""
    progress = Progress(
        TextColumn("reading {task.total:,} images"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:3.0f} %"),
        _TimeLeft(),
        console=console(),
        expand=True,
        transient=True,
        disable=not console().is_terminal,
    )
    bar = progress.add_task("", total=count)
    with progress:
        yield partial(progress.advance, bar)


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.time_remaining
        if seconds is None:
            return Text()
        return Text(f"{seconds:.0f} s left" if seconds < 60 else f"{duration(seconds)} left", style="cyan")


def _both(values: Mapping[str, float]) -> str:
    """Loss, and accuracy if there is one, in training and validation; short enough for a terminal of 80 columns."""
    validation = [_six(values["val_loss"])]
    if "val_accuracy" in values:
        validation.append(_percent(values["val_accuracy"]))
    return f"{_described(values)}  val {'  '.join(validation)}"


def _described(values: Mapping[str, float]) -> str:
    loss = f"loss {_six(values['loss'])}"
    return f"{loss}  accuracy {_percent(values['accuracy'])}" if "accuracy" in values else loss


def _six(value: float) -> str:
    """The number in six characters; 1.49824 -> `1.4982`, 12.34567 -> `12.346`."""
    return f"{value:.4f}" if abs(value) < 9.99995 else f"{value:6.5g}"


def _percent(share: float) -> str:
    return f"{100 * share:6.2f} %"


def _brief(seconds: float) -> str:
    return f"{seconds:5.1f} s" if seconds < 1000 else f"{seconds / 60:3.0f} min"
