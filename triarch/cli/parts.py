"""Labelled images in parts, for learning and for tests: in memory, or in files that are read batch by batch."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch

from triarch.cli.images import in_range, reader_of
from triarch.cli.output import CommandError
from triarch.training.images.batches import ImageFolder, default_workers
from triarch.training.images.kept import KeptImages

Range = tuple[float, float]
_BYTES: Range = (0, 255)
_AT_ONCE = 64  # images
_FEWEST = 5  # images of a class of which a fifth can be held out


class Part(ABC):
    """Images of one shape, and their class numbers.

    Attributes:
        labels: `(count,)`.
        value_range: What the darkest and the brightest pixel can be.
    """

    labels: np.ndarray
    value_range: Range

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""

    @abstractmethod
    def where(self, chosen: np.ndarray) -> Self:
        """The images for which `chosen` is true."""

    @abstractmethod
    def followed_by(self, other: Self) -> Self:
        """These images and then those of the other part."""

    @abstractmethod
    def with_labels(self, labels: np.ndarray) -> Self:
        """The same images with other class numbers."""

    @abstractmethod
    def with_range(self, value_range: Range) -> Self:
        """The images with their values brought to another range."""

    @abstractmethod
    def take(self, numbers: np.ndarray) -> np.ndarray:
        """The images of these numbers, `(len(numbers), height, width, channels)`."""

    @abstractmethod
    def source(self, batch_size: int, seed: int | None = None) -> tuple[Any, Any]:
        """All images as `fit` and `predict` take them: x, and y where x has no labels.

        Args:
            batch_size: Of what comes in batches.
            seed: Mixes it anew in each epoch; None leaves the images in their order, as validation wants them.
        """


@dataclass(frozen=True)
class InMemory(Part):
    """Images that are there, `(count, height, width, channels)`."""

    images: np.ndarray
    labels: np.ndarray
    value_range: Range

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def where(self, chosen: np.ndarray) -> Self:
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def followed_by(self, other: Self) -> Self:
        images, labels = np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels])
        return replace(self, images=images, labels=labels)

    def with_labels(self, labels: np.ndarray) -> Self:
        return replace(self, labels=labels)

    def with_range(self, value_range: Range) -> Self:
        if value_range == self.value_range:
            return self
        images = in_range(self.images.astype(np.float32), self.value_range, value_range)
        return replace(self, images=images, value_range=value_range)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self.images[numbers]

    def source(self, batch_size: int, seed: int | None = None) -> tuple[Any, Any]:
        return self.images, self.labels  # `fit` makes the batches, and mixes them


@dataclass(frozen=True)
class OnDisk(Part):
    """Image files, stretched to one shape.

    Attributes:
        kept: Has the images that are in memory; parts share it.
    """

    files: Sequence[Path]
    labels: np.ndarray
    own_shape: tuple[int, int, int]
    kept: KeptImages
    value_range: Range = _BYTES

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.own_shape

    def where(self, chosen: np.ndarray) -> Self:
        return self._only(np.flatnonzero(chosen))

    def followed_by(self, other: Self) -> Self:
        return replace(self, files=[*self.files, *other.files], labels=np.concatenate([self.labels, other.labels]))

    def with_labels(self, labels: np.ndarray) -> Self:
        return replace(self, labels=labels)

    def with_range(self, value_range: Range) -> Self:
        return replace(self, value_range=value_range)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        batches = [images.numpy() for images, _ in FileBatches(self._only(numbers), _AT_ONCE, None)]
        return np.concatenate([np.empty((0, *self.shape), np.float32), *batches])

    def source(self, batch_size: int, seed: int | None = None) -> tuple[Any, Any]:
        return FileBatches(self, batch_size, seed), None

    def _only(self, numbers: np.ndarray) -> Self:
        return replace(self, files=[self.files[number] for number in numbers.tolist()], labels=self.labels[numbers])


class FileBatches:
    """Batches `(images, labels)` of a part on the disk, which threads read while others are used; float32 images.

    They have the very pixels that `triarch predict` makes of the files.

    Raises:
        CommandError: In an iteration: a file is no image any more.
    """

    def __init__(self, part: OnDisk, batch_size: int, seed: int | None) -> None:
        self.batch_size, self.value_range = batch_size, part.value_range
        files = [str(file) for file in part.files]
        self._folder = ImageFolder(
            file_paths=files,
            labels=part.labels,
            class_names=None,
            reader=reader_of(part.shape),
            batch_size=batch_size,
            shuffle=seed is not None,
            seed=seed or 0,
            data_format="channels_last",
            workers=default_workers(files),
            kept=part.kept,
        )

    def __len__(self) -> int:
        return len(self._folder)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        try:
            for images, labels in self._folder:
                yield in_range(images, _BYTES, self.value_range), labels
        except ValueError as error:
            raise CommandError(str(error)) from error


P = TypeVar("P", bound=Part)


def every(step: int, labels: np.ndarray) -> np.ndarray:
    """True for every `step`-th image of each class, beginning with the third: a fixed, stratified choice."""
    return _ranks(labels, np.arange(len(labels))) % step == 2 % step


def for_validation(labels: np.ndarray) -> np.ndarray:
    """True for a tenth of each class that is not learnt; where classes are too small, for their second image.

    Raises:
        CommandError: No class has two images.
    """
    chosen = every(10, labels)
    chosen = chosen if chosen.any() else _ranks(labels, np.arange(len(labels))) == 1
    if not chosen.any():
        raise CommandError(f"Expected at least two samples of a class to learn from. Received: {len(labels)} in all")
    return chosen


def _ranks(labels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The place of each image among those of its class, in the order of the keys."""
    order = np.lexsort((keys, labels))
    ranks = np.empty(len(labels), int)
    firsts = np.searchsorted(labels[order], labels[order])
    ranks[order] = np.arange(len(labels)) - firsts
    return ranks


def held_by_name(names: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """True for about a fifth of each class, told by hashes of the names alone.

    Names that come later move none that were learnt into the test. Of each class at least one is tested and one learnt.
    """
    digests = (hashlib.blake2b(_spelt(name), digest_size=8).digest() for name in names)
    hashes = np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)
    ranks = _ranks(labels, hashes)
    sizes = np.bincount(labels, minlength=1)[labels]
    return ((hashes < 2**64 // 5) | (ranks == 0)) & ((ranks < sizes - 1) | (sizes == 1))


def _spelt(name: str) -> bytes:
    """The same bytes for a name whether its accents are letters of their own, as macOS has them, or not."""
    return unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")


def held_out(name: str, whole: P, class_names: Sequence[str], file_names: Sequence[str] | None = None) -> tuple[P, P]:
    """A training part and a fixed fifth for testing, told by the names of the files where there are files."""
    present, counts = np.unique(whole.labels, return_counts=True)
    if counts.min() < _FEWEST:
        rarest = class_names[present[counts.argmin()]]
        raise CommandError(
            f"A fifth of every class is held out for testing, so each needs at least {_FEWEST} images. Received: "
            f"{counts.min()} of class {rarest!r} in {name!r}"
        )
    chosen = every(5, whole.labels) if file_names is None else held_by_name(file_names, whole.labels)
    return whole.where(~chosen), whole.where(chosen)
