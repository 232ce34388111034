"""`PyDataset`: a user's data set that gives a whole batch for an index."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch

from triarch.tensors import whole_number

_worker_dataset: PyDataset | None = None


class PyDataset:
    """Base class of data sets that make the batch number `index` in `__getitem__`.

    A subclass defines `__getitem__(index)`, which returns `(x, y)` or `(x, y, sample_weight)`, and `__len__` (or
    `num_batches`, None for an endless set); `on_epoch_begin` and `on_epoch_end` where wanted.

    Args:
        workers: How many batches are made at the same time, ahead of their use; 0 and 1 make each when it is needed.
        use_multiprocessing: Make them in processes rather than threads; the data set must then be picklable.
        max_queue_size: How many batches may wait.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define `__getitem__(self, index)`.")

    @property
    def num_batches(self) -> int | None:
        """How many batches an epoch has; None where it never ends."""
        if hasattr(self, "__len__"):
            return whole_number(type(self).__len__(self), "The length of a PyDataset", least=0)
        raise NotImplementedError(f"{type(self).__name__} defines neither `__len__` nor `num_batches`.")

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch."""

    def fetch(self, order: Iterable[int]) -> Iterator[Any]:
        """The batches of these indices, in their order, made ahead by the workers."""
        if getattr(self, "workers", 1) <= 1:
            yield from (self[index] for index in order)
            return
        with self._executor() as pool:
            indices = iter(order)
            task = _item_in_worker if self.use_multiprocessing else self.__getitem__
            waiting: deque[Future[Any]] = deque(
                pool.submit(task, index) for index in islice(indices, max(self.max_queue_size, 1))
            )
            try:
                while waiting:
                    item = waiting.popleft().result()
                    waiting.extend(pool.submit(task, index) for index in islice(indices, 1))
                    yield item
            finally:
                for future in waiting:
                    future.cancel()

    def _executor(self) -> Executor:
        if self.use_multiprocessing:
            return ProcessPoolExecutor(self.workers, initializer=_keep_in_worker, initargs=(self,))
        return ThreadPoolExecutor(self.workers)


def _keep_in_worker(dataset: PyDataset) -> None:
    global _worker_dataset
    torch.set_num_threads(1)  # a forked process hangs in torch's threads, which only its parent has
    _worker_dataset = dataset


def _item_in_worker(index: int) -> Any:
    assert _worker_dataset is not None
    return _worker_dataset[index]
