"""What the makers of distorted images are given, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from triarch.random import make_default_seed

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

TYPES = ("uint8", "float16", "float32", "float64")
CHUNK = 2**18  # numbers of the results that are computed at a time


def chunk(found: Array) -> int:
    """How many images to compute at a time."""
    return max(1, CHUNK // math.prod(found.shape[1:]))


def checked_images(images: Any) -> Array:
    images = np.asarray(images)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            "Images have the shape (n, height, width) or (n, height, width, channels), none of it 0. "
            f"Received: shape {images.shape}"
        )
    if images.dtype not in TYPES:
        raise ValueError(f"Images are of type {', '.join(TYPES)}. Received: {images.dtype}")
    return images


def check_labels(images: Array, labels: Array) -> None:
    if not labels.ndim or len(labels) != len(images):
        raise ValueError(
            f"There is a label for each image. Received: labels of shape {labels.shape} for {len(images)} images"
        )


def checked_seed(seed: int | None) -> int:
    if seed is None:
        return make_default_seed()
    if not hasattr(seed, "__index__") or not 0 <= seed < 2**64:
        raise ValueError(f"`seed` is a whole number from 0 to 2**64 - 1, or None. Received: seed={seed!r}")
    return int(seed)


def pair(size: Any) -> Size:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(hasattr(side, "__index__") and side > 0 for side in sides):
        raise ValueError(f"`size` is a side, or height and width, of at least 1 pixel. Received: size={size!r}")
    return int(sides[0]), int(sides[1])
