"""Errors on distorted digits with and without spatial transformers: table 1 of Jaderberg et al. (2015), in small.

Networks with equal numbers of weights learn MNIST that is turned (R), turned, scaled and moved (RTS), warped (P) or
bent (E), new in every epoch, and are tested on the same 10,000 distorted test images. Usage: `scripts/bench distorted
[--kinds R RTS] [--networks cnn affine] [--seeds 3] [--epochs 4] [--weights 20100]`: as many trainings at a time as
there are cores, on one thread each. `--full` is the paper's size of network and training, for a machine with a GPU.
MNIST is looked for where `TRIARCH_DATASETS` says.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

import triarch
from benchmarks.interleaved import RESULTS, record
from triarch import callbacks, layers, optimizers
from triarch.datasets import DistortedImages, distort, mnist
from triarch.layers.spatial.transformations import transformation

KINDS = ("R", "RTS", "P", "E")
NETWORKS = ("cnn", "affine", "projective", "tps")  # a CNN, and one behind a spatial transformer
_CONTROL_POINTS = (4, 4)
_SIDE = 28  # of what a transformer hands on: a digit's, also where it lies on a larger canvas
_SHOWN = 8  # images of a kind
_TEST_SEED, _FIRST_LR = 1_000, 2e-3
_FULL = {"weights": 400_000, "epochs": 640, "batch_size": 256}  # the paper's 150,000 steps


class Training(NamedTuple):
    """One cell of the table, once."""

    kind: str
    network: str
    seed: int
    weights: int
    epochs: int
    batch_size: int


class Outcome(NamedTuple):
    """The error in percent, how many weights the network has, and what its transformer makes of some test images."""

    error: float
    weights: int
    seconds: float
    shown: np.ndarray[Any, Any] | None


def network(name: str, shape: tuple[int, ...], weights: int) -> Any:
    """The network with as many filters as the number of weights allows."""
    made = None
    for filters in range(8, 257):
        larger = _network(name, shape, filters)
        if larger.count_params() > weights:
            break
        made = larger
    if made is None:
        raise SystemExit(f"{weights} weights are too few for {name}")
    return made


def _network(name: str, shape: tuple[int, ...], filters: int) -> Any:
    members = [layers.Input(shape)]
    if name != "cnn":
        count = transformation(name, _CONTROL_POINTS).count
        localization = _localization(count, round(2 * shape[0] / _SIDE))
        members.append(layers.SpatialTransformer(localization, name, _SIDE, control_points=_CONTROL_POINTS))
    members += [
        layers.Conv2D(filters, 9, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(filters, 7, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
    return triarch.Sequential(members, name=name)


def _localization(count: int, pooled: int) -> Any:
    """The paper's, with fewer filters: a pooling, two convolutions with a pooling between, and a hidden layer."""
    return triarch.Sequential(
        [
            layers.MaxPooling2D(pooled),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(count),
        ]
    )


def _scaled(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return images[..., None] / np.float32(255)


@cache
def _digits() -> Any:
    return mnist.load_data()


@cache
def _tested(kind: str) -> np.ndarray[Any, Any]:
    _, (images, _) = _digits()
    return _scaled(distort(images, kind, seed=_TEST_SEED))


def _alone() -> None:
    torch.set_num_threads(1)


def trained(training: Training) -> Outcome:
    """A network, from nothing to its error on the test images."""
    kind, name, seed, weights, epochs, batch_size = training
    triarch.utils.set_random_seed(seed)
    (images, labels), (_, tested_labels) = _digits()
    tested = _tested(kind)
    batches = DistortedImages(_scaled(images), labels, kind, batch_size=batch_size, seed=seed)
    model = network(name, tested.shape[1:], weights)
    schedule = optimizers.schedules.CosineDecay(_FIRST_LR, epochs * len(batches))
    model.compile(optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    seconds = time.perf_counter() - started
    _, accuracy = model.evaluate(tested, tested_labels, batch_size=256, verbose=0)
    shown = None
    if name != "cnn":
        with torch.no_grad():
            shown = model.layers[0](tested[:_SHOWN]).cpu().numpy()
    return Outcome(100 * (1 - accuracy), model.count_params(), seconds, shown)


def _draw(path: Any, shown: dict[str, list[tuple[str, np.ndarray[Any, Any]]]]) -> None:
    """Of each kind some images, and what each spatial transformer makes of them."""
    from matplotlib.figure import Figure

    rows = [(kind, label, images) for kind, found in shown.items() for label, images in found]
    figure = Figure(figsize=(8, 0.9 * len(rows)), layout="constrained")
    for (kind, label, images), panels in zip(rows, figure.subplots(len(rows), _SHOWN, squeeze=False), strict=True):
        for image, axes in zip(images, panels, strict=True):
            axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        panels[0].set_ylabel(f"{kind}\n{label}", fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Train all, print the table, and write record and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--weights", type=int, default=20_100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--jobs", type=int, help="trainings at a time; the number of cores, or 1 where there is a GPU")
    parser.add_argument("--full", action="store_true", help="the paper's network and training")
    arguments = parser.parse_args()
    if arguments.full:
        vars(arguments).update(_FULL)
    jobs = arguments.jobs or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
    plan = [
        Training(kind, name, seed, arguments.weights, arguments.epochs, arguments.batch_size)
        for seed, kind, name in itertools.product(range(1, arguments.seeds + 1), arguments.kinds, arguments.networks)
    ]
    path = RESULTS / f"distorted-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}.json"
    errors: dict[str, Any] = json.loads(path.read_text())["errors"] if path.exists() else {}
    found: dict[tuple[str, str], list[tuple[int, Outcome]]] = {}
    _digits()  # says at once where they are missing
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _alone) as pool:
        waiting = {pool.submit(trained, training): training for training in plan}
        for done in as_completed(waiting):
            training, outcome = waiting[done], done.result()
            print(
                f"{training.kind:4} {training.network:11} seed {training.seed}: {outcome.error:5.2f} % wrong "
                f"({outcome.weights:,} weights, {outcome.seconds:.0f} s)",
                flush=True,
            )
            own = found.setdefault((training.kind, training.network), [])
            own.append((training.seed, outcome))
            own.sort(key=lambda pair: pair[0])
            errors[f"{training.kind} {training.network}"] = _summary(training, [outcome for _, outcome in own])
            record("distorted", {"errors": errors}, ["triarch", "torch", "numba", "numpy"])
    shown = {
        kind: [("images", _tested(kind)[:_SHOWN])]
        + [(name, found[kind, name][0][1].shown) for name in arguments.networks if name != "cnn"]
        for kind in arguments.kinds
    }
    _draw(RESULTS / "distorted.png", shown)
    for kind in KINDS:
        row = [f"{name} {errors[f'{kind} {name}']['mean']:.2f}" for name in NETWORKS if f"{kind} {name}" in errors]
        if row:
            print(f"{kind:4} {'  '.join(row)}  (mean error, %)")
    print("written to", path)


def _summary(training: Training, outcomes: list[Outcome]) -> dict[str, Any]:
    own = [outcome.error for outcome in outcomes]
    return {
        "percent": [round(error, 3) for error in own],
        "mean": round(statistics.mean(own), 3),
        "spread": round(max(own) - min(own), 3),
        "epochs": training.epochs,
        "weights": outcomes[0].weights,
    }


if __name__ == "__main__":
    main()
