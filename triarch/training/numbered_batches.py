"""Batches of samples that are told by their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from triarch.training.py_dataset import PyDataset

Array = np.ndarray[Any, Any]


class NumberedBatches(PyDataset):
    """Batches whose samples a subclass makes from their numbers, mixed anew in each epoch where that is asked for."""

    def __init__(self, numbers: Array, batch_size: int | None, shuffle: bool, seed: int | None) -> None:
        super().__init__()
        self.numbers, self.batch_size, self.shuffle = numbers, batch_size, shuffle
        self._random = np.random.default_rng(seed)
        if shuffle:
            self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.numbers) if self.batch_size is None else -(-len(self.numbers) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: number {index}")
        if self.batch_size is None:
            return self.samples(self.numbers[index])
        return self.samples(self.numbers[index * self.batch_size : (index + 1) * self.batch_size])

    def samples(self, numbers: Any) -> Any:
        """The samples with these numbers."""
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """Mix the samples anew."""
        if self.shuffle:
            self.numbers = self._random.permutation(self.numbers)
