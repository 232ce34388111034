"""Batches of images that threads read from files while other batches are used."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch.training.images.deep import is_deep, scaled_to_bytes
from triarch.training.images.files import MODES, in_mode, picture_of
from triarch.training.images.kept import KeptImages, Stamp, read_stamped
from triarch.training.images.plain import plain_pixels

Array = np.ndarray[Any, Any]
_Opened = Array | tuple[bytes, Stamp | None] | OSError  # an image that was kept, what a file holds, or why not

_AHEAD = 2  # batches that are read while one is used
_TOGETHER = 8  # files whose contents a thread holds
_TINY, _SAMPLED = 1_536, 16  # bytes; files whose sizes are looked at
_MOST_WORKERS = 8  # more would take the step's share of processors and memory


def default_workers(paths: Sequence[str | Path]) -> int:
    """How many threads read these files where nobody says it: as many as this process has processors, up to 8.

    It is one where most files are tiny: Python's own steps take so much of their time that threads, which take turns
    with them, are slower together than one is.
    """
    few = sorted(map(_size, paths[:: max(1, len(paths) // _SAMPLED)]))
    if not few or few[len(few) // 2] < _TINY:
        return 1
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # Linux alone tells
    return min(_MOST_WORKERS, own)


def _size(path: str | Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0  # whoever reads it is told why it cannot be


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

    def read_into(self, out: Array, paths: Sequence[str], kept: KeptImages) -> None:
        """Fill `out`, of `shape` for each path, with the images.

        Files are all opened before they are decoded: a thread offers the interpreter's lock at each call of the
        system, and takes turns with others less often so, which is what small files take longest for.

        Raises:
            ValueError: A file is no image that can be read; it is named.
        """
        opened = [_opened(path, kept) for path in paths]
        for image_out, path, file in zip(out, paths, opened, strict=True):
            image = self._image(path, file, kept)
            if image.dtype == np.float32:
                image_out[...] = image
            else:
                self.fit(image, image_out, self.interpolation)

    def check(self, path: str, kept: KeptImages) -> None:
        """Read an image that will be asked for.

        Raises:
            ValueError: The file is no image that can be read; it is named.
        """
        self._image(path, _opened(path, kept), kept)

    def _image(self, path: str, file: _Opened, kept: KeptImages) -> Array:
        """The image as it takes less memory: as in its file, uint8, or float32 and of `shape`."""
        if isinstance(file, np.ndarray):
            return file
        if isinstance(file, OSError):
            raise ValueError(f"The file {path!r} cannot be opened: {file.strerror}") from file
        content, stamp = file
        height, width, channels = self.shape
        image = plain_pixels(content, channels)
        if image is None:
            image = self._pixels(content, path)
        if image.dtype == np.float32 or 4 * height * width * channels <= image.nbytes:
            fitted = np.empty(self.shape, np.float32)
            self.fit(image, fitted, self.interpolation)
            image = fitted
        kept.keep(path, stamp, image)
        return image

    def _pixels(self, content: bytes, path: str) -> Array:
        """What Pillow reads, `(height, width, channels)`: uint8, or float32 where pixels have more than 8 bits."""
        picture = picture_of(content, path, self.color_mode == "rgba", deep=True)
        if not is_deep(picture):
            picture = in_mode(picture, MODES[self.color_mode])
            return np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, -1)
        grey = scaled_to_bytes(picture, f"The file {path!r}")
        colours = [grey] * (1 if self.color_mode == "grayscale" else 3)
        return np.stack([*colours, *([np.full_like(grey, 255)] if self.color_mode == "rgba" else [])], -1)


def _opened(path: str, kept: KeptImages) -> _Opened:
    image = kept.find(path)
    if image is not None:
        return image
    try:
        return read_stamped(path)
    except OSError as error:
        return error  # raised when it is this file's turn


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
        for first in range(0, len(paths), _TOGETHER):
            if ended.is_set():
                return
            together = slice(first, first + _TOGETHER)
            self._reader.read_into(images[together], paths[together], self._kept)

    def _batch(self, numbers: Array, images: Array) -> Any:
        made = torch.from_numpy(images)
        made = made.permute(0, 3, 1, 2) if self.data_format == "channels_first" else made
        labels = None if self.labels is None else torch.from_numpy(self.labels[numbers])
        if self.batch_size is None:
            made, labels = made[0], None if labels is None else labels[0]
        return made if labels is None else (made, labels)
