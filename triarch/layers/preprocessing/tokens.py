"""Strings and integers as arrays, none of which is missing, hidden or another one than it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch.exactness import as_type, unhidden

Array = np.ndarray[Any, Any]


def strings(values: Any) -> Array:
    """An array of strings; bytes are taken for UTF-8.

    Raises:
        ValueError: Values are not strings, or not an array's. A missing text (None, NaN) is not the word "nan".
    """
    if isinstance(unhidden(values, "inputs"), np.ndarray) and values.dtype.kind == "U":
        return np.asarray(values)
    try:
        array = np.asarray(values, object)  # else NumPy would write numbers among the strings in letters
    except ValueError as error:
        raise ValueError(f"Samples of strings have the same number of strings each. Received: {values!r}") from error
    return np.array([_string(value, place) for place, value in enumerate(array.flat)], dtype=str).reshape(array.shape)


def _string(value: Any, place: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Expected strings, or bytes in UTF-8. Received: {value[:40]!r} at place {place}"
            ) from error
    if isinstance(value, (list, tuple, np.ndarray)):
        raise ValueError(f"Samples of strings have the same number of strings each. Received: {value!r} among them")
    is_missing = value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
    advice = ", which is missing: leave it out or fill it in, as pandas does with `fillna('')`" if is_missing else ""
    raise ValueError(f"Expected strings. Received: {value!r} at place {place}{advice}")


def integers(values: Any, name: str = "inputs") -> Array:
    """An array of integers of 64 bits; floats lose what is behind the point.

    Raises:
        ValueError: Values are no numbers, not finite, or of more bits.
    """
    array = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else unhidden(values, name))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"Numbers in `{name}` are finite. Received: {array[~np.isfinite(array)][0]}")
    return as_type(np.trunc(array) if array.dtype.kind == "f" else array, np.int64, name)
