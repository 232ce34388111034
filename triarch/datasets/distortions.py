"""Images turned, moved, warped, bent and hidden in clutter, to see which networks find them again.

The data of Jaderberg, Simonyan, Zisserman and Kavukcuoglu, "Spatial Transformer Networks" (2015), section 4.1 and
appendix A. Distortions are numbered: what happens to an image depends on the seed and on its number, so it is the same
in batches of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from triarch import kernels
from triarch.random import make_default_seed
from triarch.training.py_dataset import PyDataset

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

_TYPES = ("uint8", "float16", "float32", "float64")
_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # x and y, one after the other
_LATTICE = (4, 4)  # rows and columns of control points
_CHUNK = 2**18  # numbers of the results that are computed at a time

# Series of random numbers; the n-th attempt at one takes the stream 8 n further on.
_PLACING, _STRETCHING, _MIXING, _CHOOSING, _CLUTTERING = range(5)


@dataclass(frozen=True)
class Distortion:
    """How far images are distorted; draws are uniform, but for those of `corners` and `points`.

    Args:
        angle: Degrees that the image turns to either side, at most.
        scale: Smallest and largest factor of its size.
        roams: Whether it lies anywhere on the canvas where its frame fits in (before it is turned and scaled), rather
            than in the middle.
        corners: Standard deviation, in pixels of the canvas, of the normal noise on x and y of each corner of the
            image; the rest follows by the projective map that moves the corners so. Noise that folds the image over is
            drawn again.
        points: Standard deviation, in pixels of the canvas, of the normal noise on x and y of 4 × 4 control points
            laid over all of it; a thin-plate spline moves the rest.
        canvas: Sides of the result, as multiples of the image's.

    Raises:
        ValueError: An extent is negative, a scale not positive, or one of them not finite.
    """

    angle: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    roams: bool = False
    corners: float = 0.0
    points: float = 0.0
    canvas: float = 1.0

    def __post_init__(self) -> None:
        extents = self.angle, self.corners, self.points
        if not all(0 <= extent < math.inf for extent in extents) or not 0 < self.canvas < math.inf:
            raise ValueError(f"`angle`, `corners` and `points` are not negative, `canvas` positive. Received: {self}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"`scale` is the smallest and the largest factor, above 0. Received: {self}")


KINDS = {
    "R": Distortion(angle=90),
    "RTS": Distortion(angle=45, scale=(0.7, 1.2), roams=True, canvas=1.5),
    "P": Distortion(scale=(0.75, 1.0), corners=5),
    "E": Distortion(scale=(0.75, 1.0), points=1.5),
}


def distort(
    images: Any, kind: str | Distortion, seed: int | None = None, size: int | Size | None = None, first: int = 0
) -> Array:
    """Images, each of them distorted in its own way; what comes in from outside is 0.

    Args:
        images: `(n, height, width)` or `(n, height, width, channels)`, uint8 or floats.
        kind: `"R"` (turned), `"RTS"` (turned, scaled, and moved on a canvas of 1.5 times the sides: 42x42 for MNIST),
            `"P"` (projective maps), `"E"` (elastic), or a `Distortion`. The figures are those of `KINDS`, in pixels of
            28x28 images.
        seed: From 0 to 2**64 - 1. The same seed gives the same images; floats up to their rounding.
        size: Side, or height and width, of the canvas, in the middle of which images of their own size lie or about
            which they roam.
        first: The number of the first image. Images `[a:b]` with `first=a` become those that they become among all.

    Returns:
        Images of the same type and range, on the canvas.

    Raises:
        ValueError: `kind` has another name, there are no images, they or `size` have another shape or type, or images
            are to roam on a canvas that is smaller than they are.
    """
    images, rule, seed = _images(images), _rule(kind), _seed(seed)
    count, frame = len(images), (images.shape[1], images.shape[2])
    canvas = _canvas(rule, frame, size)
    if not hasattr(first, "__index__") or first < 0:
        raise ValueError(f"`first` is the number of the first image, from 0 on. Received: first={first!r}")
    flat = images.reshape(count, *frame, -1)
    found = np.empty((count, *canvas, flat.shape[3]), images.dtype)
    step = _chunk(found)
    with kernels.expecting(-(-count // step)):
        for start in range(0, count, step):
            part = slice(start, start + step)
            found[part] = _distorted(flat[part], rule, seed, first + start, canvas)
    return found.reshape(count, *canvas, *images.shape[3:])


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
    images, labels, seed = _images(images), np.asarray(labels), _seed(seed)
    _check_labels(images, labels)
    count, frame = len(images), (images.shape[1], images.shape[2])
    canvas = _pair(size)
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
    step, cut = _chunk(found), (patch, patch)
    for start in range(0, count, step):
        part = found[start : start + step]
        own = np.arange(len(part))
        places = _places(_uniforms(seed, _PLACING, start, len(part), 2), canvas, frame)
        part[_window(own, places, frame)] = images[start : start + step]
        draws = _uniforms(seed, _CLUTTERING, start, len(part), 5 * clutter)
        for piece in range(clutter):
            which, origin, place = np.split(draws[:, 5 * piece : 5 * piece + 5], (1, 3), 1)
            others = (start + own + 1 + _below(which[:, 0], count - 1)) % count
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
    images, labels, seed = _images(images), np.asarray(labels), _seed(seed)
    _check_labels(images, labels)
    if images.ndim == 4 and images.shape[3] != 1:
        raise ValueError(f"The digits have one channel. Received: images of shape {images.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"Labels are whole numbers (n,). Received: {labels.dtype} of shape {labels.shape}")
    if not hasattr(count, "__index__") or count < 1:
        raise ValueError(f"`count` is how many pairs to make, at least 1. Received: count={count!r}")
    images = images.reshape(images.shape[:3])
    canvas = _canvas(KINDS["RTS"], (images.shape[1], images.shape[2]), size)
    chosen = _below(_uniforms(seed, _CHOOSING, 0, count, 2), len(images))
    found = np.empty((count, *canvas, 2), images.dtype)
    step = _chunk(found)
    with kernels.expecting(-(-count // step)):
        for start in range(0, count, step):
            pairs = chosen[start : start + step]
            digits = distort(images[pairs.ravel()], "RTS", seed, canvas, first=2 * start)
            found[start : start + step] = np.moveaxis(digits.reshape(len(pairs), 2, *canvas), 1, 3)
    return found, labels.astype(np.int64)[chosen].sum(1)


class DistortedImages(PyDataset):
    """Batches of images that are distorted anew at every pass: `fit` never sees the same picture twice.

    The first pass distorts `n` images by the distortions number 0 to `n - 1` of the seed, the second by the next `n`,
    and so on; in an order of its own, if they are mixed. Batch number `index` is `dataset[index]`; numbers from
    `len(dataset)` on are those of later passes. `evaluate` and `predict` pass over them, too: to measure on the same
    pictures each time, make them once with `distort`.

    Attributes:
        epoch: The pass that comes next, from 0 on. Set it to go on with a training that was stopped.

    Args:
        images, kind, seed, size: As for `distort`.
        labels: One for each image, in the first axis.
        batch_size: How many images a batch has; the last one of a pass has what is left.
        shuffle: Whether images are mixed, anew in every pass.
        workers, use_multiprocessing, max_queue_size: As for `PyDataset`.

    Raises:
        ValueError: As for `distort`, or there are not as many labels, or `batch_size` is not positive.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        kind: str | Distortion,
        batch_size: int = 32,
        seed: int | None = None,
        size: int | Size | None = None,
        shuffle: bool = True,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__(workers, use_multiprocessing, max_queue_size)
        self.images, self.labels, self.seed = _images(images), np.asarray(labels), _seed(seed)
        _check_labels(self.images, self.labels)
        if not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"`batch_size` is at least 1. Received: batch_size={batch_size!r}")
        self.kind = _rule(kind)
        self.size = _canvas(self.kind, (self.images.shape[1], self.images.shape[2]), size)
        self.batch_size, self.shuffle = batch_size, shuffle
        self.epoch = 0
        self._order: tuple[int, Array] | None = None  # of the pass that was asked for last

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        if index < 0:
            raise IndexError(f"Batches are numbered from 0 on. Received: number {index}")
        epoch, batch = divmod(index, len(self))
        start = batch * self.batch_size
        chosen = self._order_of(epoch)[start : start + self.batch_size]
        first = epoch * len(self.images) + start
        with kernels.expecting(len(self)):
            return distort(self.images[chosen], self.kind, self.seed, self.size, first), self.labels[chosen]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return self.fetch(range(len(self)))

    def fetch(self, order: Iterable[int]) -> Iterator[Any]:
        """One pass; a pass that begins later shows other distortions, though this one be not at its end."""
        start = self.epoch * len(self)
        self.epoch += 1
        yield from super().fetch(start + index for index in order)

    def _order_of(self, epoch: int) -> Array:
        kept = self._order
        if kept is None or kept[0] != epoch:
            count = len(self.images)
            order = np.arange(count)
            if self.shuffle:
                order = np.argsort(_uniforms(self.seed, _MIXING, epoch * count, count, 1)[:, 0], kind="stable")
            self._order = kept = epoch, order
        return kept[1]


