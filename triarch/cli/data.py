"""`--data`: the built-in data sets, folders of class folders, and .npz files, as images, labels and class names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from triarch.cli.folders import parts_of
from triarch.cli.output import CommandError
from triarch.cli.parts import InMemory, Part, held_out
from triarch.datasets import cifar10, digits, fashion_mnist, mnist

_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)

_NUMERALS = tuple("0123456789")


@dataclass(frozen=True)
class _BuiltIn:
    module: ModuleType
    highest_value: int
    class_names: tuple[str, ...]


BUILT_IN = {
    "digits": _BuiltIn(digits, 16, _NUMERALS),
    "mnist": _BuiltIn(mnist, 255, _NUMERALS),
    "fashion_mnist": _BuiltIn(fashion_mnist, 255, fashion_mnist.CLASS_NAMES),
    "cifar10": _BuiltIn(cifar10, 255, cifar10.CLASS_NAMES),
}


@dataclass(frozen=True)
class DataSet:
    """A training and a test part, with images of one shape and one range of values."""

    name: str
    train: Part
    test: Part
    class_names: tuple[str, ...]

    def part(self, name: str) -> Part:
        """`"train"`, `"test"` or `"all"`."""
        if name not in ("train", "test", "all"):
            raise CommandError(f"--part must be one of train, test, all. Received: {name!r}")
        return self.train.followed_by(self.test) if name == "all" else self.train if name == "train" else self.test


def load(argument: str, shape: tuple[int, int, int] | None = None) -> DataSet:
    """What `--data` names; a folder's images get the height, width and channels of `shape`, or a size of their own.

    Folders stay on the disk; the others are in memory.
    """
    path = Path(argument).expanduser()
    if argument in BUILT_IN:
        return _built_in(argument)
    if path.is_dir():
        return DataSet(path.resolve().name, *parts_of(path, shape))
    if path.suffix == ".npz" and path.is_file():
        return _npz(path)
    raise CommandError(
        f"--data must be one of {', '.join(BUILT_IN)}, a folder of class folders or an .npz file. "
        f"Received: {argument!r}"
    )


def _built_in(name: str) -> DataSet:
    row = BUILT_IN[name]
    try:
        parts = row.module.load_data()
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    train, test = (
        InMemory(_with_channels(images), labels.reshape(-1).astype(np.int64), (0, row.highest_value))
        for images, labels in parts
    )
    return DataSet(name, train, test, row.class_names)


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


# .npz files


def _npz(path: Path) -> DataSet:
    arrays = _arrays(path)
    split = ("x_train", "y_train", "x_test", "y_test")
    if set(split) <= set(arrays):
        pairs = [(arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])]
    elif {"x", "y"} <= set(arrays):
        pairs = [(arrays["x"], arrays["y"])]
    else:
        raise CommandError(
            f"Expected the arrays x and y, or {', '.join(split)}, in {str(path)!r}. "
            f"Received: {', '.join(arrays) or 'none'}"
        )
    images = [_checked_images(x, path) for x, _ in pairs]
    labels = [_checked_labels(y, len(x), path) for (_, y), x in zip(pairs, images, strict=True)]
    if len({array.shape[1:] for array in images}) > 1:
        raise CommandError(
            f"The images of x_train and x_test in {str(path)!r} must have the same shape. "
            f"Received: {images[0].shape[1:]} and {images[1].shape[1:]}"
        )
    values, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    class_names = tuple(map(str, values))
    if "class_names" in arrays:
        given = tuple(map(str, arrays["class_names"].reshape(-1)))
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= len(given):
            raise CommandError(
                f"With class_names, the labels in {str(path)!r} must be numbers from 0 to {len(given) - 1}. Received: "
                f"{values.min()} to {values.max()}"
            )
        numbers, class_names = np.concatenate(labels), given
    if len(class_names) < 2:
        raise CommandError(f"Expected at least two classes in {str(path)!r}. Received: {len(class_names)}")
    value_range = _value_range(images[0])
    parts = [
        InMemory(x, y.astype(np.int64), value_range)
        for x, y in zip(images, np.split(numbers, np.cumsum([len(y) for y in labels])[:-1]), strict=True)
    ]
    train, test = parts if len(parts) == 2 else held_out(str(path), parts[0], class_names)
    return DataSet(path.stem, train, test, class_names)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise CommandError(f"The file {str(path)!r} is not an .npz file, as numpy.savez writes it, or it is damaged.")
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                arrays[name] = _array(file, name, path)
    except _DAMAGED as error:
        raise CommandError(f"The .npz file {str(path)!r} is damaged: {error}") from error
    return arrays


def _array(file: Mapping[str, Any], name: str, path: Path) -> np.ndarray:
    try:
        array = file[name]
    except ValueError as error:  # Python objects, which could run code; or no header of an array
        raise CommandError(
            f"Expected plain arrays of numbers or texts in {str(path)!r}. Received: {name!r}, which is something else"
        ) from error
    if not isinstance(array, np.ndarray):
        raise CommandError(f"Expected arrays in {str(path)!r}, as numpy.savez writes them. Received: the file {name!r}")
    return array


def _checked_images(x: np.ndarray, path: Path) -> np.ndarray:
    images = _with_channels(x)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or x.dtype.kind not in "buif" or 0 in x.shape:
        raise CommandError(
            f"Expected images of numbers and shape (count, height, width), or with 1 or 3 channels as last axis, in "
            f"{str(path)!r}. Received: shape {x.shape}, type {x.dtype}"
        )
    if not np.isfinite(images).all():
        raise CommandError(f"The images in {str(path)!r} hold NaN or infinite values.")
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def _checked_labels(y: np.ndarray, count: int, path: Path) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (count,):
        raise CommandError(f"Expected {count} labels, one for each image in {str(path)!r}. Received: shape {y.shape}")
    if y.dtype.kind == "f" and (y == y.round()).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "iuUS":
        raise CommandError(
            f"Expected labels that are whole numbers or texts in {str(path)!r}. Received: type {y.dtype}"
        )
    return y.astype(str) if y.dtype.kind == "S" else y


def _value_range(images: np.ndarray) -> tuple[float, float]:
    if images.dtype == np.uint8 and images.max() > 127:
        return 0.0, 255.0
    lowest, highest = float(images.min()), float(images.max())
    if lowest == highest:
        raise CommandError(f"Expected images with more than one value. Received: {lowest} everywhere")
    return min(lowest, 0.0), highest
