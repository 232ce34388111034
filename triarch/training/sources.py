"""Data as people have it -> batches `(x, y, sample_weight)` of tensors, epoch after epoch."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch.forms import is_array_like, to_tensors
from triarch.tensors import whole_number, whole_part
from triarch.training.batches import Batch, check_finite, unpack_x_y_sample_weight
from triarch.training.py_dataset import PyDataset

_THREE_LEAVES = pytree.tree_structure((0, 0, 0))  # of a batch in which neither x, y nor sample_weight is nested
_CHUNK_BYTES = 4 << 20  # shuffled samples are gathered this much at a time: many batches in one call


class Source(ABC):
    """A stream of batches that can be gone through once an epoch."""

    num_batches: int | None = None
    batch_size: int | None = None
    device: torch.device | None = None  # where all of the tensors lie; None where that is not known beforehand

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """The batches of one epoch."""

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""


class ArraySource(Source):
    """Arrays and tensors in memory, nested as the model wants them."""

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        shuffle: bool | str = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        y = to_tensors(y, "y")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Give `class_weight` or `sample_weight`, not both.")
            sample_weight = class_weights_of(y, class_weight)
        self._data = (to_tensors(x, "x"), y, to_tensors(sample_weight, "sample_weight"))
        self._leaves, self._structure = pytree.tree_flatten(self._data)
        devices = {leaf.device for leaf in self._leaves if leaf is not None}
        self.device = devices.pop() if len(devices) == 1 else None
        self.size = _common_length(self._data)
        if self.size == 0:
            raise ValueError("There are no samples to work on. Received: arrays of length 0")
        self.batch_size = 32 if batch_size is None else whole_number(batch_size, "batch_size", least=1)
        self.num_batches = -(-self.size // self.batch_size)
        self._shuffle = _standardized_shuffle(shuffle)

    def check_finite(self) -> None:
        """Raise ValueError where the data hold NaN."""
        check_finite(self._data)

    def batches(self) -> Iterator[Batch]:
        order = self._order()
        batches = zip(*(self._batches_of_leaf(leaf, order) for leaf in self._leaves), strict=True)
        if self._structure == _THREE_LEAVES:
            yield from batches
        else:
            for leaves in batches:
                yield pytree.tree_unflatten(leaves, self._structure)

    def _order(self) -> torch.Tensor | None:
        if self._shuffle is True:
            return torch.randperm(self.size)
        if self._shuffle == "batch":
            rows = torch.arange(self.size).split(self.batch_size)
            return torch.cat([rows[index] for index in torch.randperm(len(rows)).tolist()])
        return None

    def _batches_of_leaf(self, leaf: torch.Tensor | None, order: torch.Tensor | None) -> Iterator[torch.Tensor | None]:
        assert self.batch_size is not None
        if leaf is None:
            yield from itertools.repeat(None, self.num_batches or 0)
        elif order is None:
            yield from leaf.split(self.batch_size)
        else:
            batch_bytes = self.batch_size * max(leaf[:1].nbytes, 1)
            rows = self.batch_size * max(_CHUNK_BYTES // batch_bytes, 1)
            for part in order.to(leaf.device).split(rows):
                yield from leaf.index_select(0, part).split(self.batch_size)

    def split(self, fraction: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The data cut in two, the last `fraction` of the samples being the second part."""
        if isinstance(fraction, (np.ndarray, torch.Tensor)) and fraction.ndim == 0:
            fraction = np.asarray(fraction)[()]
        if not isinstance(fraction, (float, np.floating)) or not 0 < fraction < 1:
            raise ValueError(
                "validation_split must be a number between 0 and 1, the share of the samples that are set aside. "
                f"Received: validation_split={fraction!r}"
            )
        cut = whole_part(self.size, 1 - float(fraction), float(np.finfo(type(fraction)).eps))
        if not 0 < cut < self.size:
            raise ValueError(
                f"validation_split={fraction} leaves no sample for one of the two parts. Received: {self.size} samples"
            )
        first = pytree.tree_map(lambda leaf: None if leaf is None else leaf[:cut], self._data)
        second = pytree.tree_map(lambda leaf: None if leaf is None else leaf[cut:], self._data)
        return first, second


class IterableSource(Source):
    """A generator, a torch `DataLoader` or any other iterable of batches."""

    def __init__(self, batches: Any, class_weight: Mapping[int, float] | None = None) -> None:
        self._iterable = batches
        self._class_weight = class_weight
        self.num_batches = _length(batches)
        self.batch_size = getattr(batches, "batch_size", None)

    def batches(self) -> Iterator[Batch]:
        return _with_samples(prepared(data, self._class_weight) for data in self._iterable)

    @property
    def is_used_up(self) -> bool:
        """Whether one epoch is all that the data give."""
        return isinstance(self._iterable, Iterator)


