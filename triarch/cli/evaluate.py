"""`triarch evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from triarch.cli import pictures
from triarch.cli.data import load
from triarch.cli.output import CommandError, percent, say_table, short_path
from triarch.cli.results import Scores, claim_folder, open_trained

_MOST_CLASSES = 40  # that have a line each


def evaluate(
    model: Annotated[str, typer.Argument(help="A result folder of `triarch train`, or the .keras file in one.")],
    data: Annotated[str, typer.Option(help="As for `triarch train`; classes are matched by name.")],
    part: Annotated[
        str,
        typer.Option(help="Which images: test (the held-out ones), train, validation (of a folder of its own) or all."),
    ] = "test",
    out: Annotated[Path | None, typer.Option(help="New folder for confusion.png and mistakes.png.")] = None,
) -> None:
    """Say how well a trained model does on labelled images."""
    trained = open_trained(model)
    data_set = load(data, trained.format.shape)
    chosen = data_set.part(part)
    if chosen.shape != trained.format.shape:
        raise CommandError(
            f"The model takes images of shape {trained.format.shape} (height, width, channels). Received: "
            f"{chosen.shape} in {data!r}"
        )
    labels = trained.format.labels_of(chosen, data_set.class_names)
    chosen = chosen.with_labels(labels).with_range(trained.format.value_range)
    probabilities = trained.probabilities(chosen)
    scores = Scores.of(probabilities, labels)
    right = f"{scores.correct:,} of {scores.images:,} images right ({percent(scores.accuracy)})"
    rows = [
        ("correct", f"{scores.correct:,} of {scores.images:,} images ({part} of {data})"),
        ("loss", f"{scores.loss:.4f}"),
    ]
    rows += _of_classes(scores, trained.format.class_names)
    if out is not None:
        folder = claim_folder(out)
        names = trained.format.class_names
        pictures.draw_confusion(folder / "confusion.png", probabilities.argmax(-1), labels, names, right)
        pictures.draw_mistakes(folder / "mistakes.png", probabilities, chosen, names)
        rows.append(("pictures", short_path(folder)))
    say_table(f"Accuracy {percent(scores.accuracy)}", rows)


def _of_classes(scores: Scores, names: Sequence[str]) -> list[tuple[str, str]]:
    """A line for each class that there is; of very many, for those that do worst."""
    present = [number for number, accuracy in enumerate(scores.accuracy_of_class) if accuracy is not None]
    shown = present
    if len(present) > _MOST_CLASSES:
        shown = sorted(present, key=lambda number: scores.accuracy_of_class[number] or 0.0)[:_MOST_CLASSES]
    rows = [
        (
            f"class {names[number]}",
            f"{percent(scores.accuracy_of_class[number] or 0.0)} of {scores.images_of_class[number]:,}",
        )
        for number in shown
    ]
    rest = len(present) - len(shown)
    return [*rows, ("classes", f"{rest:,} more, none of them worse")] if rest else rows
