"""`triarch train`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import triarch
from triarch.cli import pictures
from triarch.cli.data import DataSet, Part, every, load
from triarch.cli.networks import NETWORKS
from triarch.cli.output import CommandError, duration, percent, say, say_table, short_path
from triarch.cli.progress import EpochBar, EpochLines
from triarch.cli.results import (
    MODEL,
    InputFormat,
    Scores,
    Trained,
    claim_folder,
    new_run_folder,
    write_history,
    write_report,
)

INTERRUPTED = 130  # exit code, as shells have it
_IMAGES_IN_ALL = 400_000  # shown to the network where the user does not say how many epochs


def train(
    data: Annotated[
        str, typer.Option(help="digits, mnist, fashion_mnist, cifar10, a folder of class folders, or an .npz file.")
    ] = "digits",
    model: Annotated[str, typer.Option(help=f"The network: {', '.join(NETWORKS)}.")] = "cnn",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images; default: 30, down to 8 for large sets.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a training step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam at the start; it falls to 0 along a cosine.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed repeats a run on a CPU exactly.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Result folder; default: runs/<date>-<data>-<model>.")] = None,
) -> None:
    """Train a network on images and write model, curves, confusion, mistakes and a report into a result folder."""
    started = time.perf_counter()
    now = datetime.now().astimezone()
    if model not in NETWORKS:
        raise CommandError(f"--model must be one of {', '.join(NETWORKS)}. Received: {model!r}")
    if not 0 < lr < float("inf"):
        raise CommandError(f"--lr must be a positive number. Received: {lr}")
    data_set = load(data)
    validating = every(10, data_set.train.labels)
    learning, validation = data_set.train.where(~validating), data_set.train.where(validating)
    epochs = epochs or min(30, max(8, _IMAGES_IN_ALL // len(learning)))

    triarch.utils.set_random_seed(seed)
    input_format = InputFormat.of(data_set)
    network = NETWORKS[model](input_format.shape, len(data_set.class_names), data_set.value_range)
    steps = -(-len(learning) // batch_size)
    network.compile(
        optimizer=triarch.optimizers.Adam(triarch.optimizers.schedules.CosineDecay(lr, epochs * steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    folder = claim_folder(out) if out else new_run_folder(f"{data_set.name}-{model}", now)
    arguments = {"data": data, "model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    content: dict[str, Any] = {
        "started": now.isoformat(timespec="seconds"),
        "arguments": arguments,
        "data": {
            "name": data_set.name,
            "training_images": len(learning),
            "validation_images": len(validation),
            "test_images": len(data_set.test),
        },
        "weights": network.count_params(),
    }
    say(
        f"{data_set.name}: {len(learning):,} images to learn from, {len(validation):,} to validate, "
        f"{len(data_set.test):,} to test; {len(data_set.class_names)} classes"
    )
    say(f"{model}: {network.count_params():,} weights; {epochs} epochs of {steps} steps")

    on_terminal = sys.stdout.isatty()
    lines = EpochBar(epochs, steps) if on_terminal else EpochLines(epochs)
    training_started = time.perf_counter()
    try:
        with lines:
            network.fit(
                learning.images,
                learning.labels,
                batch_size=batch_size,
                epochs=epochs,
                validation_data=(validation.images, validation.labels),
                validation_batch_size=256,
                callbacks=[lines],
                verbose=0,
            )
    except KeyboardInterrupt:
        network.save(folder / MODEL)
        write_history(folder, lines.rows)
        write_report(folder, input_format, {**content, "interrupted": True, "epochs_finished": len(lines.rows)})
        say(f"Interrupted in epoch {len(lines.rows) + 1}. The model as it is now: {short_path(folder / MODEL)}")
        raise typer.Exit(INTERRUPTED) from None
    training_seconds = time.perf_counter() - training_started

    network.save(folder / MODEL)
    write_history(folder, lines.rows)
    trained = Trained(network, folder / MODEL, input_format)
    scores = _test(trained, data_set, folder, lines.rows, f"{model} on {data_set.name}")
    total_seconds = time.perf_counter() - started
    content |= {
        "interrupted": False,
        "epochs_finished": len(lines.rows),
        "last_epoch": lines.rows[-1],
        "test": asdict(scores),
        "seconds": {"training": round(training_seconds, 2), "total": round(total_seconds, 2)},
    }
    write_report(folder, input_format, content)
    say()
    say_table(
        f"Test accuracy {percent(scores.accuracy)}",
        [
            ("correct", f"{scores.correct:,} of {scores.images:,} test images"),
            ("test loss", f"{scores.loss:.4f}"),
            ("time", f"{duration(training_seconds)} training, {duration(total_seconds)} in all"),
            ("results", short_path(folder)),
            *((name.partition(".")[0], short_path(folder / name)) for name in (MODEL, *_PICTURES)),
        ],
    )


_PICTURES = ("curves.png", "confusion.png", "mistakes.png")


def _test(trained: Trained, data_set: DataSet, folder: Path, rows: list[dict[str, float]], title: str) -> Scores:
    """The scores on the test images, and the pictures."""
    test: Part = data_set.test
    probabilities = trained.probabilities(test.images)
    scores = Scores.of(probabilities, test.labels)
    curves, confusion, mistakes = (folder / name for name in _PICTURES)
    pictures.draw_curves(curves, rows, title)
    right = f"{scores.correct:,} of {scores.images:,} test images right ({percent(scores.accuracy)})"
    pictures.draw_confusion(confusion, probabilities.argmax(-1), test.labels, data_set.class_names, right)
    pictures.draw_mistakes(mistakes, probabilities, test, data_set.class_names, data_set.value_range)
    return scores
