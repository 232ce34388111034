"""Does a deeper network learn its own training data worse? Plain and residual networks of several depths on CIFAR-10.

He et al. (https://arxiv.org/abs/1512.03385) found that the training loss of plain networks rises with depth, and that
of residual networks does not. `scripts/bench degradation` shows it small: narrow networks, a fixed subset, a fixed
number of epochs. `--full` is the paper's experiment (ResNet-20 to ResNet-110, 64,000 iterations, augmentation), for a
machine with a GPU. Both write a record and, from records alone, a figure and a table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import triarch
from benchmarks.interleaved import RESULTS, record
from triarch import callbacks, datasets, optimizers, regularizers
from triarch.applications.architectures import Architecture, build
from triarch.optimizers import schedules

FIGURE = RESULTS / "degradation.png"
_MEAN, _DEVIATION = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of the training images' channels


@dataclass(frozen=True)
class Settings:
    """A run of the experiment."""

    depths: tuple[int, ...] = (8, 20, 44)
    widths: tuple[int, ...] = (8, 16, 32)
    images: int = 2500
    steps: int = 1560
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    augments: bool = False
    warmup_steps: int = 100  # at a tenth of the rate, as the paper's deepest network needs it
    seeds: tuple[int, ...] = (1,)


FULL = Settings((20, 32, 44, 56, 110), (16, 32, 64), 50_000, 64_000, 128, 0.1, augments=True, warmup_steps=400)


def images_of(count: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The first `count` training images and all test images, with mean 0 and deviation 1, and their classes."""
    (x_train, y_train), (x_test, y_test) = datasets.cifar10.load_data()

    def prepared(x: np.ndarray) -> np.ndarray:
        return ((x - np.array(_MEAN)) / np.array(_DEVIATION)).astype(np.float32)

    return (prepared(x_train[:count]), y_train[:count, 0]), (prepared(x_test), y_test[:, 0])


class Augmented(triarch.utils.PyDataset):
    """Batches of images shifted by up to 4 pixels and mirrored half of the time, in a new order for each epoch."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.x) // self.batch_size

    def on_epoch_end(self) -> None:
        """A new order."""
        self.order = self.rng.permutation(len(self.x))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        padded = np.pad(self.x[chosen], ((0, 0), (4, 4), (4, 4), (0, 0)))
        size = self.x.shape[1]
        tops, lefts = self.rng.integers(0, 9, (2, len(chosen)))
        images = np.stack(
            [image[t : t + size, left : left + size] for image, t, left in zip(padded, tops, lefts, strict=True)]
        )
        mirrored = self.rng.random(len(chosen)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        return images, self.y[chosen]


def network(depth: int, is_residual: bool, settings: Settings) -> Any:
    """A network of this depth, with the penalty on its kernels."""
    row = Architecture("network", "basic", ((depth - 2) // 6,) * 3, settings.widths, True, has_shortcuts=is_residual)
    model = build(row, True, None, (32, 32, 3), None, 10, "softmax", None)
    for weight in model.trainable_weights:
        if weight.name == "kernel":
            weight.regularizer = regularizers.L2(settings.weight_decay / 2)
    return model


def rate_of(settings: Settings) -> Any:
    """The paper's schedule: a tenth after half of the steps, a hundredth after three quarters."""
    half, most = settings.steps // 2, settings.steps * 3 // 4
    rate = settings.learning_rate
    if settings.warmup_steps:
        return schedules.PiecewiseConstantDecay(
            [settings.warmup_steps, half, most], [rate / 10, rate, rate / 10, rate / 100]
        )
    return schedules.PiecewiseConstantDecay([half, most], [rate, rate / 10, rate / 100])


def trained(settings: Settings, seed: int, depth: int, is_residual: bool) -> dict[str, Any]:
    """A network with its losses by epoch."""
    (x, y), test = images_of(settings.images)
    triarch.utils.set_random_seed(seed)
    model = network(depth, is_residual, settings)
    model.compile(
        optimizers.SGD(rate_of(settings), momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    began = time.perf_counter()
    options: dict[str, Any] = {
        "epochs": max(settings.steps // (settings.images // settings.batch_size), 1),
        "verbose": 0,
        "callbacks": [callbacks.TerminateOnNaN()],
    }
    if settings.augments:
        history = model.fit(Augmented(x, y, settings.batch_size, seed), **options).history
    else:
        history = model.fit(x, y, batch_size=settings.batch_size, **options).history
    learnt = model.evaluate(x, y, batch_size=500, verbose=0, return_dict=True)
    tested = model.evaluate(*test, batch_size=500, verbose=0, return_dict=True)
    found = {
        "kind": "residual" if is_residual else "plain",
        "depth": depth,
        "seed": seed,
        "losses": [round(loss, 4) for loss in history["loss"]],
        "training_loss": round(learnt["loss"], 4),
        "training_error": round(100 * (1 - learnt["accuracy"]), 2),
        "test_error": round(100 * (1 - tested["accuracy"]), 2),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(table([found]).splitlines()[-1], flush=True)
    return found


def all_trained(settings: Settings) -> list[dict[str, Any]]:
    """Every network of every seed: side by side on the cores, on one thread each, or one by one on a GPU."""
    tasks = [
        (settings, seed, depth, is_residual)
        for seed in settings.seeds
        for depth in sorted(settings.depths, reverse=True)
        for is_residual in (True, False)
    ]
    if torch.cuda.is_available():
        runs = [trained(*task) for task in tasks]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), context, torch.set_num_threads, (1,)) as pool:
            runs = [future.result() for future in [pool.submit(trained, *task) for task in tasks]]
    return sorted(runs, key=lambda run: (run["depth"], run["kind"], run["seed"]))


def table(runs: list[dict[str, Any]]) -> str:
    """The runs in rows."""
    lines = ["kind       depth  seed  training loss  training error  test error  seconds"]
    for run in runs:
        numbers = f"{run['training_loss']:>14.4f} {run['training_error']:>14.2f}% {run['test_error']:>10.2f}%"
        lines.append(f"{run['kind']:<9} {run['depth']:>6} {run['seed']:>5} {numbers} {run['seconds']:>8.0f}")
    return "\n".join(lines)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Training losses by epoch, plain networks on the left and residual ones on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    depths = sorted({run["depth"] for run in runs})
    colours = dict(zip(depths, plt.get_cmap("viridis")(np.linspace(0.1, 0.8, len(depths))), strict=True))
    for axis, kind in zip(axes, ("plain", "residual"), strict=True):
        for depth in depths:
            losses = [run["losses"] for run in runs if (run["kind"], run["depth"]) == (kind, depth)]
            epochs = np.arange(1, len(losses[0]) + 1)
            axis.plot(epochs, np.mean(losses, axis=0), color=colours[depth], label=f"{depth} layers")
        axis.set(title=f"{kind} networks", xlabel="epoch", yscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.legend(frameon=False)
    axes[0].set_ylabel("training loss")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, unless only the figure is wanted; then the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the paper's experiment")
    parser.add_argument("--figure-only", action="store_true", help="from the newest record")
    arguments = parser.parse_args()
    if arguments.figure_only:
        path = max(RESULTS.glob("degradation-*.json"))
    else:
        settings = FULL if arguments.full else Settings()
        content = {"settings": asdict(settings), "runs": all_trained(settings)}
        path = Path(record("degradation", content, ["triarch", "torch", "numpy"]))
    runs = json.loads(path.read_text())["runs"]
    draw(runs, FIGURE)
    print(table(runs))
    print(f"record {path.name}, figure {FIGURE.name}")


if __name__ == "__main__":
    main()
