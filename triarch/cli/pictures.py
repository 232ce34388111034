"""The pictures of a result folder: curves, confusion, mistakes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from triarch.cli import fonts
from triarch.cli.output import one_line
from triarch.cli.parts import Part
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
    "text.parse_math": False,  # a $ in a class name is a $
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WRONG_TEXT = "#b3470b"
_RIGHT, _WRONG = (ListedColormap(colormaps[name](np.linspace(0.12, 0.72, 256))) for name in ("Blues", "Oranges"))
_MOST_MISTAKES = 24
_COLUMNS, _CELL = 6, 1.9  # inches
_LONGEST_NAME = 14
_LONGEST_LABEL = 24
_MOST_SLANTED = 20  # classes whose names fit below the confusion at an angle
_SMALLEST_FONT = 6.0  # points
_MOST_CLASSES, _SHOWN_CLASSES = 100, 50  # of a confusion in full, and of one in part


@contextmanager
def picture(path: Path, width: float, height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """A figure of this size in inches in the style of all our pictures, written to `path` at the end."""
    with rc_context(_STYLE | {"font.family": fonts.families()}), fonts.missing_letters_told_once():  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), dpi=150, layout=layout)
        yield figure
        content = io.BytesIO()  # Pillow, which writes it, takes a part of a file for the whole where a disk is full
        kind = path.suffix.removeprefix(".") or "png"
        figure.savefig(content, format=kind, facecolor="white", bbox_inches="tight", pad_inches=0.15)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content.getbuffer())


def draw_curves(path: Path, rows: Sequence[Mapping[str, float]], title: str) -> None:
    """Loss of training and validation over the epochs, and accuracy where there is one."""
    epochs = [row["epoch"] for row in rows]
    has_accuracy = "accuracy" in rows[0]
    with picture(path, 10 if has_accuracy else 6, 4.2) as figure:
        figure.suptitle(one_line(title), x=0.01, ha="left", fontsize=14, fontweight="bold")
        left, *others = figure.subplots(1, 1 + has_accuracy, squeeze=False)[0]
        panels = [(left, "loss", "Loss (cross-entropy, nats)" if has_accuracy else "Loss (mean square)")]
        panels += [(axes, "accuracy", "Accuracy") for axes in others]
        for axes, name, label in panels:
            axes.set_title(label)
            axes.set_xlabel("Epoch")
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(0.5, len(epochs) + 0.5)
            for key, text, color in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
                values = [row[key] for row in rows]
                axes.plot(epochs, values, color=color, linewidth=2, marker="o", markersize=4, label=text)
        losses = [value for row in rows for value in (row["loss"], row["val_loss"]) if 0 < value < math.inf]
        if losses:
            low, high = min(losses) / 1.1, max(losses) * 1.1
            left.set_yscale("log")
            left.set_ylim(low, high)
            left.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
            left.yaxis.set_minor_locator(NullLocator())
        left.yaxis.set_major_formatter("{x:g}")
        left.legend(frameon=False, loc="upper right")
        for right in others:
            lowest, highest = right.get_ylim()
            right.set_ylim(top=min(highest, 1 + 0.05 * (1 - lowest)))  # no tick above 100 %
            right.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
            right.legend(frameon=False, loc="lower right")


def draw_forecast(path: Path, truth: np.ndarray, found: np.ndarray, column: str, title: str) -> None:
    """A series that was not learnt, and what was forecast of it."""
    with picture(path, 10, 4.2) as figure:
        figure.suptitle(one_line(title), x=0.01, ha="left", fontsize=14, fontweight="bold")
        axes = figure.subplots()
        axes.plot(truth, color="#888888", linewidth=1.6, label=one_line(column))
        axes.plot(found, color=TRAINING, linewidth=1.6, label="forecast")
        axes.set_xlabel("Steps, none of which was learnt")
        axes.set_ylabel(one_line(column))
        axes.grid(axis="y")
        axes.legend(frameon=False)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis: at least two, and about as few as tell the values between them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks
    ticks = [float(f"{tick:.9g}") for tick in MaxNLocator(5).tick_values(low, high)]
    return [tick for tick in ticks if low <= tick <= high]


def draw_confusion(
    path: Path, predicted: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str
) -> None:
    """How often each true class (row) was taken for each class (column).

    The diagonal is blue by the share of the row; mistakes are orange by their share of the largest one. Cells too small
    for their counts have colour bars instead. Of more classes than can be told apart, those with the most mistakes are
    shown.
    """
    shown = _most_mistaken(predicted, labels, len(class_names))
    if len(shown) < len(class_names):
        title = f"{title}\n{len(shown)} of {len(class_names):,} classes, those with the most mistakes"
        class_names = [class_names[number] for number in shown]
    classes = len(class_names)
    places = np.full(1 + max(shown[-1], labels.max(initial=0), predicted.max(initial=0)), classes)
    places[shown] = np.arange(classes)  # all others lie in a row and a column behind them
    counts = np.zeros((classes + 1, classes + 1), int)
    np.add.at(counts, (places[labels], places[predicted]), 1)
    sizes = counts[:classes].sum(1, keepdims=True)
    counts = counts[:classes, :classes]
    shares = counts / sizes.clip(1)
    on_diagonal = np.eye(classes, dtype=bool)
    wrong = np.where(on_diagonal, 0, shares)
    most_wrong = wrong.max() or 1.0
    colors = np.where(on_diagonal[..., None], _RIGHT(shares), _WRONG(wrong / most_wrong))
    colors[counts == 0] = 1
    side = min(max(5.5, 1.8 + 0.55 * classes), 14)
    with picture(path, side, side) as figure:
        axes = figure.subplots()
        axes.imshow(colors)
        axes.set_title(title, fontweight="bold", pad=12)
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")
        _label_classes(axes, class_names)
        figure.draw_without_rendering()  # lays it out, so that the size of a cell is known
        cell = axes.get_window_extent().width / classes * 72 / figure.dpi  # points
        font_size = min(10.0, cell / (0.6 * len(f"{counts.max():,}") + 0.4))
        if font_size >= _SMALLEST_FONT:
            for row, column in np.argwhere(counts):
                color = "white" if colors[row, column, :3].mean() < 0.55 else _INK
                text = f"{counts[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=font_size)
        else:
            _add_color_bar(axes, 0.55, _RIGHT, 1.0, "Right, share of the true class")
            _add_color_bar(axes, 0.05, _WRONG, most_wrong, "Wrong, share of the true class")


def _most_mistaken(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The numbers of the classes that are shown, in their order."""
    if classes <= _MOST_CLASSES:
        return np.arange(classes)
    wrong = predicted != labels
    mistakes = sum(np.bincount(numbers[wrong], minlength=classes) for numbers in (labels, predicted))
    return np.sort(np.argsort(-np.asarray(mistakes), kind="stable")[:_SHOWN_CLASSES])


