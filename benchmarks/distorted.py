"""Errors on distorted digits with and without spatial transformers: table 1 of Jaderberg et al. (2015), in small.

Networks with equal numbers of weights learn MNIST that is turned (R), turned, scaled and moved (RTS), warped (P) or
bent (E), new in every epoch, and are tested on the same 10,000 distorted test images. Usage: `scripts/bench distorted
[--kinds R RTS] [--networks cnn affine] [--seeds 3] [--epochs 6] [--weights 100000]`; `--full` is the paper's size of
network and training, for a machine with a GPU. MNIST is looked for where `TRIARCH_DATASETS` says.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

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
_TEST_SEED, _FIRST_LR = 1_000, 2e-3
_FULL = {"weights": 400_000, "epochs": 640, "batch_size": 256}  # the paper's 150,000 steps


def network(name: str, shape: tuple[int, ...], weights: int) -> Any:
    """The network with as many filters as the number of weights allows."""
    made = None
    for filters in range(8, 257, 4):
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
        members.append(
            layers.SpatialTransformer(
                _localization(transformation(name, _CONTROL_POINTS).count),
                name,
                control_points=_CONTROL_POINTS,
                learning_rate_factor=0.1,
            )
        )
    members += [
        layers.Conv2D(filters, 9, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(filters, 7, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
    return triarch.Sequential(members, name=name)


def _localization(count: int) -> Any:
    """The paper's: a pooling, two convolutions of 5x5 with 20 filters and a pooling between, and a hidden layer."""
    return triarch.Sequential(
        [
            layers.MaxPooling2D(),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(20, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(20, activation="relu"),
            layers.Dense(count),
        ]
    )


def error_of(name: str, kind: str, seed: int, arguments: argparse.Namespace, data: Any, test: Any) -> tuple[float, Any]:
    """The test error in percent, and the network."""
    triarch.utils.set_random_seed(seed)
    (images, labels), (x_test, y_test) = data, test
    batches = DistortedImages(images, labels, kind, batch_size=arguments.batch_size, seed=seed)
    model = network(name, x_test.shape[1:], arguments.weights)
    schedule = optimizers.schedules.CosineDecay(_FIRST_LR, arguments.epochs * len(batches))
    model.compile(optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(batches, epochs=arguments.epochs, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    _, accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
    error = 100 * (1 - accuracy)
    print(
        f"{kind:4} {name:11} seed {seed}: {error:5.2f} % wrong ({model.count_params():,} weights, "
        f"{time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    return error, model


def _rectified(model: Any, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.layers[0](images).cpu().numpy()
    return found


def _draw(path: Any, shown: dict[str, list[tuple[str, np.ndarray]]]) -> None:
    """Of each kind some images, and what each spatial transformer makes of them."""
    from matplotlib.figure import Figure

    rows = [(kind, label, images) for kind, found in shown.items() for label, images in found]
    figure = Figure(figsize=(8, 0.9 * len(rows)), layout="constrained")
    for (kind, label, images), panels in zip(rows, figure.subplots(len(rows), 8, squeeze=False), strict=True):
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
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--weights", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--full", action="store_true", help="the paper's network and training")
    arguments = parser.parse_args()
    if arguments.full:
        vars(arguments).update(_FULL)
    (x, y), (x_test, y_test) = mnist.load_data()
    scaled: Callable[[Any], Any] = lambda images: images[..., None] / np.float32(255)  # noqa: E731
    data = scaled(x), y
    path = RESULTS / f"distorted-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}.json"
    errors: dict[str, Any] = json.loads(path.read_text())["errors"] if path.exists() else {}
    shown: dict[str, list[tuple[str, np.ndarray]]] = {}
    for kind in arguments.kinds:
        test = scaled(distort(x_test, kind, seed=_TEST_SEED)), y_test
        shown[kind] = [("images", test[0][:8])]
        for name in arguments.networks:
            found = [error_of(name, kind, seed, arguments, data, test) for seed in range(1, arguments.seeds + 1)]
            own = [error for error, _ in found]
            errors[f"{kind} {name}"] = {
                "percent": [round(error, 3) for error in own],
                "mean": round(statistics.mean(own), 3),
                "spread": round(max(own) - min(own), 3),
                "epochs": arguments.epochs,
                "weights": found[0][1].count_params(),
            }
            if name != "cnn":
                shown[kind].append((name, _rectified(found[0][1], test[0][:8])))
            record("distorted", {"errors": errors}, ["triarch", "torch", "numba", "numpy"])
    _draw(RESULTS / "distorted.png", shown)
    for kind in KINDS:
        row = [f"{name} {errors[f'{kind} {name}']['mean']:.2f}" for name in NETWORKS if f"{kind} {name}" in errors]
        if row:
            print(f"{kind:4} {'  '.join(row)}  (mean error, %)")
    print("written to", path)


if __name__ == "__main__":
    main()
