"""Pictures of several images: one among clutter, and two to be added."""

from __future__ import annotations

from typing import Any

import numpy as np

from triarch import kernels
from triarch.datasets.distorted.arguments import Array, Size, check_labels, checked_images, checked_seed, chunk, pair
from triarch.datasets.distorted.distortion import KINDS, canvas_of, distort
from triarch.datasets.distorted.draws import CHOOSING, CLUTTERING, PLACING, below, uniforms


def cluttered(
    images: Any,
    labels: Any,
    seed: int | None = None,
    size: int | Size = 60,
    clutter: int = 16,
    patch: int = 6,
) -> tuple[Array, Array]:
    """Each image at a random place of a black canvas, among patches cut out of other images.

    Where things overlap the brighter one is seen, so no pixel of the image is lost.

    Args:
        images: As for `distort`.
        labels: One for each image.
        seed: As for `distort`. Places depend on it and on the image's number, patches on the other images as well.
        size: Side, or height and width, of the canvas.
        clutter: How many patches there are.
        patch: Their side, in pixels.

    Returns:
        The pictures, of the images' type, and the labels.

    Raises:
        ValueError: Images and labels do not belong together, images or patches do not fit in, or there is no other
            image to take patches from.
    """
    images, labels, seed = checked_images(images), np.asarray(labels), checked_seed(seed)
    check_labels(images, labels)
    count, frame = len(images), (images.shape[1], images.shape[2])
    canvas = pair(size)
    if canvas[0] < frame[0] or canvas[1] < frame[1]:
        raise ValueError(f"The canvas holds the images. Received: size={size!r} for images of {frame[0]}x{frame[1]}")
    if clutter < 0 or not 0 < patch <= min(frame):
        raise ValueError(
            f"`clutter` is not negative, and `patch` from 1 to the images' smaller side, {min(frame)}. "
            f"Received: clutter={clutter!r}, patch={patch!r}"
        )
    if clutter and count < 2:
        raise ValueError("Clutter is cut out of other images: there are at least 2. Received: 1 image")
    found = np.zeros((count, *canvas, *images.shape[3:]), images.dtype)
    step, cut = chunk(found), (patch, patch)
    for start in range(0, count, step):
        part = found[start : start + step]
        own = np.arange(len(part))
        places = _places(uniforms(seed, PLACING, start, len(part), 2), canvas, frame)
        part[_window(own, places, frame)] = images[start : start + step]
        draws = uniforms(seed, CLUTTERING, start, len(part), 5 * clutter)
        for piece in range(clutter):
            which, origin, place = np.split(draws[:, 5 * piece : 5 * piece + 5], (1, 3), 1)
            others = (start + own + 1 + below(which[:, 0], count - 1)) % count
            patches = images[_window(others, _places(origin, frame, cut), cut)]
            covered = _window(own, _places(place, canvas, cut), cut)
            part[covered] = np.maximum(part[covered], patches)
    return found, labels


def digit_addition(
    images: Any, labels: Any, count: int, seed: int | None = None, size: int | Size = 42
) -> tuple[Array, Array]:
    """Pairs of digits to be added: each digit is distorted for itself, as by `"RTS"`, in a channel of its own.

    Args:
        images: `(n, height, width)` or `(n, height, width, 1)`, uint8 or floats.
        labels: `(n,)`, the digits as whole numbers.
        count: How many pairs there shall be; both digits of each are drawn from all.
        seed: As for `distort`; a pair depends on it and on the pair's number.
        size: As for `distort`.

    Returns:
        `(count, height, width, 2)`, of the images' type, and the sums `(count,)`, int64.

    Raises:
        ValueError: Images have several channels, labels are not whole numbers of that shape, `count` is not positive,
            or as for `distort`.
    """
    images, labels, seed = checked_images(images), np.asarray(labels), checked_seed(seed)
    check_labels(images, labels)
    if images.ndim == 4 and images.shape[3] != 1:
        raise ValueError(f"The digits have one channel. Received: images of shape {images.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"Labels are whole numbers (n,). Received: {labels.dtype} of shape {labels.shape}")
    if not hasattr(count, "__index__") or count < 1:
        raise ValueError(f"`count` is how many pairs to make, at least 1. Received: count={count!r}")
    images = images.reshape(images.shape[:3])
    canvas = canvas_of(KINDS["RTS"], (images.shape[1], images.shape[2]), size)
    chosen = below(uniforms(seed, CHOOSING, 0, count, 2), len(images))
    found = np.empty((count, *canvas, 2), images.dtype)
    step = chunk(found)
    with kernels.expecting(-(-count // step)):
        for start in range(0, count, step):
            pairs = chosen[start : start + step]
            digits = distort(images[pairs.ravel()], "RTS", seed, canvas, first=2 * start)
            found[start : start + step] = np.moveaxis(digits.reshape(len(pairs), 2, *canvas), 1, 3)
    return found, labels.astype(np.int64)[chosen].sum(1)


def _places(uniforms: Array, outer: Size, inner: Size) -> Array:
    """Where `(n, 2)` a rectangle begins that lies anywhere in another one: row and column."""
    return np.stack([below(uniforms[:, axis], outer[axis] - inner[axis] + 1) for axis in (0, 1)], 1)


def _window(numbers: Array, places: Array, size: Size) -> tuple[Array, Array, Array]:
    """The index of a rectangle that begins in each of these images at its own place."""
    rows, columns = (places[:, axis, None] + np.arange(size[axis]) for axis in (0, 1))
    return numbers[:, None, None], rows[:, :, None], columns[:, None, :]