class PyDatasetSource(Source):
    """A `PyDataset`, its items fetched ahead by its workers."""

    def __init__(
        self, dataset: PyDataset, shuffle: bool | str = False, class_weight: Mapping[int, float] | None = None
    ) -> None:
        self._dataset = dataset
        self._shuffle = _standardized_shuffle(shuffle) is not False
        self._class_weight = class_weight
        self.num_batches = self._count()

    def _count(self) -> int | None:
        """How many batches the next epoch has: a data set may change between epochs."""
        count = self._dataset.num_batches
        if count is None or count == math.inf:
            return None
        count = whole_number(count, "num_batches", least=0, instead="None, for an endless set,")
        if count == 0:
            raise ValueError(f"The PyDataset has no batches. Received: {self._dataset!r} with `num_batches` 0")
        return count

    def batches(self) -> Iterator[Batch]:
        count = self.num_batches = self._count()
        order: Iterable[int] = itertools.count() if count is None else range(count)
        if self._shuffle and count is not None:
            order = torch.randperm(count).tolist()
        return _with_samples(prepared(data, self._class_weight) for data in self._dataset.fetch(order))

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool | str = False,
    class_weight: Mapping[int, float] | None = None,
) -> Source:
    """The source for whatever a user passed as `x`, `y` and `sample_weight`.

    Batch size and shuffling of a DataLoader or generator are its own: the arguments have no effect on them.
    """
    if isinstance(x, Source):
        return x
    if x is None:
        raise ValueError("There are no data: pass arrays, tensors or an iterable of batches as `x`. Received: x=None")
    if _is_array_data(x):
        return ArraySource(x, y, sample_weight, batch_size, shuffle, class_weight)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"When x is a {type(x).__name__}, `{name}` must come out of it. Received: `{name}` too")
    if isinstance(x, PyDataset):
        return PyDatasetSource(x, shuffle, class_weight)
    if isinstance(x, torch.utils.data.Dataset):
        raise TypeError(
            "A torch Dataset gives single samples: wrap it in a `torch.utils.data.DataLoader(dataset, batch_size=32)`, "
            f"with `batch_size=None` where what it gives are batches. Received: x={x!r}"
        )
    if isinstance(x, Iterable) and not isinstance(x, Mapping):
        return IterableSource(x, class_weight)
    raise TypeError(
        "x must be an array, a tensor, a list, tuple or dict of them, a PyDataset, a torch DataLoader, a generator or "
        f"another iterable of batches. Received: x={x!r} of type {type(x).__name__}"
    )


def prepared(data: Any, class_weight: Mapping[int, float] | None = None) -> Batch:
    """What a user's iterable gave, as tensors."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    if x is None:
        raise ValueError("A batch needs an x, what the model is called on. Received: a batch whose x is None")
    y = to_tensors(y, "y")
    if class_weight is not None and sample_weight is None:
        sample_weight = class_weights_of(y, class_weight)
    batch = (to_tensors(x, "x"), y, to_tensors(sample_weight, "sample_weight"))
    count_of(batch)
    check_finite(batch)
    return batch


def count_of(batch: Batch) -> int:
    """How many samples there are, if all parts agree.

    Raises:
        ValueError: they do not, or a part has no axis of samples.
    """
    x, y, sample_weight = batch
    is_usual = isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) and sample_weight is None
    if is_usual and x.ndim and y.ndim and len(x) == len(y):  # as batches of a stream are
        return len(x)
    return _common_length(batch)


def _with_samples(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches that have any samples; one without counts for nothing."""
    return (batch for batch in batches if count_of(batch))


def _length(batches: Any) -> int | None:
    """How many batches there are, where that is known: a loader over a stream has a `__len__` that raises."""
    try:
        return len(batches)
    except (TypeError, NotImplementedError):
        return None


def _standardized_shuffle(shuffle: Any) -> bool | str:
    if isinstance(shuffle, str) and shuffle == "batch":
        return "batch"
    if isinstance(shuffle, str) or shuffle not in (True, False):
        raise ValueError(f"shuffle must be True, False or 'batch'. Received: shuffle={shuffle!r}")
    return bool(shuffle)


def class_weights_of(y: Any, class_weight: Mapping[int, float]) -> torch.Tensor:
    """A weight for each sample: that of its class; classes that are not named weigh 1."""
    if not isinstance(y, torch.Tensor):
        raise ValueError(f"`class_weight` needs a model with one output. Received: y of type {type(y).__name__}")
    classes = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    classes = classes.round().long()
    table = torch.ones(max(int(classes.max()), *class_weight) + 1 if len(y) else 1, dtype=torch.float32)
    for label, weight in class_weight.items():
        table[label] = float(weight)
    return table.to(y.device)[classes]


def _is_array_data(x: Any) -> bool:
    leaves = pytree.tree_leaves(x)
    if not leaves and isinstance(x, (list, tuple, dict)):
        raise ValueError(f"There are no samples to work on. Received: x={x!r}")
    return len(leaves) > 0 and all(is_array_like(leaf) for leaf in leaves if leaf is not None)


def _common_length(data: tuple[Any, Any, Any]) -> int:
    leaves = {
        f"{name}{pytree.keystr(path)}": leaf
        for name, part in zip(("x", "y", "sample_weight"), data, strict=True)
        for path, leaf in pytree.tree_flatten_with_path(part)[0]
        if leaf is not None
    }
    if single := [name for name, leaf in leaves.items() if leaf.ndim == 0]:
        raise ValueError(f"Data need a first axis, that of the samples. Received: {', '.join(single)} without axes")
    lengths = {name: len(leaf) for name, leaf in leaves.items()}
    if len(set(lengths.values())) > 1:
        several = [name for name in lengths if name.startswith("x[")]
        advice = " A list of arrays is a list of inputs: `np.stack(x)` makes one of them." if len(several) > 2 else ""
        raise ValueError(f"All arrays must hold equally many samples.{advice} Received: lengths {lengths}")
    if not lengths:
        raise ValueError("There are no samples to work on. Received: x=None")
    return next(iter(lengths.values()))


def limited(source: Source, steps: int | None) -> Callable[[], Iterator[Batch]]:
    """A function that gives the batches of the next epoch of `steps` batches.

    Where `steps` is given, an epoch goes on where the one before stopped, and starts again at the end of the data.
    """
    if steps is None:
        return source.batches
    running: list[Iterator[Batch]] = []

    def next_epoch() -> Iterator[Batch]:
        if not running:
            running.append(source.batches())
        for _ in range(steps):
            batch = next(running[0], None)
            if batch is None:
                running[0] = source.batches()
                batch = next(running[0], None)
            if batch is None:
                running.clear()
                return
            yield batch

    return next_epoch
