"""CIFAR-10: small colour photographs. A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from triarch import config
from triarch.datasets import originals

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3 * 32 * 32

Arrays = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Arrays, Arrays]:
    """50,000 training and 10,000 test images `(32, 32, 3)`, values 0..255, and classes `(images, 1)`; all `uint8`.

    Images are `(3, 32, 32)` where `config.image_data_format()` is `"channels_first"`. Plain .bin files load at once;
    unpacking .xz files takes seconds.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:  # unpacking lets other threads run
        first, *rest = originals.SOURCES["cifar10"].originals
        batches = [originals.read("cifar10", first)]  # downloads the archive, where that is needed
        batches += pool.map(lambda row: originals.read("cifar10", row), rest)
    return _split(b"".join(batches[:5])), _split(batches[5])


def _split(content: bytes) -> Arrays:
    """Records of one label byte and three planes of 1,024 bytes -> images and labels."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    if config.image_data_format() == "channels_last":
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, :1].copy()
