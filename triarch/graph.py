"""Symbolic tensors: shape and type without numbers, and the record of which layer made them from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triarch import config, registry

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Node:
    """One call of a layer on symbolic tensors."""

    layer: Any
    inputs: tuple[SymbolicTensor, ...]


class SymbolicTensor:
    """What `Input` gives and a layer called on it returns: a shape (None where unknown), a type and its origin."""

    def __init__(
        self, shape: Sequence[int | None], dtype: str | None = None, name: str | None = None, node: Node | None = None
    ) -> None:
        self.shape: Shape = standardize_shape(shape)
        self.dtype = dtype or config.floatx()
        self.name = name or registry.unique_name("keras_tensor")
        self.node = node

    @property
    def ndim(self) -> int:
        """The number of axes, the batch's included."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"A symbolic tensor holds no numbers; pass data through a model instead. Received: {self!r}")


def standardize_shape(shape: Any) -> Shape:
    """`shape` as a tuple of non-negative ints and Nones, or a ValueError."""
    if hasattr(shape, "__index__"):
        raise ValueError(f"A shape is a tuple such as (28, 28, 1); write ({shape},) for one axis. Received: {shape}")
    entries = tuple(shape)
    for entry in entries:
        if entry is not None and (not hasattr(entry, "__index__") or entry < 0):
            raise ValueError(f"The entries of a shape are non-negative integers or None. Received: {shape}")
    return tuple(None if entry is None else int(entry) for entry in entries)
