"""Checks of what users give: constructor arguments and input shapes."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from triarch.layers.base import Layer


def standardize_tuple(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """`value`, a positive integer or one for each axis, as a tuple."""
    values = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * rank
    if len(values) != rank or not all(is_integer(entry) and entry > 0 for entry in values):
        expected = "a positive integer" + (f" or a tuple of {rank} of them" if rank > 1 else "")
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")
    return tuple(operator.index(entry) for entry in values)


def is_integer(value: Any) -> bool:
    """Whether `value` is an integer, Python's or NumPy's, and no truth value."""
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_))


def standardize_padding(value: Any, allowed: Sequence[str] = ("valid", "same")) -> str:
    """`value` in lower case, if it is one of `allowed`."""
    padding = value.lower() if isinstance(value, str) else value
    if padding not in allowed:
        raise ValueError(f"`padding` must be one of {tuple(allowed)}. Received: padding={value!r}")
    return padding


def refuse_strides_with_dilation(strides: tuple[int, ...], dilation_rate: tuple[int, ...]) -> None:
    """Raise ValueError where both exceed 1."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ValueError(
            "Either `strides` or `dilation_rate` may exceed 1, not both. Received: "
            f"strides={strides}, dilation_rate={dilation_rate}"
        )


def describe(layer: Layer) -> str:
    """The layer, as error messages call it."""
    return f"Layer {layer.name!r} ({type(layer).__name__})"


class named_in_errors:  # noqa: N801 - a context manager; a class, because it is entered at every call of a layer
    """Inside this context, a ValueError whose message is a predicate gets `layer` as its subject."""

    __slots__ = ("_layer",)

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if kind is ValueError:
            raise ValueError(f"{describe(self._layer)} {error}") from None


def require_axes(layer: Layer, shape: Sequence[int | None], axes: Sequence[str]) -> None:
    """Raise ValueError where the shape of a batch has not these axes."""
    if len(shape) != len(axes):
        raise ValueError(
            f"{describe(layer)} expects {len(axes)} axes ({', '.join(axes)}). Received: shape {tuple(shape)}"
        )
