"""Texts where tensors stand: the numbers of their letters, along one axis more than the texts have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch.layers.preprocessing import tokens

TEXT = "string"  # the number type of what is no number


class Texts(torch.Tensor):
    """Texts in a model: their letters' code points, filled up with 0; layers of vocabularies read them as texts."""


def strings(values: Any) -> np.ndarray[Any, Any]:
    """An array of strings.

    Raises:
        ValueError: Values are not strings, or not an array's.
    """
    if isinstance(values, Texts):
        return _decoded(values)
    return tokens.strings(values)


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
