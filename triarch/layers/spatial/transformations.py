"""The families of transformations that spatial transformers choose from, each as displacements from the identity.

All parameters at 0 are the identity, exactly: a place is its own plus a displacement, which is then 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from triarch.kernels.sampling import coordinates, tps_grid
from triarch.kernels.sampling.grids import products

Size = tuple[int, int]


@dataclass(frozen=True)
class Transformation:
    """A family of transformations.

    Args:
        count: Of parameters.
        matrix: From parameters `(batch, count)` and the size (height, width) of the inputs to what is usually written:
            `theta` of `(batch, 2, 3)` or `(batch, 3, 3)`, or the places of control points `(batch, points, 2)`.
        displace: From parameters, the size of the inputs and that of the outputs to the displacement of each pixel of
            the outputs, `(batch, height, width, 2)`, of which 2 is the inputs' width or height.
    """

    count: int
    matrix: Callable[[Tensor, Size], Tensor]
    displace: Callable[[Tensor, Size, Size], Tensor]


def transformation(name: str, control_points: Size) -> Transformation:
    """The family of this name."""
    if name == "tps":
        return _thin_plate(control_points)
    if name == "projective":
        return Transformation(8, lambda own, size: torch.eye(3).to(own) + _projective(own), _displace_projectively)
    count, change = _AFFINE[name]
    return Transformation(
        count,
        lambda own, size: torch.eye(2, 3).to(own) + change(own, size),
        lambda own, size, out_size: _displace_affinely(change(own, size), out_size),
    )


def _rows(*numbers: Tensor) -> Tensor:
    """Matrices `(batch, 2, 3)` of their six numbers."""
    return torch.stack(numbers, 1).unflatten(1, (2, 3))


def _similar(own: Tensor, size: Size) -> Tensor:
    """Turned and scaled by `1 + a + bi`, in pixels: the same on both axes though an image be wider than high."""
    a, b, x, y = own.unbind(1)
    aspect = size[0] / size[1]
    return _rows(a, -b * aspect, x, b / aspect, a, y)


def _moved(own: Tensor, size: Size) -> Tensor:
    x, y = own.unbind(1)
    nothing = torch.zeros_like(x)
    return _rows(nothing, nothing, x, nothing, nothing, y)


def _attentive(own: Tensor, size: Size) -> Tensor:
    scale, x, y = own.unbind(1)
    nothing = torch.zeros_like(x)
    return _rows(scale, nothing, x, nothing, scale, y)


_AFFINE: dict[str, tuple[int, Callable[[Tensor, Size], Tensor]]] = {
    "affine": (6, lambda own, size: own.unflatten(1, (2, 3))),
    "similarity": (4, _similar),
    "attention": (3, _attentive),
    "translation": (2, _moved),
}
NAMES = (*_AFFINE, "projective", "tps")


def _axes(own: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    return coordinates(size[1], own), coordinates(size[0], own).unsqueeze(1)


def _displace_affinely(change: Tensor, out_size: Size) -> Tensor:
    x, y = _axes(change, out_size)
    return torch.stack(list(products(change, x, y)), -1)


def _projective(own: Tensor) -> Tensor:
    return torch.cat([own, torch.zeros_like(own[:, :1])], 1).unflatten(1, (3, 3))


def _displace_projectively(own: Tensor, size: Size, out_size: Size) -> Tensor:
    """`(x + u) / (1 + w) - x` as `(u - w x) / (1 + w)`, so that nothing is lost where `u` and `w` are small."""
    x, y = _axes(own, out_size)
    u, v, w = products(_projective(own), x, y)
    return torch.stack([(u - w * x) / (1 + w), (v - w * y) / (1 + w)], -1)


def _thin_plate(control_points: Size) -> Transformation:
    rows, columns = control_points

    def matrix(own: Tensor, size: Size) -> Tensor:
        x, y = (torch.linspace(-1, 1, count, dtype=own.dtype, device=own.device) for count in (columns, rows))
        lattice = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
        return lattice + own.unflatten(1, (-1, 2))

    def displace(own: Tensor, size: Size, out_size: Size) -> Tensor:
        return tps_grid(own.unflatten(1, (-1, 2)), out_size, control_points)  # displacements make a grid of them

    return Transformation(2 * rows * columns, matrix, displace)
