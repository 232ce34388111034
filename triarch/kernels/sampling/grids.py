"""Grids: for every pixel of an output, the place in the input that it shows.

Places are `(x, y)` from -1 to 1, as in `torch.nn.functional.grid_sample`. Sources: Jaderberg, Simonyan, Zisserman and
Kavukcuoglu, "Spatial Transformer Networks" (2015), section 3.2; Bookstein, "Principal Warps: Thin-Plate Splines and the
Decomposition of Deformations" (1989).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.sampling.places import coordinates

Size = tuple[int, int]


def affine_grid(theta: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """The places `theta [x, y, 1]` of an output's pixels `(x, y)`.

    Args:
        theta: `(batch, 2, 3)`.
        size: Height and width of the output.
        align_corners: Whether -1 and 1 are the centres of the outermost pixels, rather than their outer edges.

    Returns:
        `(batch, height, width, 2)`.

    Raises:
        ValueError: `theta` or `size` have another shape.
    """
    _check(theta, (2, 3), size)
    x, y = _axes(theta, size, align_corners)
    return torch.stack(list(products(theta, x, y)), -1)


def projective_grid(theta: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """The places `(u / w, v / w)` where `(u, v, w) = theta [x, y, 1]`; where `w` is 0 they are not finite.

    Args:
        theta: `(batch, 3, 3)`.
        size, align_corners: As for `affine_grid`.

    Raises:
        ValueError: `theta` or `size` have another shape.
    """
    _check(theta, (3, 3), size)
    x, y = _axes(theta, size, align_corners)
    u, v, w = products(theta, x, y)
    return torch.stack([u / w, v / w], -1)


def tps_grid(points: Tensor, size: Size, control_points: Size = (4, 4), align_corners: bool = False) -> Tensor:
    """The places given by thin-plate splines: the smoothest map that gives each control point its place.

    Args:
        points: `(batch, rows * columns, 2)`: the place in the input of each control point, row by row.
        size, align_corners: As for `affine_grid`.
        control_points: Rows and columns of the regular lattice of control points, from -1 to 1 on both axes.

    Raises:
        ValueError: `points` or `size` have another shape, or there are fewer than 2 × 2 control points.
    """
    rows, columns = control_points
    _check(points, (rows * columns, 2), size)
    matrix = tps_matrix(size, control_points, align_corners).to(points)
    # One product for the batch: a product for each image, with two columns, is several times slower.
    return (points.mT.flatten(0, 1) @ matrix.T).unflatten(0, (-1, 2)).mT.unflatten(1, size)


@lru_cache(maxsize=64)
def tps_matrix(size: Size, control_points: Size, align_corners: bool = False) -> Tensor:
    """`(height * width, rows * columns)`: what the displacement of each control point contributes to each pixel's."""
    rows, columns = control_points
    if min(rows, columns) < 2:
        raise ValueError(f"There are at least 2 x 2 control points. Received: control_points={control_points}")
    like = torch.empty(0, dtype=torch.float64)
    lattice = _pairs(*(torch.linspace(-1, 1, count, dtype=torch.float64) for count in (columns, rows)))
    pixels = _pairs(coordinates(size[1], like, align_corners), coordinates(size[0], like, align_corners))
    count = len(lattice)
    system = np.zeros((count + 3, count + 3))
    system[:count] = _terms(lattice, lattice)
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.inv(system)[:, :count]  # of the terms, for a displacement of 1
    return torch.from_numpy(_terms(pixels, lattice) @ weights)


def _terms(places: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """`r² log r` of each centre, 1, x and y at each place."""
    squares = ((places[:, None] - centres) ** 2).sum(-1)
    bending = squares * np.log(np.where(squares > 0, squares, 1.0)) / 2
    return np.concatenate([bending, np.ones((len(places), 1)), places], 1)


def _pairs(x: Tensor, y: Tensor) -> np.ndarray:
    """All `(x, y)`, row by row."""
    across, down = np.meshgrid(x.numpy(), y.numpy())
    return np.stack([across.ravel(), down.ravel()], 1)


def products(theta: Tensor, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """The rows of `theta [x, y, 1]`, each `(batch, height, width)`."""
    for row in theta.unbind(1):
        along_x, along_y, shift = row[:, :, None, None].unbind(1)
        yield along_x * x + along_y * y + shift


def _axes(like: Tensor, size: Size, align_corners: bool) -> tuple[Tensor, Tensor]:
    """The places of columns `(width,)` and of rows `(height, 1)`."""
    return coordinates(size[1], like, align_corners), coordinates(size[0], like, align_corners).unsqueeze(1)


def _check(theta: Tensor, shape: tuple[int, int], size: Size) -> None:
    if theta.ndim != 3 or tuple(theta.shape[1:]) != shape:
        raise ValueError(
            f"This grid takes parameters of shape (batch, {shape[0]}, {shape[1]}). Received: shape {tuple(theta.shape)}"
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"`size` is the height and width of the output. Received: size={size!r}")
