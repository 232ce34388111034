"""`triarch train`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from triarch import optimizers
from triarch.cli import pictures
from triarch.cli.data import DataSet, load
from triarch.cli.interruption import Interrupted, Interruption
from triarch.cli.learning import Rows, learn
from triarch.cli.networks import NETWORKS, RESIDUAL
from triarch.cli.output import CommandError, counted, duration, percent, say, say_table, short_path
from triarch.cli.parts import Part
from triarch.cli.recurrent import RECURRENT
from triarch.cli.results import (
    MODEL,
    InputFormat,
    Scores,
    Trained,
    claim_folder,
    new_run_folder,
    usable_device,
    write_history,
    write_report,
)
from triarch.cli.tasks import task_of
from triarch.cli.train_series import train_series
from triarch.cli.transformed_picture import draw_transformed, transformer_of
from triarch.models import Model
from triarch.random import set_random_seed

CURVES, CONFUSION, MISTAKES = "curves.png", "confusion.png", "mistakes.png"
TRANSFORMED = "transformed.png"  # of networks with a spatial transformer
_IMAGES_IN_ALL = 400_000  # shown to the network where the user does not say how many epochs
_VALIDATED_AT_ONCE = 256  # images
_SMALL_IMAGE = 16 * 16  # numbers; threads that wait for each other cost more than they gain up to here


@dataclass(frozen=True)
class _Run:
    data_set: DataSet
    learning: Part
    validation: Part
    network: Model
    epochs: int
    batch_size: int
    steps: int  # in an epoch
    seed: int
    folder: Path
    started: float  # seconds
    facts: Mapping[str, Any]  # for the report

    def save(self, rows: list[dict[str, float]], **facts: Any) -> None:
        """Write model, history and report."""
        self.network.save(self.folder / MODEL)
        write_history(self.folder, rows)
        self.report(rows, **facts)

    def report(self, rows: list[dict[str, float]], **facts: Any) -> None:
        """Write the report anew."""
        content = {**self.facts, "epochs_finished": len(rows), **facts}
        write_report(self.folder, InputFormat.of(self.data_set), content)


def train(
    data: Annotated[
        str,
        typer.Option(
            help="digits, mnist, fashion_mnist, cifar10, a folder of class folders, or an .npz file; for series also a "
            ".ts file (classes), a .csv file (a forecast) or a .txt file (its letters)."
        ),
    ] = "digits",
    model: Annotated[
        str, typer.Option(help=f"The network: {', '.join(NETWORKS)}; or {', '.join(RECURRENT)} for series and texts.")
    ] = "cnn",
    weights: Annotated[
        str | None,
        typer.Option(help="Begin from a file of weights (Keras's or torchvision's), or `imagenet`: residual networks."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images; default: 30, down to 8 for large sets.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a training step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam at the start; it falls to 0 along a cosine.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed repeats a run on a CPU exactly.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; default: 1 for grey images up to 16x16, else all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; default: runs/<date>-<data>-<model>.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The column of a .csv file that is forecast; default: the last.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=2, help="Steps that a forecast sees; letters in a row of text.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, help="Steps that are forecast.")] = 1,
    sample: Annotated[int, typer.Option(min=0, help="Letters that a model of text writes at the end.")] = 500,
) -> None:
    """Train a network on images, series or texts."""
    if model not in (*NETWORKS, *RECURRENT):
        raise CommandError(f"--model must be one of {', '.join((*NETWORKS, *RECURRENT))}. Received: {model!r}")
    if weights is not None and model not in RESIDUAL:
        raise CommandError("--weights is for residual networks, such as --model resnet18.")
    if not 0 < lr < math.inf:
        raise CommandError(f"--lr must be a positive number. Received: {lr}")
    if model in RECURRENT:
        task = task_of(data, target, window, horizon, sample)
        train_series(task, data, model, epochs, batch_size, lr, seed, threads, out)
        return
    with Interruption() as interruption:
        run = _prepare(data, model, weights, epochs, batch_size, lr, seed, out, interruption)
        if threads or math.prod(run.data_set.train.shape) <= _SMALL_IMAGE:
            torch.set_num_threads(threads or 1)
        learning_started = time.perf_counter()
        rows = _learn(run, interruption)
        try:
            seconds = {"training": time.perf_counter() - learning_started}
            run.save(rows, interrupted=False, last_epoch=rows[-1])
            interruption.resume()
            scores = _test(run, rows)
            seconds["total"] = time.perf_counter() - run.started
            run.report(rows, interrupted=False, last_epoch=rows[-1], test=asdict(scores), seconds=seconds)
        except Interrupted:
            say(f"Interrupted after the last epoch. The model: {short_path(run.folder / MODEL)}")
            raise
    shown = [MODEL, CURVES, CONFUSION, MISTAKES]
    if transformer_of(run.network) is not None:
        shown.append(TRANSFORMED)
    say()
    say_table(
        f"Test accuracy {percent(scores.accuracy)}",
        [
            ("correct", f"{scores.correct:,} of {scores.images:,} test images"),
            ("test loss", f"{scores.loss:.4f}"),
            ("time", f"{duration(seconds['training'])} training, {duration(seconds['total'])} in all"),
            ("results", short_path(run.folder)),
            *((Path(name).stem, short_path(run.folder / name)) for name in shown),
        ],
    )


def _prepare(
    data: str,
    model: str,
    weights: str | None,
    epochs: int | None,
    batch_size: int,
    lr: float,
    seed: int,
    out: Path | None,
    interruption: Interruption,
) -> _Run:
    """Data, network and result folder; once there is a folder, interruptions wait until there is a model in it."""
    usable_device()
    started, now = time.perf_counter(), datetime.now().astimezone()
    data_set = load(data)
    learning, validation = data_set.learning_and_validation()
    epochs = epochs or min(30, max(8, _IMAGES_IN_ALL // len(learning)))
    set_random_seed(seed)
    try:
        options = {} if weights is None else {"weights": weights}
        train, classes = data_set.train, len(data_set.class_names)
        network = NETWORKS[model](train.shape, classes, train.value_range, **options)
    except (ValueError, OSError) as error:
        raise CommandError(f"--model {model} cannot be made: {error}") from error
    counts = {"training": len(learning), "validation": len(validation), "test": len(data_set.test)}
    facts = {
        "started": now.isoformat(timespec="seconds"),
        "arguments": {
            "data": data,
            "model": model,
            "weights": weights,
            "batch_size": batch_size,
            "lr": lr,
            "seed": seed,
            "epochs": epochs,
        },
        "data": {"name": data_set.name, "images": counts},
        "weights": network.count_params(),
    }
    steps = -(-len(learning) // batch_size)
    network.compile(
        optimizer=optimizers.Adam(optimizers.schedules.CosineDecay(lr, epochs * steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    images = ", ".join(f"{count:,} {purpose}" for purpose, count in counts.items())
    say(f"{data_set.name}: {len(data_set.class_names)} classes; images: {images}")
    say(f"{model}: {network.count_params():,} weights; {counted(epochs, 'epoch')} of {counted(steps, 'step')}")
    interruption.wait()
    folder = claim_folder(out) if out else new_run_folder(f"{data_set.name}-{model}", now)
    return _Run(data_set, learning, validation, network, epochs, batch_size, steps, seed, folder, started, facts)


def _learn(run: _Run, interruption: Interruption) -> Rows:
    x, y = run.learning.source(run.batch_size, run.seed)
    return learn(
        run.network,
        run.epochs,
        run.steps,
        run.folder,
        lambda rows: run.save(rows, interrupted=True),
        interruption,
        x=x,
        y=y,
        batch_size=run.batch_size,
        validation_data=run.validation.source(_VALIDATED_AT_ONCE),
        validation_batch_size=_VALIDATED_AT_ONCE,
    )


def _test(run: _Run, rows: list[dict[str, float]]) -> Scores:
    """The scores on the test images, and the pictures."""
    data_set, test = run.data_set, run.data_set.test
    probabilities = Trained(run.network, run.folder / MODEL, InputFormat.of(data_set)).probabilities(test)
    scores = Scores.of(probabilities, test.labels)
    pictures.draw_curves(run.folder / CURVES, rows, f"{run.network.name} on {data_set.name}")
    pictures.draw_confusion(
        run.folder / CONFUSION,
        probabilities.argmax(-1),
        test.labels,
        data_set.class_names,
        f"{scores.correct:,} of {scores.images:,} test images right ({percent(scores.accuracy)})",
    )
    pictures.draw_mistakes(run.folder / MISTAKES, probabilities, test, data_set.class_names)
    if transformer_of(run.network) is not None:
        draw_transformed(run.folder / TRANSFORMED, run.network, test)
    return scores
