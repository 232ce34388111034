"""The classes of series, and of images as series of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triarch import layers, utils
from triarch.cli import pictures
from triarch.cli.data import load
from triarch.cli.output import CommandError, listed, percent, say
from triarch.cli.parts import every, for_validation
from triarch.cli.recurrent import stack
from triarch.cli.results import Scores
from triarch.cli.scaling import Scaling
from triarch.cli.task import Array, Task
from triarch.datasets.ts_files import load_ts
from triarch.models import Sequential

Labelled = tuple[list[Array], Array]  # series `(steps, dimensions)` of any length, and their class numbers


class Classes(Task):
    """Series of classes, of different lengths."""

    loss = "sparse_categorical_crossentropy"

    def __init__(
        self,
        name: str,
        class_names: tuple[str, ...],
        learning: Labelled,
        tests: Labelled,
        validation: Labelled | None = None,
    ) -> None:
        series, labels = learning
        if validation is None:
            chosen = for_validation(labels)
            validation = [own for own, is_chosen in zip(series, chosen, strict=True) if is_chosen], labels[chosen]
            series = [own for own, is_chosen in zip(series, chosen, strict=True) if not is_chosen]
            labels = labels[~chosen]
        parts = ((series, labels), validation, tests)
        every_one = [own for part, _ in parts for own in part]
        if not all(np.isfinite(own).all() for own in every_one):
            raise CommandError(f"The series in {name!r} hold NaN or infinite values, or missing ones (?).")
        learnt = np.concatenate(series).astype(np.float64)
        self.class_names, self.dimensions = class_names, learnt.shape[1]
        self.scaling = Scaling.of(learnt, name)
        lengths = {len(own) for own in every_one}
        self.length, self.is_ragged = max(lengths), len(lengths) > 1
        taken = [([self.scaling.taken(own) for own in part], numbers) for part, numbers in parts]
        # Behind the ends of series: a number so far below all others that single precision tells it from them.
        lowest = float(min(own.min() for part, _ in taken for own in part))
        self.filling = lowest - max(1.0, abs(lowest))
        super().__init__(name, *((self._rows(part), numbers) for part, numbers in taken))
        self.epochs = min(60, max(8, 20_000 // len(series)))

    def _rows(self, series: list[Array]) -> Array:
        return utils.pad_sequences(series, self.length, "float32", "post", value=self.filling)

    def network(self, model: str) -> Any:
        masking = [layers.Masking(self.filling)] if self.is_ragged else []
        head = layers.Dense(len(self.class_names), activation="softmax")
        inputs = layers.Input((None, self.dimensions))
        return Sequential([inputs, *masking, self.scaling.layer(), *stack(model), head], name=model)

    def facts(self) -> dict[str, Any]:
        return {
            "task": "classes",
            "dimensions": self.dimensions,
            "offsets": self.scaling.offset.tolist(),
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


def classes_of_ts(path: Path) -> Classes:
    """The series of a file; those of the file beside it, `_TEST` for `_TRAIN`, or a fifth of them are for the test."""
    try:
        series, labels = load_ts(path, "float64")
        beside = _test_file(path)
        tests, test_labels = load_ts(beside, "float64") if beside is not None else ([], np.array([]))
    except ValueError as error:
        raise CommandError(str(error)) from error
    names = tuple(np.unique(labels).tolist())
    others = sorted(set(test_labels.tolist()) - set(names))
    if len(names) < 2 or others:
        raise CommandError(
            f"Expected at least two classes in {str(path)!r}, and no others in its test file. Received: {listed(names)}"
            + (f", and {listed(others)} in {beside.name!r}" if beside is not None and others else "")
        )
    if beside is not None and series[0].shape[1] != tests[0].shape[1]:
        raise CommandError(
            f"Expected as many dimensions in {str(beside)!r} as in {path.name!r}, {series[0].shape[1]}. "
            f"Received: {tests[0].shape[1]}"
        )
    numbers = np.searchsorted(names, labels)
    if beside is not None:
        say(f"The test: {beside.name}, beside {path.name}.")
        return Classes(path.stem, names, (series, numbers), (tests, np.searchsorted(names, test_labels)))
    held = every(5, numbers)
    if np.unique(numbers[held]).size < len(names):
        raise CommandError(f"Expected at least 3 series of each class in {str(path)!r}, some of them for the test.")
    kept = [own for own, is_held in zip(series, held, strict=True) if not is_held]
    tests = [own for own, is_held in zip(series, held, strict=True) if is_held]
    return Classes(path.stem, names, (kept, numbers[~held]), (tests, numbers[held]))


def _test_file(path: Path) -> Path | None:
    """The file beside one for training, whichever letters of their names are capitals."""
    head, part, tail = path.name.lower().rpartition("_train")
    wanted = f"{head}_test{tail}" if part else ""
    return next((file for file in sorted(path.parent.iterdir()) if file.name.lower() == wanted), None)


def classes_of_images(data: str) -> Classes:
    """Images, or arrays `(series, steps, dimensions)` of an .npz file, as series of their rows."""
    found = load(data, is_double=True)

    def rows(part: Any) -> Labelled:
        images = part.take(np.arange(len(part)))
        return list(images.reshape(*images.shape[:2], -1).astype(np.float64)), part.labels

    validation = None if found.validation is None else rows(found.validation)
    return Classes(found.name, found.class_names, rows(found.train), rows(found.test), validation)
