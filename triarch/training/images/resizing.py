"""Images in another size, as `tf.image.resize` makes them: each pixel from those near its place, none averaged away.

It is done in NumPy, one image at a time: the calls let other threads run, and start no threads of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def _keys_cubic(x: Array) -> Array:
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, far)


def _mitchell_cubic(x: Array) -> Array:
    near, far = (7 * x - 12) * x * x + 16 / 3, ((-7 / 3 * x + 12) * x - 20) * x + 32 / 3
    return np.where(x < 1, near, far) / 6


# How far from its place a pixel counts, and how much: a function of the distance.
_WEIGHTS: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "bilinear": (1, lambda x: 1 - x),
    "bicubic": (2, _keys_cubic),
    "gaussian": (1.5, lambda x: np.exp(-2 * x * x)),
    "lanczos3": (3, lambda x: np.sinc(x) * np.sinc(x / 3)),
    "lanczos5": (5, lambda x: np.sinc(x) * np.sinc(x / 5)),
    "mitchellcubic": (2, _mitchell_cubic),
}
_BLURRING = ("gaussian", "mitchellcubic")  # at the size that is there, too
INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")


def resize(pixels: Array, out: Array, interpolation: str) -> None:
    """Fill `out`, float32 of shape `(new height, new width, channels)`, with `pixels` `(height, width, channels)`."""
    (height, width, channels), (new_height, new_width, _) = pixels.shape, out.shape
    if pixels.shape == out.shape and interpolation not in _BLURRING:
        out[...] = pixels
        return
    lines, rows = pixels.reshape(height, -1), _taps(interpolation, height, new_height, 1)
    if len(rows) * new_height < height:  # fewer lines are read than there are
        lines = lines.take(np.concatenate([places for places, _ in rows]), 0)
        rows = [(np.arange(new_height) + tap * new_height, weights) for tap, (_, weights) in enumerate(rows)]
    narrow = np.empty((len(lines), new_width * channels), np.float32)
    _mix(lines, 1, _taps(interpolation, width, new_width, channels), narrow)
    filled = np.empty((new_height, new_width * channels), np.float32)
    _mix(narrow, 0, rows, filled)
    out[...] = filled.reshape(out.shape)


def resize_cropped(pixels: Array, out: Array, interpolation: str) -> None:
    """Fill `out` with the largest part of its shape from the middle of `pixels`."""
    (height, width), (new_height, new_width) = pixels.shape[:2], out.shape[:2]
    rows = max(1, min(height, int(np.float32(width * new_height) / np.float32(new_width))))
    columns = max(1, min(width, int(np.float32(height * new_width) / np.float32(new_height))))
    top, left = (height - rows) // 2, (width - columns) // 2
    resize(np.ascontiguousarray(pixels[top : top + rows, left : left + columns]), out, interpolation)


def resize_padded(pixels: Array, out: Array, interpolation: str) -> None:
    """Fill the middle of `out` with the whole of `pixels` in their own shape, and the rest with zeros."""
    sides, new_sides = np.float32(pixels.shape[:2]), np.float32(out.shape[:2])
    exact = sides / (sides / new_sides).max()
    rows, columns = (max(1, int(side)) for side in exact)
    top, left = (max(0, int(margin)) for margin in (new_sides - exact) / 2)
    out[...] = 0
    resize(pixels, out[top : top + rows, left : left + columns], interpolation)


def _mix(values: Array, axis: int, taps: list[tuple[Array, Array]], out: Array) -> None:
    """Fill `out` with the sum of the taps along an axis of a matrix: values taken at places, times weights."""
    part = np.empty_like(out) if len(taps) > 1 else out
    for number, (places, weights) in enumerate(taps):
        taken = values.take(places, axis)
        np.multiply(taken, weights[:, None] if axis == 0 else weights, out=part if number else out)
        if number:
            out += part


@lru_cache(maxsize=1024)
def _taps(interpolation: str, size: int, new_size: int, channels: int) -> list[tuple[Array, Array]]:
    """For each of the pixels that count, as many as there are: its place and weight for all new places."""
    scale = np.float32(size) / np.float32(new_size)
    numbers = np.arange(new_size, dtype=np.float32)
    if interpolation == "nearest":
        places = ((numbers + np.float32(0.5)) * scale).astype(np.int64)[:, None]
        weights = np.ones_like(places, np.float32)
    elif interpolation == "area":
        begin, end = (numbers * scale)[:, None], ((numbers + 1) * scale)[:, None]
        places = begin.astype(np.int64) + np.arange(int(np.ceil(scale)) + 1)
        weights = (np.minimum(end, places + 1) - np.maximum(begin, places)).clip(0) / scale
    else:
        radius, weight_of = _WEIGHTS[interpolation]
        centres = ((numbers + np.float32(0.5)) * scale - np.float32(0.5))[:, None]
        places = np.ceil(centres - np.float32(radius)).astype(np.int64) + np.arange(int(2 * radius) + 1)
        distances = abs(places - centres)
        weights = np.where((distances < radius) & (places >= 0) & (places < size), weight_of(distances), 0)
        weights /= weights.sum(1, keepdims=True)
    places = (places.clip(0, size - 1)[..., None] * channels + np.arange(channels)).transpose(1, 0, 2)
    repeated = np.repeat(weights.astype(np.float32).T, channels, axis=1)
    return [(places[tap].ravel(), repeated[tap]) for tap in range(len(places)) if repeated[tap].any()]
