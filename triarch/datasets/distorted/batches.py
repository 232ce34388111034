"""Distorted images on the fly, for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from triarch import kernels
from triarch.datasets.distorted.arguments import Array, Size, check_labels, checked_images, checked_seed
from triarch.datasets.distorted.distortion import Distortion, canvas_of, distort, rule_of
from triarch.datasets.distorted.draws import MIXING, uniforms
from triarch.training.py_dataset import PyDataset


class DistortedImages(PyDataset):
    """Batches of images that are distorted anew at every pass: `fit` never sees the same picture twice.

    The first pass distorts `n` images by the distortions number 0 to `n - 1` of the seed, the second by the next `n`,
    and so on; in an order of its own, if they are mixed. Batch number `index` is `dataset[index]`; numbers from
    `len(dataset)` on are those of later passes. `evaluate` and `predict` pass over them, too: to measure on the same
    pictures each time, make them once with `distort`.

    Attributes:
        epoch: The pass that comes next, from 0 on. Set it to go on with a training that was stopped.

    Args:
        images, kind, seed, size: As for `distort`.
        labels: One for each image, in the first axis.
        batch_size: How many images a batch has; the last one of a pass has what is left.
        shuffle: Whether images are mixed, anew in every pass.
        workers, use_multiprocessing, max_queue_size: As for `PyDataset`.

    Raises:
        ValueError: As for `distort`, or there are not as many labels, or `batch_size` is not positive.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        kind: str | Distortion,
        batch_size: int = 32,
        seed: int | None = None,
        size: int | Size | None = None,
        shuffle: bool = True,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__(workers, use_multiprocessing, max_queue_size)
        self.images, self.labels, self.seed = checked_images(images), np.asarray(labels), checked_seed(seed)
        check_labels(self.images, self.labels)
        if not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"`batch_size` is at least 1. Received: batch_size={batch_size!r}")
        self.kind = rule_of(kind)
        self.size = canvas_of(self.kind, (self.images.shape[1], self.images.shape[2]), size)
        self.batch_size, self.shuffle = batch_size, shuffle
        self.epoch = 0
        self._order: tuple[int, Array] | None = None  # of the pass that was asked for last

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        if index < 0:
            raise IndexError(f"Batches are numbered from 0 on. Received: number {index}")
        epoch, batch = divmod(index, len(self))
        start = batch * self.batch_size
        chosen = self._order_of(epoch)[start : start + self.batch_size]
        first = epoch * len(self.images) + start
        with kernels.expecting(len(self)):
            return distort(self.images[chosen], self.kind, self.seed, self.size, first), self.labels[chosen]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return self.fetch(range(len(self)))

    def fetch(self, order: Iterable[int]) -> Iterator[Any]:
        """One pass; a pass that begins later shows other distortions, though this one be not at its end."""
        start = self.epoch * len(self)
        self.epoch += 1
        yield from super().fetch(start + index for index in order)

    def _order_of(self, epoch: int) -> Array:
        kept = self._order
        if kept is None or kept[0] != epoch:
            count = len(self.images)
            order = np.arange(count)
            if self.shuffle:
                order = np.argsort(uniforms(self.seed, MIXING, epoch * count, count, 1)[:, 0], kind="stable")
            self._order = kept = epoch, order
        return kept[1]
