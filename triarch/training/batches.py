"""A batch `(x, y, sample_weight)`: making it from what users give, taking it apart, checking it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch import config
from triarch.tensors import torch_dtype

Batch = tuple[Any, Any, Any]
_SINGLE = np.dtype(np.float32)


def unpack_x_y_sample_weight(data: Any) -> Batch:
    """`x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)` -> `(x, y, sample_weight)`, None where missing."""
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "A batch is `x`, `(x, y)` or `(x, y, sample_weight)`; several inputs go into one x, as in `([a, b], y)`. "
            f"Received: {len(data)} parts"
        )
    return (*data, None, None)[:3]


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The shortest tuple that holds what is there; `x` itself where it is alone and no list or tuple."""
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, (list, tuple)) else x


def to_tensors(data: Any) -> Any:
    """Arrays, lists of numbers and the like as tensors on the host, without a copy where possible.

    Floats of other types become `config.floatx()`, as in Keras; other types stay.
    """
    if data is None or isinstance(data, (torch.Tensor, np.ndarray)):
        return _tensor(data)
    if isinstance(data, dict):
        return {name: to_tensors(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        if _is_plain_list(data):
            return _tensor(np.asarray(data))
        parts = [to_tensors(value) for value in data]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return _tensor(np.asarray(data))


def _is_plain_list(data: Any) -> bool:
    """Whether nested lists end in numbers (an array written out) rather than in arrays (several arrays)."""
    while isinstance(data, (list, tuple)) and len(data):
        data = data[0]
    return isinstance(data, (int, float, bool, np.generic))


def _tensor(array: Any) -> torch.Tensor | None:
    if array is None:
        return None
    if type(array) is np.ndarray and array.dtype is _SINGLE and config.floatx() == "float32":
        flags = array.flags
        if flags.c_contiguous and flags.writeable:  # as batches of a stream are
            return torch.from_numpy(array)
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biufc":
            raise ValueError(
                f"Data must be numbers. Received: an array of type {array.dtype} and shape {array.shape}; "
                "arrays of unequal rows or of text have to be made numbers of one shape first."
            )
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        if array.dtype == np.float64:
            array = array.astype(np.float32 if config.floatx() == "float32" else np.float64)
        array = torch.from_numpy(np.ascontiguousarray(array) if not array.dtype.isnative else array)
    if array.is_floating_point():
        array = array.to(torch_dtype(config.floatx()))
    return array.detach()


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`."""
    return pytree.tree_map(lambda leaf: leaf if leaf is None else leaf.to(device, non_blocking=True), batch)


def not_finite(batch: Batch) -> str | None:
    """Where x holds NaN, or y or sample_weight NaN or infinity, in words; None where they do not.

    Tensors on other devices are not read.
    """
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=True):
        for path, leaf in pytree.tree_flatten_with_path(part)[0]:
            if leaf is None or not leaf.is_floating_point() or leaf.device.type != "cpu":
                continue
            # One quick pass; only a suspicious sum makes a second one.
            if torch.isfinite(leaf.sum()):
                continue
            where = (torch.isnan(leaf) if name == "x" else ~torch.isfinite(leaf)).nonzero()
            if len(where):
                kind = "NaN" if name == "x" else "NaN or infinite"
                return (
                    f"{name}{pytree.keystr(path)} holds {len(where)} {kind} values, the first at index "
                    f"{tuple(where[0].tolist())}"
                )
    return None
