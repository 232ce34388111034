"""The picture of what a spatial transformer does: images, the part of each that is looked at, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.patches import Polygon

from triarch.cli.parts import Part
from triarch.cli.pictures import VALIDATION, displayed, picture
from triarch.layers import SpatialTransformer
from triarch.models import Model

_MOST_IMAGES = 10
_CELL, _GAP, _LABELS = 1.1, 0.08, 1.05  # inches


def transformer_of(network: Model) -> SpatialTransformer | None:
    """The first spatial transformer of a network, if it has one."""
    return next((layer for layer in network.layers if isinstance(layer, SpatialTransformer)), None)


def draw_transformed(path: Path, network: Model, part: Part) -> None:
    """Images of as many classes as there are, with the frame that the first spatial transformer takes, and the result.

    Args:
        network: Layers one after the other, a spatial transformer among them.
    """
    transformer = transformer_of(network)
    assert transformer is not None
    images = part.take(_spread_over_classes(part.labels))
    numbers = torch.from_numpy(images.astype(np.float32)).to(network.device)
    with torch.no_grad():
        for layer in network.layers[: network.layers.index(transformer)]:
            numbers = layer(numbers)
        frames, results = transformer.frames(numbers).cpu().numpy(), transformer(numbers).cpu().numpy()
    count, ratio = len(images), images.shape[1] / images.shape[2]
    row_height = _CELL * ratio + _GAP
    width, height = _LABELS + count * (_CELL + _GAP), 0.5 + 2 * row_height
    with picture(path, width, height, layout=None) as figure:
        title = "What the spatial transformer looks at"
        figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", fontsize=13, fontweight="bold")
        for row, (label, shown) in enumerate((("image, frame", images), ("rectified", results))):
            bottom = height - 0.45 - (row + 1) * row_height
            middle = (bottom + row_height / 2) / height
            figure.text((_LABELS - 0.1) / width, middle, label, ha="right", va="center", fontsize=10)
            for column, image in enumerate(shown):
                left = _LABELS + column * (_CELL + _GAP)
                axes = figure.add_axes((left / width, bottom / height, _CELL / width, _CELL * ratio / height))
                axes.set_axis_off()
                own_range = part.value_range if row == 0 else (0.0, 1.0)
                axes.imshow(displayed(image, own_range), cmap="gray", vmin=0, vmax=1, aspect="auto")
                if row == 0:
                    high, wide = image.shape[:2]
                    axes.set_xlim(-0.5 - 0.25 * wide, wide - 0.5 + 0.25 * wide)
                    axes.set_ylim(high - 0.5 + 0.25 * high, -0.5 - 0.25 * high)
                    outline = frames[column]
                    if np.isfinite(outline).all():
                        axes.add_patch(Polygon(outline, fill=False, edgecolor=VALIDATION, linewidth=1.6))


def _spread_over_classes(labels: np.ndarray) -> np.ndarray:
    """Numbers of images: the first of each class, then the second ones, as many as there is room for."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    within = np.arange(len(labels)) - np.repeat(starts, counts)
    return order[np.argsort(within, kind="stable")][:_MOST_IMAGES]
