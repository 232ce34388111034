"""Images turned, moved, warped, bent and hidden in clutter, to see which networks find them again.

The data of Jaderberg, Simonyan, Zisserman and Kavukcuoglu, "Spatial Transformer Networks" (2015), section 4.1 and
appendix A. Distortions are numbered: what happens to an image depends on the seed and on its number, so it is the same
in batches of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from triarch import kernels
from triarch.datasets.distorted.arguments import Array, Size, checked_images, checked_seed, chunk, pair
from triarch.datasets.distorted.draws import PLACING, STRETCHING, normals, uniforms

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # x and y, one after the other
_LATTICE = (4, 4)  # rows and columns of control points


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
    images, rule, seed = checked_images(images), rule_of(kind), checked_seed(seed)
    count, frame = len(images), (images.shape[1], images.shape[2])
    canvas = canvas_of(rule, frame, size)
    if not hasattr(first, "__index__") or first < 0:
        raise ValueError(f"`first` is the number of the first image, from 0 on. Received: first={first!r}")
    flat = images.reshape(count, *frame, -1)
    found = np.empty((count, *canvas, flat.shape[3]), images.dtype)
    step = chunk(found)
    with kernels.expecting(-(-count // step)):
        for start in range(0, count, step):
            part = slice(start, start + step)
            found[part] = _distorted(flat[part], rule, seed, first + start, canvas)
    return found.reshape(count, *canvas, *images.shape[3:])


def rule_of(kind: str | Distortion) -> Distortion:
    if isinstance(kind, Distortion):
        return kind
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"`kind` is one of {', '.join(map(repr, KINDS))}, or a `Distortion`. Received: kind={kind!r}")
    return KINDS[kind]


def canvas_of(rule: Distortion, frame: Size, size: Any) -> Size:
    """Height and width of the results."""
    height, width = pair([max(1, round(rule.canvas * side)) for side in frame] if size is None else size)
    if rule.roams and (height < frame[0] or width < frame[1]):
        raise ValueError(
            f"Images roam on a canvas that holds them. Received: {height}x{width} for images of {frame[0]}x{frame[1]}"
        )
    return height, width


def _distorted(images: Array, rule: Distortion, seed: int, first: int, canvas: Size) -> Array:
    """The same for images `(n, height, width, channels)` whose numbers begin with `first`, as float64 or rounded."""
    draws = uniforms(seed, PLACING, first, len(images), 4 + 4 * math.prod(_LATTICE))
    corners = _moved_corners(draws[:, :4], rule, seed, first, (images.shape[1], images.shape[2]), canvas)
    sides = np.array([canvas[1], canvas[0]])
    theta = _homography(corners * 2 / sides)
    if rule.points:
        lattice = np.stack(np.meshgrid(*(np.linspace(-1, 1, count) for count in _LATTICE[::-1])), -1).reshape(-1, 2)
        moves = normals(draws[:, 4:]).reshape(len(images), -1, 2) * rule.points
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
        noise = normals(uniforms(seed, STRETCHING + 8 * attempt, first, len(corners), 16)).reshape(-1, 4, 2)
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
