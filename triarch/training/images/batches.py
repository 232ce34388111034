"""Batches of images that threads read from files while other batches are used."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from triarch.training.images.files import MODES, in_mode, picture_of
from triarch.training.images.kept import KeptImages, read_stamped

Array = np.ndarray[Any, Any]

_AHEAD = 2  # batches that are read while one is used
_MOST_WORKERS = 8  # more would take the step's share of processors and memory


def default_workers() -> int:
    """How many threads read images where nobody says it: as many as this process has processors, up to 8."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux alone tells
    return min(_MOST_WORKERS, own)


@dataclass(frozen=True)
class ImageReader:
    """How a file becomes an array: float32, values 0..255."""

    color_mode: str
    size: tuple[int, int]
    interpolation: str
    fit: Callable[[Array, Array, str], None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return (*self.size, {"grayscale": 1, "rgb": 3, "rgba": 4}[self.color_mode])

    def read_into(self, out: Array, path: str, kept: KeptImages) -> None:
        """Fill `out`, of `shape`, with the image.

        Raises:
            ValueError: The file is no image that can be read; it is named.
        """
        image = self.read(path, kept)
        if image.dtype == np.float32:
            out[...] = image
        else:
            self.fit(image, out, self.interpolation)

    def read(self, path: str, kept: KeptImages) -> Array:
        """The image as it takes less memory: as in its file, uint8, or float32 and of `shape`.

        Raises:
            ValueError: The file is no image that can be read; it is named.
        """
        image = kept.find(path)
        if image is not None:
            return image
        try:
            content, stamp = read_stamped(path)
        except OSError as error:
            raise ValueError(f"The file {path!r} cannot be opened: {error.strerror}") from error
        picture = in_mode(picture_of(content, path, self.color_mode == "rgba"), MODES[self.color_mode])
        height, width, channels = self.shape
        image = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, channels)
        if 4 * height * width * channels <= image.nbytes:
            fitted = np.empty(self.shape, np.float32)
            self.fit(image, fitted, self.interpolation)
            image = fitted
        kept.keep(path, stamp, image)
        return image


class ImageFolder:
    """Batches of images, `images` or `(images, labels)`; each iteration is an epoch, where asked for in a new order.

    Images are read by threads, up to two batches ahead. The threads end with the iteration, or when its iterator is
    dropped. A process that is forked during an iteration begins one of its own. Images that were read stay in memory,
    as far as `kept` has room for them.

    Attributes:
        class_names: Names of the classes, in the order of their numbers; None without labels.
        file_paths: All files.
        labels: A row for each file; None without labels.
    """

    def __init__(
        self,
        file_paths: Sequence[str],
        labels: Array | None,
        class_names: list[str] | None,
        reader: ImageReader,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
        data_format: str,
        workers: int,
        kept: KeptImages,
    ) -> None:
        self.file_paths, self.labels, self.class_names = list(file_paths), labels, class_names
        self.batch_size, self.shuffle, self.data_format, self.workers = batch_size, shuffle, data_format, workers
        self._reader, self._kept = reader, kept
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.file_paths) // (self.batch_size or 1))

    def __iter__(self) -> Iterator[Any]:
        numbers = np.arange(len(self.file_paths))
        return self._epoch(self._random.permutation(numbers) if self.shuffle else numbers)

    def _epoch(self, order: Array) -> Iterator[Any]:
        size = self.batch_size or 1
        process, ended = os.getpid(), threading.Event()
        pool = ThreadPoolExecutor(self.workers, "triarch-images")
        begun = (self._begun(pool, ended, order[first : first + size]) for first in range(0, len(order), size))
        try:
            waiting = deque(islice(begun, _AHEAD))
            while waiting:
                if os.getpid() != process:
                    raise RuntimeError("An iteration over images has no threads in a forked process: begin a new one.")
                numbers, images, parts = waiting.popleft()
                waiting.extend(islice(begun, 1))
                for part in parts:
                    part.result()
                yield self._batch(numbers, images)
        finally:
            ended.set()
            pool.shutdown(wait=os.getpid() == process, cancel_futures=True)

    def _begun(
        self, pool: ThreadPoolExecutor, ended: threading.Event, numbers: Array
    ) -> tuple[Array, Array, list[Future[None]]]:
        """Files, the memory of their images, and what is filling it."""
        images = np.empty((len(numbers), *self._reader.shape), np.float32)
        paths = [self.file_paths[number] for number in numbers]
        step = min(self.workers, len(numbers))
        parts = [pool.submit(self._fill, images[first::step], paths[first::step], ended) for first in range(step)]
        return numbers, images, parts

    def _fill(self, images: Array, paths: list[str], ended: threading.Event) -> None:
        for image, path in zip(images, paths, strict=True):
            if ended.is_set():
                return
            self._reader.read_into(image, path, self._kept)

    def _batch(self, numbers: Array, images: Array) -> Any:
        made = torch.from_numpy(images)
        made = made.permute(0, 3, 1, 2) if self.data_format == "channels_first" else made
        labels = None if self.labels is None else torch.from_numpy(self.labels[numbers])
        if self.batch_size is None:
            made, labels = made[0], None if labels is None else labels[0]
        return made if labels is None else (made, labels)
