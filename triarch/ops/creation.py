"""Making of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import config
from triarch.ops.table import op, sizes_of, tensor
from triarch.tensors import torch_dtype

__all__ = [
    "arange",
    "array",
    "copy",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "identity",
    "linspace",
    "ones",
    "ones_like",
    "tri",
    "zeros",
    "zeros_like",
]


def _place(dtype: Any) -> dict[str, Any]:
    return {"dtype": torch_dtype(dtype or config.floatx()), "device": config.device()}


@op("numpy")
def array(x: Any, dtype: Any = None) -> Any:
    """A fresh tensor of these numbers."""
    made = tensor(x).clone()
    return made if dtype is None else made.to(torch_dtype(dtype))


@op("numpy")
def copy(x: Any) -> Any:
    """A copy in memory of its own."""
    return tensor(x).clone()


def zeros(shape: Sequence[int], dtype: Any = None) -> Any:
    """Zeros; `dtype` is `config.floatx()` by default."""
    return torch.zeros(sizes_of(shape), **_place(dtype))


def ones(shape: Sequence[int], dtype: Any = None) -> Any:
    """Ones; `dtype` is `config.floatx()` by default."""
    return torch.ones(sizes_of(shape), **_place(dtype))


def empty(shape: Sequence[int], dtype: Any = None) -> Any:
    """Numbers that happen to be in memory; `dtype` is `config.floatx()` by default."""
    return torch.empty(sizes_of(shape), **_place(dtype))


@op("numpy", config=("shape", "dtype"))
def full(shape: Sequence[int], fill_value: Any, dtype: Any = None) -> Any:
    """The same number everywhere; `dtype` is `config.floatx()` by default."""
    value = tensor(fill_value).to(torch_dtype(dtype or config.floatx()))
    return torch.broadcast_to(value, sizes_of(shape)).clone()


@op("numpy")
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of this shape, and of this type unless another is given."""
    return torch.zeros_like(tensor(x), dtype=torch_dtype(dtype))


@op("numpy")
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones of this shape, and of this type unless another is given."""
    return torch.ones_like(tensor(x), dtype=torch_dtype(dtype))


@op("numpy")
def empty_like(x: Any, dtype: Any = None) -> Any:
    """Numbers that happen to be in memory, of this shape and type."""
    return torch.empty_like(tensor(x), dtype=torch_dtype(dtype))


@op("numpy", config=("dtype",))
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """The same number everywhere, in the shape and type of `x`."""
    x = tensor(x)
    return torch.broadcast_to(tensor(fill_value).to(torch_dtype(dtype) or x.dtype), x.shape).clone()


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """`start`, `start + step`, ... below `stop`; with one argument, 0, 1, ... below it."""
    first, last = (0, start) if stop is None else (start, stop)
    step = 1 if step is None else step
    if dtype is None:
        dtype = "int32" if all(hasattr(part, "__index__") for part in (first, last, step)) else config.floatx()
    return torch.arange(first, last, step, **_place(dtype))


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` numbers in equal steps from `start` to `stop`; without `endpoint`, `stop` is not among them.

    Args:
        retstep: Whether to return the step, too.
    """
    place = _place(dtype)
    begin, end = (torch.as_tensor(part, **place) for part in (start, stop))
    step = (end - begin) / max(num - endpoint, 1)
    counts = torch.arange(num, **place).reshape(-1, *(1,) * torch.broadcast_shapes(begin.shape, end.shape).__len__())
    numbers = (begin + counts * step).movedim(0, axis)
    return (numbers, step) if retstep else numbers


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803 - Keras's names
    """Ones on the `k`-th diagonal of an N × M matrix of zeros (default: N × N)."""
    rows = torch.arange(N, device=config.device())[:, None]
    columns = torch.arange(N if M is None else M, device=config.device())[None]
    return (columns - rows == k).to(torch_dtype(dtype or config.floatx()))


def identity(n: int, dtype: Any = None) -> Any:
    """The n × n matrix with ones on the diagonal."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803 - Keras's names
    """Ones on the `k`-th diagonal and below it, in an N × M matrix of zeros."""
    return torch.ones(N, N if M is None else M, **_place(dtype)).tril(k)
