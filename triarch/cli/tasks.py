"""What recurrent networks learn of `--data`: the classes of series, a forecast, or the letters of a text."""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triarch import layers, losses, utils
from triarch.cli import pictures
from triarch.cli.data import BUILT_IN, load
from triarch.cli.output import CommandError, percent, say
from triarch.cli.parts import every
from triarch.cli.recurrent import stack
from triarch.cli.results import Scores
from triarch.datasets.ts_files import load_ts
from triarch.files import atomic_write
from triarch.models import Functional, Sequential

Array = np.ndarray[Any, Any]
_FEWEST_STEPS = 20  # of a series whose last fifth is forecast


class Task(ABC):
    """Data in parts for training and validation, a network for them, and a test.

    Args:
        name: Of the data.
        learning, validation: Inputs and targets.
    """

    loss: Any
    metrics: tuple[str, ...] = ("accuracy",)
    epochs = 30
    rate = 2e-3

    def __init__(self, name: str, learning: tuple[Array, Array], validation: tuple[Array, Array]) -> None:
        self.name, self.learning, self.validation = name, learning, validation

    @abstractmethod
    def network(self, model: str) -> Any:
        """The network, not compiled."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """For the report: what the network takes and gives."""

    @abstractmethod
    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        """A headline, lines for the screen, and the scores for the report; pictures go to the folder."""


class Classes(Task):
    """Series of classes, of different lengths."""

    loss = "sparse_categorical_crossentropy"

    def __init__(
        self,
        name: str,
        series: list[Array],
        labels: Array,
        tests: list[Array],
        test_labels: Array,
        names: tuple[str, ...],
    ) -> None:
        together = np.concatenate(series)
        self.class_names, self.dimensions = names, together.shape[1]
        self.length = max(len(own) for own in series + tests)
        if not np.isfinite(together).all() or not all(np.isfinite(own).all() for own in tests):
            raise CommandError(f"The series in {name!r} hold NaN or infinite values.")
        self.mean, self.deviation = together.mean(0), np.maximum(together.std(0), 1e-6)
        self.is_ragged = len({len(own) for own in series + tests}) > 1
        # Behind the ends of series: a number that none of them has.
        self.filling = float(min(own.min() for own in series + tests)) - 1.0
        x = self._rows(series)
        validating = every(10, labels)
        super().__init__(name, (x[~validating], labels[~validating]), (x[validating], labels[validating]))
        self.tests = self._rows(tests), test_labels
        self.epochs = min(60, max(8, 20_000 // len(x)))

    def _rows(self, series: list[Array]) -> Array:
        return utils.pad_sequences(series, self.length, "float32", "post", value=self.filling)

    def network(self, model: str) -> Any:
        masking = [layers.Masking(self.filling)] if self.is_ragged else []
        scaled = layers.Rescaling(list(1 / self.deviation), list(-self.mean / self.deviation))
        head = layers.Dense(len(self.class_names), activation="softmax")
        inputs = layers.Input((None, self.dimensions))
        return Sequential([inputs, *masking, scaled, *stack(model), head], name=model)

    def facts(self) -> dict[str, Any]:
        return {
            "task": "classes",
            "dimensions": self.dimensions,
            "longest": self.length,
            "filling": self.filling if self.is_ragged else None,
            "class_names": self.class_names,
        }

    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        x, labels = self.tests
        probabilities = network.predict(x, batch_size=256, verbose=0)
        scores = Scores.of(probabilities, labels)
        right = f"{scores.correct:,} of {scores.images:,} test series"
        pictures.draw_confusion(
            folder / "confusion.png",
            probabilities.argmax(-1),
            labels,
            self.class_names,
            f"{right} right ({percent(scores.accuracy)})",
        )
        found = {"series": scores.images, "correct": scores.correct, "accuracy": scores.accuracy, "loss": scores.loss}
        return f"Test accuracy {percent(scores.accuracy)}", [("correct", right)], found


class Forecast(Task):
    """The next steps of one column of a table, from the steps of all its columns of numbers before them."""

    loss, metrics = "mse", ()
    epochs = 40

    def __init__(self, path: Path, target: str | None, window: int | None, horizon: int) -> None:
        columns = _columns(path)
        self.target = target or list(columns)[-1]
        if self.target not in columns:
            raise CommandError(f"--target must be one of {', '.join(columns)}. Received: {target!r}")
        table = np.stack(list(columns.values()), 1)
        self.column, self.horizon = list(columns).index(self.target), horizon
        steps = len(table)
        self.window = window or min(48, max(2, steps // 10))
        last_learnt, last_seen = int(0.7 * steps), int(0.8 * steps)
        if steps < _FEWEST_STEPS or self.window + horizon > min(last_learnt, steps - last_seen + self.window):
            raise CommandError(
                f"{str(path)!r} has {steps} steps, too few for windows of {self.window} and a horizon of {horizon}: "
                "the last fifth is held out for the test, and a tenth before it for validation."
            )
        self.mean, self.deviation = table[:last_learnt].mean(0), np.maximum(table[:last_learnt].std(0), 1e-6)
        self.table = table
        self.first_test = last_seen
        super().__init__(path.stem, self._windows(0, last_learnt), self._windows(last_learnt - self.window, last_seen))

    def _windows(self, first: int, end: int) -> tuple[Array, Array]:
        """Windows whose steps and whose targets lie in a part of the table, and these targets, scaled."""
        starts = np.arange(first, end - self.window - self.horizon + 1)
        inputs = self.table[starts[:, None] + np.arange(self.window)]
        targets = self.table[starts[:, None] + self.window + np.arange(self.horizon), self.column]
        return inputs, (targets - self.mean[self.column]) / self.deviation[self.column]

    def network(self, model: str) -> Any:
        inputs = layers.Input((self.window, self.table.shape[1]))
        scaled = layers.Rescaling(list(1 / self.deviation), list(-self.mean / self.deviation))(inputs)
        x = scaled
        for layer in stack(model, units=64, dropout=0.1):
            x = layer(x)
        # What is learnt is the change from the last value, so levels that were never seen can be forecast.
        change = layers.Dense(self.horizon, kernel_initializer="zeros")(x)
        return Functional(inputs, change + scaled[:, -1, self.column : self.column + 1], name=model)

    def facts(self) -> dict[str, Any]:
        column = self.column
        return {
            "task": "forecast",
            "target": self.target,
            "window": self.window,
            "horizon": self.horizon,
            "mean": float(self.mean[column]),
            "deviation": float(self.deviation[column]),
        }

    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        inputs, scaled = self._windows(self.first_test - self.window, len(self.table))
        mean, deviation = self.mean[self.column], self.deviation[self.column]
        truth = scaled * deviation + mean
        found = network.predict(inputs, batch_size=256, verbose=0) * deviation + mean
        error = float(np.abs(found - truth).mean())
        naive = float(np.abs(inputs[:, -1, self.column, None] - truth).mean())
        ahead = f"{self.horizon} step{'s' if self.horizon > 1 else ''} ahead"
        pictures.draw_forecast(
            folder / "forecast.png",
            truth[:, -1],
            found[:, -1],
            self.target,
            f"{self.target}, {ahead}: off by {error:.4g}",
        )
        lines = [("the last value", f"off by {naive:.4g}, taken for the next ones"), ("forecasts", f"{len(truth):,}")]
        scores = {"mean_absolute_error": error, "of_the_last_value": naive, "forecasts": len(truth)}
        return f"Mean absolute error {error:.4g}", lines, scores


class Letters(Task):
    """The next letter of a text, at each of its places."""

    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    epochs, rate = 10, 4e-3

    def __init__(self, path: Path, window: int | None, sample: int) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CommandError(f"Expected a text in UTF-8 in {str(path)!r}: {error}") from error
        self.letters = sorted(set(text))
        self.window, self.sample = window or 100, sample
        if len(text) < 20 * self.window:
            raise CommandError(
                f"Expected a text of at least {20 * self.window:,} letters in {str(path)!r}. Received: {len(text):,}"
            )
        place = {letter: number for number, letter in enumerate(self.letters)}
        numbers = np.array([place[letter] for letter in text], np.int64)
        parts = [self._rows(part) for part in np.split(numbers, [int(0.9 * len(numbers)), int(0.95 * len(numbers))])]
        super().__init__(path.stem, parts[0], parts[1])
        self.tests = parts[2]

    def _rows(self, numbers: Array) -> tuple[Array, Array]:
        """Letters in rows, and the letters that follow them."""
        count = (len(numbers) - 1) // self.window
        inputs, following = numbers[: count * self.window], numbers[1 : count * self.window + 1]
        return inputs.reshape(count, self.window), following.reshape(count, self.window)

    def network(self, model: str) -> Any:
        if model == "bilstm":
            raise CommandError("--model bilstm sees the letters that it is to guess; take rnn, lstm or gru for texts.")
        count = len(self.letters)
        inputs = layers.Input((None,), dtype="int64")
        return Sequential(
            [inputs, layers.Embedding(count, 48), *stack(model, True, 256, 0.2), layers.Dense(count)], name=model
        )

    def facts(self) -> dict[str, Any]:
        return {"task": "letters", "letters": "".join(self.letters), "window": self.window}

    def test(self, network: Any, folder: Path) -> tuple[str, list[tuple[str, str]], Mapping[str, Any]]:
        loss, accuracy = network.evaluate(*self.tests, batch_size=64, verbose=0)
        lines = [("right", f"{percent(accuracy)} of the letters"), ("a letter", f"{loss / math.log(2):.3f} bits")]
        if self.sample:
            written = self._written(network)
            with atomic_write(folder / "sample.txt") as temporary:
                temporary.write_text(written + "\n", encoding="utf-8")
            say()
            say(written)
            say()
            lines.append(("sample", "sample.txt in the results"))
        return f"Test loss {loss:.4f}", lines, {"loss": loss, "accuracy": accuracy, "letters": self.tests[1].size}

    def _written(self, network: Any, temperature: float = 0.6) -> str:
        """Letters drawn one after the other, each by the network's chances behind those before it."""
        rng, found = np.random.default_rng(1), [int(self.tests[0][0, 0])]
        for _ in range(self.sample):
            row = network.predict_on_batch(np.array([found[-self.window :]]))[0, -1].astype(np.float64) / temperature
            chances = np.exp(row - row.max())
            found.append(int(rng.choice(len(row), p=chances / chances.sum())))
        return "".join(self.letters[number] for number in found[1:])


