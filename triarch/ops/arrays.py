"""Shaping, joining, cutting and reordering of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch.ops.table import as_float, axes_of, op, sizes_of, tensor

__all__ = [
    "append",
    "argsort",
    "broadcast_to",
    "concatenate",
    "diag",
    "diagonal",
    "diff",
    "expand_dims",
    "flip",
    "get_item",
    "hstack",
    "meshgrid",
    "moveaxis",
    "ndim",
    "nonzero",
    "pad",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "rot90",
    "searchsorted",
    "size",
    "sort",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "take_along_axis",
    "tile",
    "transpose",
    "trapezoid",
    "tril",
    "triu",
    "vstack",
]


@op("numpy", config=("newshape",))
def reshape(x: Any, newshape: Sequence[int]) -> Any:
    """The same numbers in another shape; one size may be -1."""
    return torch.reshape(tensor(x), tuple(-1 if size is None else size for size in sizes_of(newshape)))


@op("numpy")
def ravel(x: Any) -> Any:
    """All numbers along one axis."""
    return torch.ravel(tensor(x))


@op("numpy")
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """The axes in this order; reversed by default."""
    x = tensor(x)
    return x.permute(*(reversed(range(x.ndim)) if axes is None else axes))


@op("numpy", config=("axis1", "axis2"))
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes in each other's place."""
    return torch.swapaxes(tensor(x), axis1, axis2)


@op("numpy", config=("source", "destination"))
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """One or several axes at other places."""
    return torch.moveaxis(tensor(x), source, destination)


@op("numpy")
def squeeze(x: Any, axis: Any = None) -> Any:
    """Without these axes, which must be of size 1; without all of size 1 by default."""
    x = tensor(x)
    if axis is None:
        return torch.squeeze(x)
    for each in axes_of(axis, x.ndim):
        if x.shape[each] != 1:
            raise ValueError(f"Only axes of size 1 can be squeezed. Received: axis={axis!r}, shape {tuple(x.shape)}")
    return torch.squeeze(x, axes_of(axis, x.ndim))


@op("numpy", config=("axis",))
def expand_dims(x: Any, axis: Any) -> Any:
    """With new axes of size 1 at these places of the result."""
    x = tensor(x)
    places = axes_of(axis, x.ndim)
    ndim = x.ndim + len(places)
    for place in sorted(each % ndim for each in places):
        x = x.unsqueeze(place)
    return x


@op("numpy", config=("shape",))
def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """Stretched to this shape."""
    return torch.broadcast_to(tensor(x), tuple(shape))


@op("numpy")
def concatenate(xs: Any, axis: int | None = 0) -> Any:
    """Tensors one after the other along an axis that is there; along the only one of their numbers with None."""
    parts = [tensor(x) for x in xs]
    return torch.cat([part.ravel() for part in parts]) if axis is None else torch.cat(parts, axis)


@op("numpy")
def stack(x: Any, axis: int = 0) -> Any:
    """Tensors of the same shape along a new axis."""
    return torch.stack([tensor(part) for part in x], axis)


@op("numpy")
def hstack(xs: Any) -> Any:
    """Side by side: along the second axis, or the only one."""
    return torch.hstack([tensor(x) for x in xs])


@op("numpy")
def vstack(xs: Any) -> Any:
    """One below the other: along the first axis of what has at least two."""
    return torch.vstack([tensor(x) for x in xs])


@op("numpy")
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """`x2` after `x1` along the axis; both as one axis by default."""
    return concatenate([x1, x2], axis)


@op("numpy", config=("indices_or_sections", "axis"))
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Equal parts, so many; or parts that begin at these indices.

    Raises:
        ValueError: The size of the axis is no multiple of the number of parts.
    """
    x = tensor(x)
    if hasattr(indices_or_sections, "__index__") and x.shape[axis] % indices_or_sections:
        raise ValueError(
            f"An axis of {x.shape[axis]} cannot be divided equally. Received: indices_or_sections={indices_or_sections}"
        )
    cuts = indices_or_sections if hasattr(indices_or_sections, "__index__") else list(indices_or_sections)
    return list(torch.tensor_split(x, cuts, axis))


@op("numpy", config=("repeats",))
def tile(x: Any, repeats: Any) -> Any:
    """The whole, so many times along each axis."""
    return torch.tile(tensor(x), sizes_of(repeats))


@op("numpy", config=("repeats", "axis"))
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each entry, so many times; of all numbers as one axis by default."""
    repeats = torch.as_tensor(repeats) if isinstance(repeats, (list, tuple)) else repeats
    return torch.repeat_interleave(tensor(x), repeats, axis)


@op("numpy")
def flip(x: Any, axis: Any = None) -> Any:
    """Backwards along these axes; along all by default."""
    x = tensor(x)
    return torch.flip(x, axes_of(axis, x.ndim))


