"""`triarch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from triarch.cli import pictures
from triarch.cli.data import Part, load
from triarch.cli.output import CommandError, percent, say_table, short_path
from triarch.cli.results import Scores, claim_folder, open_trained


def evaluate(
    model: Annotated[str, typer.Argument(help="A result folder of `triarch train`, or the .keras file in one.")],
    data: Annotated[str, typer.Option(help="As for `triarch train`; classes are matched by name.")],
    part: Annotated[str, typer.Option(help="Which images: test (the held-out ones), train or all.")] = "test",
    out: Annotated[Path | None, typer.Option(help="New folder for confusion.png and mistakes.png.")] = None,
) -> None:
    """Say how well a trained model does on labelled images."""
    trained = open_trained(model)
    data_set = load(data, trained.format.shape)
    chosen = data_set.part(part)
    if chosen.images.shape[1:] != trained.format.shape:
        raise CommandError(
            f"The model takes images of shape {trained.format.shape} (height, width, channels). Received: "
            f"{chosen.images.shape[1:]} in {data!r}"
        )
    labels = trained.format.labels_of(chosen, data_set.class_names)
    images = _in_range(chosen.images, data_set.value_range, (trained.format.lowest, trained.format.highest))
    probabilities = trained.probabilities(images)
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
        names, span = trained.format.class_names, (trained.format.lowest, trained.format.highest)
        pictures.draw_confusion(folder / "confusion.png", probabilities.argmax(-1), labels, names, right)
        pictures.draw_mistakes(folder / "mistakes.png", probabilities, Part(images, labels), names, span)
        rows.append(("pictures", short_path(folder)))
    say_table(f"Accuracy {percent(scores.accuracy)}", rows)


def _in_range(images: np.ndarray, given: tuple[float, float], wanted: tuple[float, float]) -> np.ndarray:
    """Pixel values of the range `given`, brought to the range `wanted`."""
    if given == wanted:
        return images
    scale = (wanted[1] - wanted[0]) / (given[1] - given[0])
    return (wanted[0] + (images.astype(np.float32) - given[0]) * scale).astype(np.float32)
