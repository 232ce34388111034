"""How far networks are indifferent to shifts, turns and scales: without pooling, with it, and with a transformer.

Four networks with the same convolutions learn the same digits, turned within 45 degrees, scaled by 0.7 to 1.2 and
placed anywhere on 42x42 pixels. Then upright digits in the middle are moved step by step: how many are still known, and
how far are the probabilities from those of the digit that was not moved? `scripts/bench invariance [--images 60000]
[--epochs 4]` writes a record and a figure. MNIST is looked for where `TRIARCH_DATASETS` says.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

import triarch
from benchmarks.interleaved import RESULTS, record
from triarch import kernels, layers
from triarch.datasets import DistortedImages, Distortion, distort, mnist

_SIDE = 42
_PLACED = Distortion(canvas=1.5)  # in the middle of the canvas
SHIFTS = tuple(range(9))  # pixels
ANGLES = tuple(range(0, 91, 10))  # degrees
SCALES = tuple(np.round(np.arange(0.5, 1.51, 0.1), 1).tolist())


def networks() -> dict[str, Any]:
    """Name -> network."""
    return {
        "no pooling": _network(2, []),
        "max pooling": _network(1, [layers.MaxPooling2D(), layers.MaxPooling2D()]),
        "average pooling": _network(1, [layers.AveragePooling2D(), layers.AveragePooling2D()]),
        "spatial transformer": _network(
            1,
            [layers.MaxPooling2D(), layers.MaxPooling2D()],
            [layers.SpatialTransformer("cnn", "affine", learning_rate_factor=0.1)],
        ),
    }


def _network(strides: int, poolings: list[Any], before: list[Any] | None = None) -> Any:
    """Two convolutions; where nothing is pooled, they skip every other place."""
    members = [layers.Input((_SIDE, _SIDE, 1)), *(before or [])]
    for number, filters in enumerate((16, 32)):
        members += [
            layers.Conv2D(filters, 5, strides=strides, padding="same", activation="relu"),
            *poolings[number:][:1],
        ]
    return triarch.Sequential([*members, layers.Flatten(), layers.Dense(10, activation="softmax")])


def moved(images: np.ndarray, shift: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Images shifted to the right by so many pixels, turned by degrees, and scaled, about their middle."""
    turn = np.deg2rad(angle)
    inverse = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    theta = np.concatenate([inverse, inverse @ [[-2 * shift / _SIDE], [0.0]]], 1)
    grid = kernels.affine_grid(torch.from_numpy(theta).float().expand(len(images), 2, 3), (_SIDE, _SIDE))
    found: np.ndarray = kernels.grid_sample(torch.from_numpy(images), grid).numpy()
    return found


def curves_of(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy, and the mean change of the probabilities (half the sum of differences), along each way of moving."""
    plain = model.predict(images, batch_size=256, verbose=0)
    curves: dict[str, Any] = {}
    for name, steps in (("shift", SHIFTS), ("angle", ANGLES), ("scale", SCALES)):
        found = [model.predict(moved(images, **{name: step}), batch_size=256, verbose=0) for step in steps]
        curves[name] = {
            "steps": list(steps),
            "accuracy": [round(float((own.argmax(1) == labels).mean()), 4) for own in found],
            "change": [round(float(np.abs(own - plain).sum(1).mean() / 2), 4) for own in found],
        }
    return curves


def draw(path: Any, curves: dict[str, Any]) -> None:
    """A column for each way of moving, accuracy above and change below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", sharex="col")
    labels = {"shift": "Shift (pixels)", "angle": "Rotation (degrees)", "scale": "Scale"}
    for column, (name, label) in enumerate(labels.items()):
        for row, (value, title) in enumerate((("accuracy", "Accuracy"), ("change", "Change of the output"))):
            axes = panels[row, column]
            for network, own in curves.items():
                axes.plot(own[name]["steps"], own[name][value], marker="o", markersize=3, label=network)
            axes.grid(axis="y", color="#d8d8d8", linewidth=0.7)
            if column == 0:
                axes.set_ylabel(title)
            if row == 1:
                axes.set_xlabel(label)
    panels[0, 0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train all four, move digits, and write record and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--tested", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    (x, y), (x_test, y_test) = mnist.load_data()
    x, y = x[: arguments.images, ..., None] / np.float32(255), y[: arguments.images]
    tested = distort(x_test[: arguments.tested, ..., None] / np.float32(255), _PLACED, seed=0)
    labels = y_test[: arguments.tested]
    curves: dict[str, Any] = {}
    triarch.utils.set_random_seed(1)
    for name, model in networks().items():
        model.compile(triarch.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(DistortedImages(x, y, "RTS", batch_size=128, seed=1), epochs=arguments.epochs, verbose=0)
        curves[name] = {"weights": model.count_params(), **curves_of(model, tested, labels)}
        means = {way: np.mean(curves[name][way]["accuracy"]) for way in ("shift", "angle", "scale")}
        shown = ", ".join(f"{way} {mean:.3f}" for way, mean in means.items())
        print(f"{name:20} mean accuracy: {shown}", flush=True)
    draw(RESULTS / "invariance.png", curves)
    print("written to", record("invariance", {"arguments": vars(arguments), "curves": curves}, ["triarch", "torch"]))


if __name__ == "__main__":
    main()
