"""Many numbers to one, along axes: sums, extremes, statistics, and running ones."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import torch

from triarch.ops.table import as_float, axes_of, op, tensor
from triarch.tensors import torch_dtype

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "bincount",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "max",
    "mean",
    "median",
    "min",
    "prod",
    "quantile",
    "std",
    "sum",
    "var",
]

_SMALL = {torch.bool: torch.int32, torch.int8: torch.int32, torch.int16: torch.int32, torch.uint8: torch.int32}


def _sum_type(x: torch.Tensor) -> torch.dtype:
    """Integers stay what they are, as in Keras, and small ones become int32."""
    return _SMALL.get(x.dtype, x.dtype)


@op("numpy")
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over the axes; over all by default."""
    x = tensor(x)
    return torch.sum(x, axes_of(axis, x.ndim), keepdims, dtype=_sum_type(x)) if x.ndim else x.to(_sum_type(x))


@op("numpy")
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The product over the axes; over all by default."""
    x = tensor(x)
    x = x.to(torch_dtype(dtype) or _sum_type(x))
    for each in sorted((each % x.ndim for each in axes_of(axis, x.ndim)), reverse=True):
        x = torch.prod(x, each, keepdims, dtype=x.dtype)
    return x


@op("numpy")
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over the axes; over all by default."""
    x = as_float(x)
    return torch.mean(x, axes_of(axis, x.ndim), keepdims)


@op("numpy")
def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean squared distance from the mean, over the axes."""
    x = as_float(x)
    return torch.var(x, axes_of(axis, x.ndim), correction=0, keepdim=keepdims)


@op("numpy")
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The square root of `var`."""
    x = as_float(x)
    return torch.std(x, axes_of(axis, x.ndim), correction=0, keepdim=keepdims)


def _extreme(function: Callable[..., Any], choose: Any, x: Any, axis: Any, keepdims: bool, initial: Any) -> Any:
    x = tensor(x)
    found = function(x, axes_of(axis, x.ndim), keepdims)
    return found if initial is None else choose(found, torch.as_tensor(initial, dtype=x.dtype, device=x.device))


@op("numpy")
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The largest over the axes; at least `initial`."""
    return _extreme(torch.amax, torch.maximum, x, axis, keepdims, initial)


@op("numpy")
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The smallest over the axes; at most `initial`."""
    return _extreme(torch.amin, torch.minimum, x, axis, keepdims, initial)


@op("numpy")
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest over the axes."""
    return _extreme(torch.amax, None, x, axis, keepdims, None)


@op("numpy")
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest over the axes."""
    return _extreme(torch.amin, None, x, axis, keepdims, None)


@op("numpy")
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all over the axes hold."""
    x = tensor(x).to(torch.bool)
    return torch.all(x, axes_of(axis, x.ndim), keepdims)


@op("numpy")
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether one over the axes holds."""
    x = tensor(x).to(torch.bool)
    return torch.any(x, axes_of(axis, x.ndim), keepdims)


@op("numpy")
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest is, the first of equals; among all numbers as one axis by default."""
    return torch.argmax(tensor(x), axis, keepdims).int()


@op("numpy")
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest is, the first of equals; among all numbers as one axis by default."""
    return torch.argmin(tensor(x), axis, keepdims).int()


@op("numpy")
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """How many are not 0."""
    x = tensor(x)
    return torch.count_nonzero(x, axes_of(axis, x.ndim)).int()


@op("numpy", config=("axis",))
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """The mean, weighted where there are weights (for each number, or for each place of the one axis)."""
    x = as_float(x)
    if weights is None:
        return torch.mean(x, axes_of(axis, x.ndim))
    weights = tensor(weights).to(x.dtype)
    if weights.ndim == 1 < x.ndim:
        (place,) = axes_of(axis, x.ndim)
        shape = [1] * x.ndim
        shape[place] = -1
        weights = weights.reshape(shape)
    weights = torch.broadcast_to(weights, x.shape)
    axes = axes_of(axis, x.ndim)
    return torch.sum(x * weights, axes) / torch.sum(weights, axes)


@op("numpy")
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The running sum along the axis; of all numbers as one axis by default."""
    return _running(torch.cumsum, x, axis, dtype)


@op("numpy")
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The running product along the axis; of all numbers as one axis by default."""
    return _running(torch.cumprod, x, axis, dtype)


def _running(function: Callable[..., Any], x: Any, axis: int | None, dtype: Any) -> Any:
    x = tensor(x)
    if axis is None:
        x, axis = x.ravel(), 0
    return function(x, axis, dtype=torch_dtype(dtype) or _sum_type(x))


@op("numpy", config=("axis", "method", "keepdims"))
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """The number below which this part lies, for each `q` between 0 and 1.

    Args:
        method: Between two neighbours: `"linear"`, `"lower"`, `"higher"`, `"midpoint"` or `"nearest"`.
    """
    x = as_float(x)
    axes = sorted(each % x.ndim for each in axes_of(axis, x.ndim))
    kept = [each for each in range(x.ndim) if each not in axes]
    flat = x.permute(*kept, *axes).reshape(*(x.shape[each] for each in kept), -1)
    q = torch.as_tensor(q, dtype=x.dtype, device=x.device)
    found = torch.quantile(flat, q, -1, interpolation=method)
    if keepdims:
        shape = [1 if each in axes else size for each, size in enumerate(x.shape)]
        found = found.reshape(*q.shape, *shape)
    return found


@op("numpy")
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle one, or the mean of the two middle ones."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


@op("numpy", config=("weights", "minlength", "sparse"))
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often each integer from 0 comes; along the last axis where there are two.

    Raises:
        ValueError: `sparse` is not False.
    """
    if sparse:
        raise ValueError(f"There are no sparse tensors here: `sparse` is False. Received: {sparse!r}")
    x = tensor(x).long()
    if x.ndim == 1:
        found = torch.bincount(x, None if weights is None else tensor(weights), minlength)
    else:
        length = builtins.max(int(x.max()) + 1 if x.numel() else 0, minlength)
        ones = torch.ones_like(x) if weights is None else tensor(weights)
        found = torch.zeros(x.shape[0], length, dtype=ones.dtype, device=x.device).scatter_add_(1, x, ones)
    return found.int() if weights is None else found