def _distorted(images: Array, rule: Distortion, seed: int, first: int, canvas: Size) -> Array:
    """The same for images `(n, height, width, channels)` whose numbers begin with `first`, as float64 or rounded."""
    draws = _uniforms(seed, _PLACING, first, len(images), 4 + 4 * math.prod(_LATTICE))
    corners = _moved_corners(draws[:, :4], rule, seed, first, (images.shape[1], images.shape[2]), canvas)
    sides = np.array([canvas[1], canvas[0]])
    theta = _homography(corners * 2 / sides)
    if rule.points:
        lattice = np.stack(np.meshgrid(*(np.linspace(-1, 1, count) for count in _LATTICE[::-1])), -1).reshape(-1, 2)
        moves = _normals(draws[:, 4:]).reshape(len(images), -1, 2) * rule.points
        points = np.insert(lattice + moves * 2 / sides, 2, 1.0, -1) @ theta.transpose(0, 2, 1)
        grid = kernels.tps_grid(torch.from_numpy(points[..., :2] / points[..., 2:]), canvas, _LATTICE)
    else:
        grid = kernels.projective_grid(torch.from_numpy(theta), canvas)
    exact = images.astype(np.float64)  # where chunks are cut is then lost in the rounding of all other types
    values: Array = kernels.grid_sample(torch.from_numpy(exact), grid).numpy()
    if images.dtype == np.uint8:
        return np.rint(values)
    axes = (1, 2, 3)
    low, high = exact.min(axes, keepdims=True, initial=0), exact.max(axes, keepdims=True, initial=0)
    return np.clip(values, low, high)  # weights of pixels add up to 1 but for their rounding


