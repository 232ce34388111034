"""`triarch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from triarch.cli import pictures
from triarch.cli.data import load
from triarch.cli.output import CommandError, percent, say_table, short_path
from triarch.cli.results import Scores, claim_folder, open_trained


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
    for number, name in enumerate(trained.format.class_names):
        accuracy = scores.accuracy_of_class[number]
        if accuracy is not None:
            rows.append((f"class {name}", f"{percent(accuracy)} of {int((labels == number).sum()):,}"))
    if out is not None:
        folder = claim_folder(out)
        names = trained.format.class_names
        pictures.draw_confusion(folder / "confusion.png", probabilities.argmax(-1), labels, names, right)
        pictures.draw_mistakes(folder / "mistakes.png", probabilities, chosen, names)
        rows.append(("pictures", short_path(folder)))
    say_table(f"Accuracy {percent(scores.accuracy)}", rows)