def task_of(data: str, target: str | None, window: int | None, horizon: int, sample: int) -> Task:
    """The task that `--data` sets, by the kind of its file."""
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
    return _ts(path) if kind == ".ts" else _images_as_series(data)


def _ts(path: Path) -> Task:
    """The series of a file; those of the file beside it, `_TEST` for `_TRAIN`, or a fifth of them are for the test."""
    try:
        series, labels = load_ts(path)
        beside = path.with_name(path.name.replace("_TRAIN", "_TEST"))
        has_test = beside != path and beside.is_file()
        tests, test_labels = load_ts(beside) if has_test else ([], np.array([]))
    except ValueError as error:
        raise CommandError(str(error)) from error
    names = tuple(np.unique(labels).tolist())
    if len(names) < 2 or set(test_labels.tolist()) - set(names):
        raise CommandError(f"Expected at least two classes in {str(path)!r}, and no others in its test file.")
    numbers = np.searchsorted(names, labels)
    if has_test:
        return Classes(path.stem, series, numbers, tests, np.searchsorted(names, test_labels), names)
    held = every(5, numbers)
    if np.unique(numbers[held]).size < len(names):
        raise CommandError(f"Expected at least 3 series of each class in {str(path)!r}, some of them for the test.")
    kept = [own for own, is_held in zip(series, held, strict=True) if not is_held]
    tests = [own for own, is_held in zip(series, held, strict=True) if is_held]
    return Classes(path.stem, kept, numbers[~held], tests, numbers[held], names)


def _images_as_series(data: str) -> Task:
    """Images, or arrays `(series, steps, dimensions)` of an .npz file, as series of their rows."""
    found = load(data)
    images = [part.take(np.arange(len(part))) for part in (found.train, found.test)]
    parts = [list(own.reshape(*own.shape[:2], -1).astype(np.float32)) for own in images]
    return Classes(found.name, parts[0], found.train.labels, parts[1], found.test.labels, found.class_names)


def _columns(path: Path) -> dict[str, Array]:
    """The columns of a table that hold numbers alone, by the names in its first line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"Expected a .csv file in UTF-8 in {str(path)!r}: {error}") from error
    columns = {}
    for name in rows[0] if rows else ():
        try:
            columns[str(name)] = np.array([float(row[name]) for row in rows], np.float32)
        except (TypeError, ValueError):
            continue  # dates and the like
    if not columns:
        raise CommandError(f"Expected a line of names and a column of numbers in {str(path)!r}.")
    spoilt = [name for name, numbers in columns.items() if not np.isfinite(numbers).all()]
    if spoilt:
        raise CommandError(f"The columns {', '.join(spoilt)} of {str(path)!r} hold NaN or infinite values.")
    return columns
