"""A batch `(x, y, sample_weight)`: making it from what users give, taking it apart, checking it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

Batch = tuple[Any, Any, Any]


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