def _add_color_bar(axes: Axes, bottom: float, colors: Colormap, highest: float, label: str) -> None:
    place = axes.inset_axes((1.03, bottom, 0.025, 0.4))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(0, 100 * highest), colors), cax=place, label=label)
    bar.ax.yaxis.set_major_formatter("{x:g} %")
    bar.outline.set_visible(False)


def _label_classes(axes: Axes, class_names: Sequence[str]) -> None:
    ticks = range(len(class_names))
    names = shortened(class_names, _LONGEST_LABEL)
    rotation = 0 if max(map(len, names)) <= 3 else 45 if len(names) <= _MOST_SLANTED else 90
    axes.set_xticks(ticks, names, rotation=rotation, ha="right" if rotation == 45 else "center")
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0, labelsize=min(10, max(3, 600 / len(names))))
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.set_xticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.grid(which="minor")
    axes.tick_params(which="minor", length=0)


def draw_mistakes(path: Path, probabilities: np.ndarray, part: Part, class_names: Sequence[str]) -> None:
    """The images that the model got wrong, those first of whose wrong class it was surest."""
    predicted = probabilities.argmax(-1)
    wrong = worst_mistakes(probabilities, part.labels)
    worst = wrong[:_MOST_MISTAKES]
    names = shortened(class_names, _LONGEST_NAME)
    columns = min(_COLUMNS, max(len(worst), 1))
    side = _CELL - 0.2
    image_height = side * part.shape[0] / part.shape[1]
    row_height = image_height + 0.6
    width = max(columns * _CELL, 5.5)
    height = max(0.4 + row_height * -(-len(worst) // columns), 0.9)
    shown = "" if len(worst) == len(wrong) else f", the {len(worst)} worst first"
    with picture(path, width, height, layout=None) as figure:
        if not len(worst):
            figure.text(0.1 / width, 0.3, "Every image was given its true class.", color=TRAINING)
        title = f"Mistakes: {len(wrong):,} of {len(part):,} test images{shown}"
        figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", fontsize=13, fontweight="bold")
        for place, (index, image) in enumerate(zip(worst, part.take(worst), strict=True)):
            row, column = divmod(place, columns)
            left, bottom = column * _CELL + 0.1, height - 0.3 - (row + 1) * row_height
            axes = figure.add_axes((left / width, bottom / height, side / width, image_height / height))
            axes.set_axis_off()
            shown_image = displayed(image, part.value_range)
            axes.imshow(shown_image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            true, taken = names[part.labels[index]], names[predicted[index]]
            share = f"{probabilities[index, predicted[index]]:.0%}".replace("%", " %")
            caption: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
            axes.text(0.5, 1 + 0.24 / image_height, f"is {true}", fontsize=10.5, **caption)
            axes.text(
                0.5, 1 + 0.06 / image_height, f"taken for {taken}, {share}", fontsize=8.5, color=_WRONG_TEXT, **caption
            )


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Numbers of the images with a wrong answer, those of the surest answers first."""
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")]


def displayed(image: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """The image with values 0..1; without the channel axis where it is grey."""
    lowest, highest = value_range
    scaled = ((image.astype(np.float32) - lowest) / (highest - lowest)).clip(0, 1)
    return scaled[..., 0] if scaled.shape[-1] == 1 else scaled


def shortened(names: Sequence[str], longest: int) -> list[str]:
    """Names of up to so many characters, long ones without their middle; longer where two would look the same."""
    names = [one_line(name) for name in names]
    for length in range(longest, max(map(len, names)) + 1):
        short = [_without_middle(name, length) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def _without_middle(name: str, length: int) -> str:
    tail = length // 2
    return name if len(name) <= length else f"{name[: length - 1 - tail]}…{name[-tail:]}"
