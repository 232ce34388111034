"""`triarch predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from triarch.cli.images import read_images
from triarch.cli.output import percent, say_table
from triarch.cli.results import open_trained


def predict(
    model: Annotated[str, typer.Argument(help="A result folder of `triarch train`, or the .keras file in one.")],
    images: Annotated[list[Path], typer.Argument(help="Image files; any format that Pillow reads.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    invert: Annotated[
        bool,
        typer.Option("--invert", help="Swap dark and bright: for dark writing, where training had bright on dark."),
    ] = False,
) -> None:
    """Say what trained classes images show, with probabilities."""
    trained = open_trained(model)
    pixels = read_images(images, trained.format.shape)
    arrays = trained.format.from_bytes(255 - pixels if invert else pixels)
    for path, row in zip(images, trained.probabilities(arrays), strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        say_table(str(path), [(trained.format.class_names[number], percent(row[number])) for number in best])
