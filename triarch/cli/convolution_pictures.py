"""The picture of `triarch convolve`: both operands and the result beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from triarch.cli.output import CommandError
from triarch.cli.pictures import TRAINING, VALIDATION, picture

RESULT = "#3a8a57"
_MOST_STEMS = 80  # points that are drawn each on its own
_SIDE = 3.6  # inches of an image

Array = np.ndarray


def check_format(path: Path) -> None:
    """Refuse a picture whose suffix names no format."""
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        raise CommandError(
            f"--plot expects one of {', '.join(f'.{name}' for name in sorted(formats))}. Received: {path}"
        )


def check_drawable(a: Array, b: Array) -> None:
    """Refuse operands that are neither curves nor images."""
    for x in (a, b):
        if x.ndim not in (1, 2) and not _is_image(x):
            raise CommandError(f"--plot shows one axis, two axes or colour images. Received: shape {x.shape}")


def _is_image(x: Array) -> bool:
    return x.ndim == 2 or (x.ndim == 3 and x.shape[-1] in (1, 3))


def draw_convolution(path: Path, arrays: tuple[Array, Array, Array], names: tuple[str, str, str]) -> None:
    """Operands and result: of one axis as curves below each other, of two axes as images in a row."""
    panels = [(_drawable(x), name) for x, name in zip(arrays, names, strict=True)]
    if arrays[-1].ndim == 1:
        _draw_curves(path, panels)
    else:
        _draw_images(path, panels)


def _drawable(x: Array) -> Array:
    """Floats; of complex numbers the magnitude."""
    return np.abs(x).astype(np.float64) if x.dtype.kind == "c" else x.astype(np.float64)


def _draw_curves(path: Path, panels: list[tuple[Array, str]]) -> None:
    is_short = max(x.size for x, _ in panels) <= _MOST_STEMS
    with picture(path, 9, 6.2) as figure:
        every: Any = figure.subplots(3, 1, sharex=is_short)  # of long signals a kernel would be a dot
        for axes, (x, name), color in zip(every, panels, (TRAINING, VALIDATION, RESULT), strict=True):
            axes.set_title(name)
            axes.axhline(0, color="#888888", linewidth=0.8)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if x.size <= _MOST_STEMS:
                axes.vlines(np.arange(x.size), 0, x, color=color, linewidth=1.6)
                axes.plot(x, linestyle="none", marker="o", markersize=5, color=color)
            else:
                axes.plot(x, color=color, linewidth=1.1)
        every[-1].set_xlabel("Place")


def _draw_images(path: Path, panels: list[tuple[Array, str]]) -> None:
    with picture(path, 3 * _SIDE, _SIDE + 0.4) as figure:
        every: Any = figure.subplots(1, 3)
        for axes, (x, name) in zip(every, panels, strict=True):
            axes.set_title(name)
            axes.set_xticks([])
            axes.set_yticks([])
            if x.ndim == 3 and x.shape[-1] > 1:
                axes.imshow((x.clip(0, 255) / 255), interpolation="nearest")
                continue
            shown = axes.imshow(x.reshape(x.shape[:2]), cmap="gray", interpolation="nearest")
            bar = figure.colorbar(shown, ax=axes, shrink=0.8)
            bar.outline.set_visible(False)
