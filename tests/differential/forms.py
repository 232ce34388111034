"""The same samples in the forms that people hand over: arrays, tensors, dicts, generators, data sets, loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

FORMS = ("arrays", "tensors", "dicts", "generator", "PyDataset", "DataLoader")


def arguments(form: str, k: Any, data: tuple[Any, Any, Any], batch_size: int) -> dict[str, Any]:
    """What `fit` and `evaluate` of library `k` are called with for `(x, y, sample_weight)`; in order, not shuffled."""
    x, y, sample_weight = data
    if form in ("arrays", "tensors", "dicts"):
        if form == "tensors":
            x, y, sample_weight = pytree.tree_map_only(_is_array, torch.from_numpy, data)
        elif form == "dicts" and isinstance(x, list):
            x = {f"input_{number}": array for number, array in enumerate(x)}
        return {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    batches = list(_batches(data, batch_size))
    if form == "generator":
        return {"x": _again_and_again(batches), "steps": len(batches)}
    if form == "PyDataset":
        return {"x": _py_dataset(k, batches)}
    batches = pytree.tree_map_only(_is_array, torch.from_numpy, batches)
    return {"x": torch.utils.data.DataLoader(batches, batch_size=None)}


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and not isinstance(value, torch.Tensor)


def _batches(data: tuple[Any, Any, Any], batch_size: int) -> Iterator[tuple[Any, ...]]:
    """Batches as tuples, as several inputs and outputs come in a stream; weights only where there are any."""
    samples = len(pytree.tree_leaves(data[0])[0])
    parts = [tuple(part) if isinstance(part, list) else part for part in data if part is not None]
    for start in range(0, samples, batch_size):
        rows = slice(start, start + batch_size)
        yield tuple(pytree.tree_map(lambda array, rows=rows: array[rows], part) for part in parts)


def _again_and_again(batches: list[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def _py_dataset(k: Any, batches: list[Any]) -> Any:
    class Batches(k.utils.PyDataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> Any:
            return batches[index]

    return Batches()
