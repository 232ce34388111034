"""Integers as arrays, none of which is hidden or another one than it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch.exactness import as_type, unhidden

Array = np.ndarray[Any, Any]


def integers(values: Any, name: str = "inputs") -> Array:
    """An array of integers of 64 bits; floats lose what is behind the point.

    Raises:
        ValueError: Values are no numbers, not finite, or of more bits.
    """
    array = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else unhidden(values, name))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"Numbers in `{name}` are finite. Received: {array[~np.isfinite(array)][0]}")
    return as_type(np.trunc(array) if array.dtype.kind == "f" else array, np.int64, name)