def _moved_corners(draws: Array, rule: Distortion, seed: int, first: int, frame: Size, canvas: Size) -> Array:
    """Where the corners `(n, 4, 2)` of the images come to lie: x and y, in pixels from the middle of the canvas."""
    angle = np.deg2rad(rule.angle) * (2 * draws[:, 0] - 1)
    scale = rule.scale[0] + (rule.scale[1] - rule.scale[0]) * draws[:, 1]
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([cosine, -sine, sine, cosine], 1).reshape(-1, 2, 2)
    corners = (_CORNERS * (frame[1] / 2, frame[0] / 2)) @ turn
    if rule.roams:
        room = (canvas[1] - frame[1]) / 2, (canvas[0] - frame[0]) / 2
        corners = corners + ((2 * draws[:, 2:] - 1) * room)[:, None]
    if not rule.corners:
        return corners
    moved, folded, attempt = corners, np.ones(len(corners), bool), 0
    while folded.any():
        noise = _normals(_uniforms(seed, _STRETCHING + 8 * attempt, first, len(corners), 16)).reshape(-1, 4, 2)
        moved = np.where(folded[:, None, None], corners + rule.corners * noise, moved)
        folded, attempt = ~_is_convex(moved), attempt + 1
    return moved


def _is_convex(corners: Array) -> Array:
    """Whether one goes round these corners by turning the same way, that of the image's own, at each."""
    edges = np.roll(corners, -1, 1) - corners
    following = np.roll(edges, -1, 1)
    return (edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0] > 0).all(1)


