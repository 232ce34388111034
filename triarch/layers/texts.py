"""Texts where tensors stand: the numbers of their letters, along one axis more than the texts have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch.exactness import unhidden

TEXT = "string"  # the number type of what is no number


class Texts(torch.Tensor):
    """Texts in a model: their letters' code points, filled up with 0; layers of vocabularies read them as texts."""


def strings(values: Any) -> np.ndarray[Any, Any]:
    """An array of strings; bytes are taken for UTF-8.

    Raises:
        ValueError: Values are not strings, or not an array's. A missing text (None, NaN) is not the word "nan".
    """
    if isinstance(values, Texts):
        return _decoded(values)
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


def encoded(values: Any) -> Texts:
    """Texts as a tensor, which can be cut into batches."""
    array = np.ascontiguousarray(strings(values))
    letters = array.dtype.itemsize // 4
    codes = array.reshape(-1).view(np.uint32).reshape(*array.shape, letters).astype(np.int32)
    return torch.from_numpy(codes).as_subclass(Texts)


def with_texts_encoded(data: Any) -> Any:
    """Arrays and lists of texts in nested data as tensors of them; everything else as it is."""
    if are_texts(data):
        return encoded(data)
    if isinstance(data, dict):
        return {name: with_texts_encoded(value) for name, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(map(with_texts_encoded, data))
    return data


def _decoded(texts: Texts) -> np.ndarray[Any, Any]:
    codes = np.ascontiguousarray(texts.detach().cpu().as_subclass(torch.Tensor).numpy().astype(np.uint32))
    if not codes.size:
        return np.zeros(codes.shape[:-1], dtype=str)
    return codes.view(f"<U{codes.shape[-1]}")[..., 0]


def are_texts(values: Any) -> bool:
    """Whether these are texts, or an array or list of them."""
    while isinstance(values, (list, tuple)) and len(values):
        values = values[0]
    if isinstance(values, (str, bytes)):
        return True
    if not isinstance(values, np.ndarray):
        return False
    if values.dtype.kind == "O":
        return values.size > 0 and isinstance(values.flat[0], (str, bytes))
    return values.dtype.kind in "UST"