@op("numpy", config=("shift", "axis"))
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Shifted; what leaves at one end enters at the other."""
    return torch.roll(tensor(x), shift, axis)


@op("numpy", config=("k", "axes"))
def rot90(array: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Turned `k` times by 90° in the plane of two axes, from the first towards the second."""
    return torch.rot90(tensor(array), k, list(axes))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@op("numpy", config=("pad_width", "mode"))
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """With margins.

    Args:
        pad_width: One number, one pair for all axes, or for each axis (before, after).
        mode: `"constant"`, `"reflect"`, `"symmetric"`, `"edge"` or `"wrap"`.
        constant_values: Only with the mode `"constant"`; default 0.
    """
    x = tensor(x)
    if constant_values is not None and mode != "constant":
        raise ValueError(f"`constant_values` needs mode='constant'. Received: mode={mode!r}")
    if mode not in (*_PAD_MODES, "symmetric"):
        raise ValueError(f"`mode` must be one of {(*_PAD_MODES, 'symmetric')}. Received: {mode!r}")
    widths = torch.broadcast_to(torch.as_tensor(pad_width, device="cpu"), (x.ndim, 2)).tolist()
    if mode == "constant":
        margins = [count for pair in reversed(widths) for count in pair]
        return torch.nn.functional.pad(x, margins, value=0 if constant_values is None else constant_values)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            places = torch.arange(-before, x.shape[axis] + after, device=x.device)
            x = torch.index_select(x, axis, _folded(places, x.shape[axis], mode))
    return x


def _folded(places: torch.Tensor, size: int, mode: str) -> torch.Tensor:
    """Which place of an axis stands at places beyond its ends."""
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * size - 2, 1) if mode == "reflect" else 2 * size
    places = places % period
    return torch.where(places < size, places, period - places - int(mode == "symmetric"))


@op("numpy", config=("axis",))
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The entries at these indices along the axis; of all numbers as one axis by default."""
    x, indices = tensor(x), tensor(indices).long()
    if axis is None:
        x, axis = x.ravel(), 0
    axis %= x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = torch.index_select(x, axis, indices.ravel())
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@op("numpy", config=("axis",))
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """For each place, the entry at the index that stands there, along the axis."""
    x, indices = tensor(x), tensor(indices).long()
    if axis is None:
        x, indices, axis = x.ravel(), indices.ravel(), 0
    return torch.take_along_dim(x, torch.where(indices < 0, indices + x.shape[axis], indices), axis)


@op("numpy", config=())
def get_item(x: Any, key: Any) -> Any:
    """`x[key]`."""
    return tensor(x)[tuple(key) if isinstance(key, list) else key]


@op("numpy")
def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """Coordinates of a grid, one tensor for each axis; with `"xy"` the first two axes are exchanged."""
    return list(torch.meshgrid(*(tensor(part) for part in x), indexing=indexing))


@op("numpy")
def diag(x: Any, k: int = 0) -> Any:
    """A matrix with this `k`-th diagonal, or the `k`-th diagonal of a matrix."""
    return torch.diag(tensor(x), k)


@op("numpy")
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal in the plane of two axes, which becomes the last axis."""
    return torch.diagonal(tensor(x), offset, axis1, axis2)


@op("numpy")
def tril(x: Any, k: int = 0) -> Any:
    """Zeros above the `k`-th diagonal."""
    return torch.tril(tensor(x), k)


@op("numpy")
def triu(x: Any, k: int = 0) -> Any:
    """Zeros below the `k`-th diagonal."""
    return torch.triu(tensor(x), k)


@op("numpy")
def sort(x: Any, axis: int = -1) -> Any:
    """In ascending order along the axis."""
    return torch.sort(tensor(x), dim=axis).values


@op("numpy")
def argsort(x: Any, axis: int | None = -1) -> Any:
    """The indices that sort `x`, the first of equals first."""
    x = tensor(x)
    return (torch.argsort(x.ravel(), stable=True) if axis is None else torch.argsort(x, dim=axis, stable=True)).int()


@op("numpy", config=("side",), class_name="SearchSorted")
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Where each value would be put in, for the sequence to stay sorted."""
    return torch.searchsorted(tensor(sorted_sequence), tensor(values), side=side, out_int32=True)


@op("numpy")
def nonzero(x: Any) -> Any:
    """The indices of all that is not 0: a row for each axis."""
    return torch.nonzero(tensor(x)).T.int()


def ndim(x: Any) -> int:
    """The number of axes."""
    return x.ndim if hasattr(x, "ndim") else tensor(x).ndim


def size(x: Any) -> int:
    """How many numbers there are."""
    return tensor(x).numel()


@op("numpy")
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """The differences of neighbours, taken `n` times."""
    return torch.diff(tensor(a), n, axis)


@op("numpy", config=("x", "dx", "axis"))
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral by the trapezoidal rule."""
    y = as_float(y)
    return torch.trapezoid(y, dx=dx, dim=axis) if x is None else torch.trapezoid(y, tensor(x), dim=axis)