def _homography(corners: Array) -> Array:
    """The projective maps `(n, 3, 3)` from these corners `(n, 4, 2)` to those of the square from -1 to 1."""
    x, y = _CORNERS[:, :1], _CORNERS[:, 1:]
    system = np.zeros((len(corners), 8, 8))
    for row, own, target in ((0, 0, x), (1, 3, y)):
        system[:, row::2, own : own + 2] = corners
        system[:, row::2, own + 2] = 1
        system[:, row::2, 6:] = -target * corners
    theta = np.linalg.solve(system, _CORNERS.reshape(8, 1))[..., 0]
    return np.insert(theta, 8, 1.0, 1).reshape(-1, 3, 3)


def _uniforms(seed: int, stream: int, first: int, count: int, width: int) -> Array:
    """Random numbers `(count, width)` from 0 to 1, whose rows depend on their own number, from `first` on, only."""
    blocks = -(-width // 4)  # the generator makes four numbers of each value of its counter
    generator = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=first * blocks)
    words = generator.random_raw(count * blocks * 4).reshape(count, -1)[:, :width]
    uniforms: Array = (words >> np.uint64(11)) * 2.0**-53
    return uniforms


def _normals(uniforms: Array) -> Array:
    """Standard normal numbers `(n, width / 2)` of uniform ones, by the polar form of a normal pair."""
    half = uniforms.shape[1] // 2
    return np.sqrt(-2 * np.log1p(-uniforms[:, :half])) * np.cos(2 * np.pi * uniforms[:, half:])


def _below(uniforms: Array, count: int) -> Array:
    """Whole numbers from 0 to `count - 1`."""
    return (uniforms * count).astype(np.int64)


def _places(uniforms: Array, outer: Size, inner: Size) -> Array:
    """Where `(n, 2)` a rectangle begins that lies anywhere in another one: row and column."""
    return np.stack([_below(uniforms[:, axis], outer[axis] - inner[axis] + 1) for axis in (0, 1)], 1)


def _window(numbers: Array, places: Array, size: Size) -> tuple[Array, Array, Array]:
    """The index of a rectangle that begins in each of these images at its own place."""
    rows, columns = (places[:, axis, None] + np.arange(size[axis]) for axis in (0, 1))
    return numbers[:, None, None], rows[:, :, None], columns[:, None, :]


def _chunk(found: Array) -> int:
    """How many images to compute at a time."""
    return max(1, _CHUNK // math.prod(found.shape[1:]))


def _images(images: Any) -> Array:
    images = np.asarray(images)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            "Images have the shape (n, height, width) or (n, height, width, channels), none of it 0. "
            f"Received: shape {images.shape}"
        )
    if images.dtype not in _TYPES:
        raise ValueError(f"Images are of type {', '.join(_TYPES)}. Received: {images.dtype}")
    return images


def _check_labels(images: Array, labels: Array) -> None:
    if not labels.ndim or len(labels) != len(images):
        raise ValueError(
            f"There is a label for each image. Received: labels of shape {labels.shape} for {len(images)} images"
        )


def _rule(kind: str | Distortion) -> Distortion:
    if isinstance(kind, Distortion):
        return kind
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"`kind` is one of {', '.join(map(repr, KINDS))}, or a `Distortion`. Received: kind={kind!r}")
    return KINDS[kind]


def _seed(seed: int | None) -> int:
    if seed is None:
        return make_default_seed()
    if not hasattr(seed, "__index__") or not 0 <= seed < 2**64:
        raise ValueError(f"`seed` is a whole number from 0 to 2**64 - 1, or None. Received: seed={seed!r}")
    return int(seed)


def _pair(size: Any) -> Size:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(hasattr(side, "__index__") and side > 0 for side in sides):
        raise ValueError(f"`size` is a side, or height and width, of at least 1 pixel. Received: size={size!r}")
    return int(sides[0]), int(sides[1])


def _canvas(rule: Distortion, frame: Size, size: Any) -> Size:
    """Height and width of the results."""
    height, width = _pair([max(1, round(rule.canvas * side)) for side in frame] if size is None else size)
    if rule.roams and (height < frame[0] or width < frame[1]):
        raise ValueError(
            f"Images roam on a canvas that holds them. Received: {height}x{width} for images of {frame[0]}x{frame[1]}"
        )
    return height, width
