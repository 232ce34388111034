"""The pictures of a result folder: curves, confusion, mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from triarch.cli.data import Part
from triarch.files import atomic_write

TRAINING, VALIDATION = "#2f6db3", "#e07b2a"
_INK, _FAINT = "#222222", "#d8d8d8"
_STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.labelsize": 11,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "grid.color": _FAINT,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WRONG = "#b3470b"
_MOST_MISTAKES = 24
_COLUMNS, _CELL = 6, 1.9  # inches
_LONGEST_NAME = 14
_MOST_NUMBERED = 20  # classes up to which each cell of the confusion shows its number


@contextmanager
def _picture(path: Path, width: float, height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """A figure of this size in inches, written to `path` at the end."""
    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), dpi=150, layout=layout)
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, facecolor="white", bbox_inches="tight", pad_inches=0.15)


def draw_curves(path: Path, rows: Sequence[Mapping[str, float]], title: str) -> None:
    """Loss and accuracy of training and validation over the epochs."""
    epochs = [row["epoch"] for row in rows]
    with _picture(path, 10, 4.2) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
        left, right = figure.subplots(1, 2)
        for axes, name, label in ((left, "loss", "Loss (cross-entropy, nats)"), (right, "accuracy", "Accuracy")):
            axes.set_title(label)
            axes.set_xlabel("Epoch")
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(0.5, len(epochs) + 0.5)
            for key, text, color in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
                values = [row[key] for row in rows]
                axes.plot(epochs, values, color=color, linewidth=2, marker="o", markersize=4, label=text)
        left.set_yscale("log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_locator(NullLocator())
        left.legend(frameon=False, loc="upper right")
        right.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
        right.legend(frameon=False, loc="lower right")


def draw_confusion(
    path: Path, predicted: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str
) -> None:
    """How often each true class (row) was taken for each class (column).

    The diagonal is blue by the share of the row; mistakes are orange by their share of the largest one.
    """
    classes = len(class_names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    on_diagonal = np.eye(classes, dtype=bool)
    wrong = np.where(on_diagonal, 0, shares)
    colors = np.where(
        on_diagonal[..., None],
        colormaps["Blues"](0.12 + 0.6 * shares),
        colormaps["Oranges"](np.where(wrong > 0, 0.12 + 0.6 * wrong / max(wrong.max(), 1e-9), 0)),
    )
    colors[counts == 0] = 1
    side = min(max(5.5, 1.8 + 0.55 * classes), 14)
    with _picture(path, side, side) as figure:
        axes = figure.subplots()
        axes.imshow(colors)
        axes.set_title(title, fontweight="bold", pad=12)
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")
        _label_classes(axes, class_names)
        if classes <= _MOST_NUMBERED:
            for row, column in np.argwhere(counts):
                is_dark = colors[row, column, :3].mean() < 0.55
                color = "white" if is_dark else _INK
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color, fontsize=10)


def _label_classes(axes: Axes, class_names: Sequence[str]) -> None:
    ticks = range(len(class_names))
    long = max(map(len, class_names)) > 3
    axes.set_xticks(ticks, class_names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(ticks, class_names)
    axes.tick_params(length=0, labelsize=10 if len(class_names) <= _MOST_NUMBERED else 6)
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.set_xticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.grid(which="minor")
    axes.tick_params(which="minor", length=0)


def draw_mistakes(
    path: Path,
    probabilities: np.ndarray,
    part: Part,
    class_names: Sequence[str],
    value_range: tuple[float, float],
) -> None:
    """The images that the model got wrong, those first in whose true class it believed least."""
    predicted = probabilities.argmax(-1)
    wrong = np.flatnonzero(predicted != part.labels)
    belief = probabilities[wrong, part.labels[wrong]]
    worst = wrong[np.argsort(belief, kind="stable")][:_MOST_MISTAKES]
    columns = min(_COLUMNS, max(len(worst), 1))
    side = _CELL - 0.2
    image_height = side * part.images.shape[1] / part.images.shape[2]
    row_height = image_height + 0.6
    width = max(columns * _CELL, 5.5)
    height = max(0.4 + row_height * -(-len(worst) // columns), 0.9)
    shown = "" if len(worst) == len(wrong) else f", the {len(worst)} worst first"
    with _picture(path, width, height, layout=None) as figure:
        if not len(worst):
            figure.text(0.1 / width, 0.3, "Every image was given its true class.", color=TRAINING)
        title = f"Mistakes: {len(wrong):,} of {len(part):,} test images{shown}"
        figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", fontsize=13, fontweight="bold")
        for place, index in enumerate(worst):
            row, column = divmod(place, columns)
            left, bottom = column * _CELL + 0.1, height - 0.3 - (row + 1) * row_height
            axes = figure.add_axes((left / width, bottom / height, side / width, image_height / height))
            axes.set_axis_off()
            axes.imshow(
                _displayed(part.images[index], value_range), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            true, taken = (_shortened(class_names[number]) for number in (part.labels[index], predicted[index]))
            share = f"{probabilities[index, predicted[index]]:.0%}".replace("%", " %")
            caption: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
            axes.text(0.5, 1 + 0.24 / image_height, f"is {true}", fontsize=10.5, **caption)
            axes.text(
                0.5, 1 + 0.06 / image_height, f"taken for {taken}, {share}", fontsize=8.5, color=_WRONG, **caption
            )


def _displayed(image: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """The image with values 0..1; without the channel axis where it is grey."""
    lowest, highest = value_range
    scaled = ((image.astype(np.float32) - lowest) / (highest - lowest)).clip(0, 1)
    return scaled[..., 0] if scaled.shape[-1] == 1 else scaled


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
