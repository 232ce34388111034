"""Types and shapes, parts of tensors, and control: conditions, loops and scans."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch.graph import SymbolicTensor
from triarch.ops.table import op, tensor
from triarch.tensors import as_array, as_tensor, torch_dtype

__all__ = [
    "cast",
    "cond",
    "convert_to_numpy",
    "convert_to_tensor",
    "dtype",
    "fori_loop",
    "is_tensor",
    "map",
    "scan",
    "scatter",
    "scatter_update",
    "shape",
    "slice",
    "slice_update",
    "stop_gradient",
    "switch",
    "unstack",
    "vectorized_map",
    "while_loop",
]


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor, symbolic or not."""
    return isinstance(x, (torch.Tensor, SymbolicTensor))


def shape(x: Any) -> tuple[int | None, ...]:
    """The shape, with None for what a symbolic tensor does not know."""
    return tuple(x.shape) if is_tensor(x) else tuple(tensor(x).shape)


def dtype(x: Any) -> str:
    """The name of the type of its numbers."""
    kind = x.dtype if hasattr(x, "dtype") else tensor(x).dtype
    return str(kind).removeprefix("torch.")


@op("core", config=("dtype",))
def cast(x: Any, dtype: Any) -> Any:
    """The numbers in another type."""
    return tensor(x).to(torch_dtype(dtype))


@op("core", config=("dtype", "sparse", "ragged"))
def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """`x` as a tensor.

    Raises:
        ValueError: `sparse` or `ragged` is True: there are dense tensors only.
    """
    if sparse or ragged:
        raise ValueError(f"There are dense tensors only. Received: sparse={sparse}, ragged={ragged}")
    return as_tensor(x, torch_dtype(dtype))


def convert_to_numpy(x: Any) -> np.ndarray:
    """`x` as an array on the host."""
    return as_array(x) if isinstance(x, torch.Tensor) else np.asarray(x)


@op("core", config=())
def stop_gradient(variable: Any) -> Any:
    """The numbers, as a constant to what learns."""
    return tensor(variable).detach()


@op("core", config=("num", "axis"))
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The entries along an axis, one by one."""
    x = tensor(x)
    if num is not None and num != x.shape[axis]:
        raise ValueError(f"The axis has {x.shape[axis]} entries. Received: num={num}")
    return list(torch.unbind(x, axis))


@op("core", config=("shape",))
def slice(inputs: Any, start_indices: Any, shape: Sequence[int]) -> Any:
    """The part of this shape that begins at these indices; -1 in the shape: up to the end."""
    inputs = tensor(inputs)
    return inputs[_part(inputs, start_indices, shape)]


def _part(inputs: torch.Tensor, start_indices: Any, sizes: Sequence[int]) -> tuple[builtins.slice, ...]:
    starts = [int(start) for start in start_indices]
    return tuple(
        builtins.slice(start, whole if size == -1 else start + size)
        for start, size, whole in zip(starts, sizes, inputs.shape, strict=True)
    )


@op("core", config=())
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """The inputs with `updates` in the place of the part that begins at these indices."""
    inputs, updates = tensor(inputs), tensor(updates)
    made = inputs.clone()
    made[_part(inputs, start_indices, updates.shape)] = updates.to(inputs.dtype)
    return made


@op("core", config=("shape",))
def scatter(indices: Any, values: Any, shape: Sequence[int]) -> Any:
    """Zeros of this shape with the values added at the indices, which are the rows of `indices`."""
    indices, values = tensor(indices).long(), tensor(values)
    made = torch.zeros(tuple(shape), dtype=values.dtype, device=values.device)
    return made.index_put(tuple(indices.unbind(-1)), values, accumulate=True)


_REDUCTIONS = {"add": "sum", "max": "amax", "min": "amin", "mul": "prod"}


@op("core", config=("reduction",))
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """The inputs with the updates at the indices, which are the rows of `indices`.

    Args:
        reduction: None replaces what is there; `"add"`, `"max"`, `"min"` and `"mul"` combine both.
    """
    if reduction not in (None, *_REDUCTIONS):
        raise ValueError(f"`reduction` must be None or one of {tuple(_REDUCTIONS)}. Received: {reduction!r}")
    inputs, indices = tensor(inputs), tensor(indices).long()
    updates = tensor(updates).to(inputs.dtype)
    places = tuple(indices.unbind(-1))
    if reduction in (None, "add"):
        return inputs.index_put(places, updates, accumulate=reduction == "add")
    sizes = inputs.shape[: len(places)]
    flat = functools.reduce(
        lambda whole, pair: whole * pair[1] + pair[0], zip(places, sizes, strict=True), 0 * places[0]
    )
    rows = inputs.reshape(-1, *inputs.shape[len(places) :])
    changes = updates.reshape(-1, *rows.shape[1:])
    targets = flat.reshape(-1, *(1,) * (rows.ndim - 1)).expand_as(changes)
    return rows.scatter_reduce(0, targets, changes, _REDUCTIONS[reduction]).reshape(inputs.shape)


# Control. The functions given are called on tensors as Python would: torch records what they compute for the gradients.


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """`true_fn()` if `pred` holds, else `false_fn()`."""
    return true_fn() if bool(pred) else false_fn()


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """The branch of this index, the nearest one where there is none, called on the operands."""
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None
) -> Any:
    """`body` of the variables, again and again, while `cond` of them holds."""
    is_single = not isinstance(loop_vars, (list, tuple))
    variables = (loop_vars,) if is_single else tuple(loop_vars)
    count = 0
    while (maximum_iterations is None or count < maximum_iterations) and bool(cond(*variables)):
        outputs = body(*variables)
        variables = tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)
        count += 1
    return variables[0] if is_single else variables


def fori_loop(lower: int, upper: int, body_fun: Callable[[int, Any], Any], init_val: Any) -> Any:
    """`value = body_fun(i, value)` for each `i` from `lower` up to, not including, `upper`."""
    value = init_val
    for number in range(int(lower), int(upper)):
        value = body_fun(number, value)
    return value


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """`carry, y = f(carry, x)` for each entry of `xs` along its first axis; the last carry, and all `y` stacked.

    Args:
        length: How many steps, where there are no `xs`.
        reverse: From the last to the first.
        unroll: Without effect.
    """
    parts = pytree.tree_leaves(xs)
    count = len(parts[0]) if parts else length
    if count is None or any(len(part) != count for part in parts):
        raise ValueError(f"scan needs entries of one length in `xs`, or `length`. Received: length={length}")
    carry, made = init, []
    for number in reversed(range(count)) if reverse else range(count):
        carry, y = f(carry, pytree.tree_map(lambda part, at=number: part[at], xs))
        made.append(y)
    if reverse:
        made.reverse()
    return carry, _stacked(made)


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`f` of each entry along the first axis, stacked."""
    count = len(pytree.tree_leaves(xs)[0])
    return _stacked([f(pytree.tree_map(lambda part, at=number: part[at], xs)) for number in range(count)])


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """Like `map`, computed for all entries at once."""
    return torch.vmap(function)(elements)


def _stacked(parts: list[Any]) -> Any:
    if not parts or builtins.all(part is None for part in parts):
        return None
    return pytree.tree_map(lambda *leaves: torch.stack([tensor(leaf) for leaf in leaves]), *parts)
