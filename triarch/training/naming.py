"""What losses and metrics are called, and which ones names stand for that depend on shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from triarch.registry import to_snake_case

_BY_SHAPE = {  # name -> what it stands for with (binary, integer labels, one-hot) targets
    ("accuracy", "acc"): ("binary_accuracy", "sparse_categorical_accuracy", "categorical_accuracy"),
    ("crossentropy", "ce"): ("binary_crossentropy", "sparse_categorical_crossentropy", "categorical_crossentropy"),
}
NAMES_BY_SHAPE = tuple(name for names in _BY_SHAPE for name in names)


def by_shape(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Any:
    """`"accuracy"` and `"crossentropy"` as the one that fits the shapes; all else as it is."""
    if isinstance(identifier, str):
        for names, candidates in _BY_SHAPE.items():
            if identifier.lower() in names:
                return candidates[_kind_of_target(y_true, y_pred)]
    return identifier


def _kind_of_target(y_true: Tensor, y_pred: Tensor) -> int:
    if y_pred.ndim <= 1 or y_pred.shape[-1] == 1:  # one number a sample, or a column of them
        return 0
    is_sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return 1 if is_sparse else 2


def check_names(setting: Any, also: Sequence[str], get: Callable[[str], Any]) -> None:
    """Raise on an unknown name at once, rather than at the first batch."""
    for entry in pytree.tree_leaves(setting):
        if isinstance(entry, str) and entry.lower() not in also:
            get(entry)


def numbered(names: Sequence[str]) -> list[str]:
    """The names, a repeated one with `_1`, `_2`, ... at its end, which no other has."""
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for name in names:
        fresh = name
        while seen[name] and (fresh == name or fresh in unique or fresh in names):
            fresh = f"{name}_{seen[name]}"
            seen[name] += 1
        seen[name] += not seen[name]
        unique.append(fresh)
    return unique


def object_name(value: Any) -> str:
    """What a loss or metric is called: its own name, or that of its function or class in snake case."""
    return getattr(value, "name", None) or to_snake_case(getattr(value, "__name__", type(value).__name__))
