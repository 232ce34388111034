"""`--data`: the built-in data sets, folders of class folders, and .npz files, as images, labels and class names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from triarch.cli.folders import read_folders
from triarch.cli.output import CommandError, listed
from triarch.cli.parts import InMemory, Part, for_validation, held_out
from triarch.datasets import cifar10, digits, fashion_mnist, mnist

_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)

_MISSING = ("", "nan", "None", "<NA>", "NaT")  # what missing texts become in arrays of strings
_TOLD_APART = 2**-12  # of the largest value, the least range of values that leaves half the digits of float32

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
    """A training and a test part, with images of one shape and one range of values.

    Attributes:
        validation: A part of its own; None where some images of the training part are taken.
    """

    name: str
    train: Part
    test: Part
    class_names: tuple[str, ...]
    validation: Part | None = None

    def part(self, name: str) -> Part:
        """`"train"`, `"validation"` where there is such a part, `"test"` or `"all"`."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        own = {key: part for key, part in parts.items() if part is not None}
        if name not in (*own, "all"):
            raise CommandError(f"--part must be one of {', '.join(own)}, all. Received: {name!r}")
        if name != "all":
            return own[name]
        first, *others = own.values()
        return reduce(lambda part, other: part.followed_by(other), others, first)

    def learning_and_validation(self) -> tuple[Part, Part]:
        """What is learnt, and what tells during training how well."""
        if self.validation is not None:
            return self.train, self.validation
        chosen = for_validation(self.train.labels)
        return self.train.where(~chosen), self.train.where(chosen)


def load(argument: str, shape: tuple[int, int, int] | None = None, is_double: bool = False) -> DataSet:
    """What `--data` names. Folders stay on the disk; the others are in memory.

    Args:
        shape: Height, width and channels that a folder's images get; None for a size of their own.
        is_double: Whether arrays stay in double precision; else they are of type uint8 or float32.
    """
    path = Path(argument).expanduser()
    if argument in BUILT_IN:
        return _built_in(argument)
    if path.is_dir():
        found = read_folders(path, shape)
        return DataSet(path.resolve().name, found.train, found.test, found.class_names, found.validation)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _npz(path, is_double)
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


def _npz(path: Path, is_double: bool) -> DataSet:
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
    images = [_checked_images(x, path, is_double) for x, _ in pairs]
    labels = [_checked_labels(y, len(x), path) for (_, y), x in zip(pairs, images, strict=True)]
    if len({array.shape[1:] for array in images}) > 1:
        raise CommandError(
            f"The images of x_train and x_test in {str(path)!r} must have the same shape. "
            f"Received: {images[0].shape[1:]} and {images[1].shape[1:]}"
        )
    values, numbers = np.unique(np.concatenate(labels), return_inverse=True)
    class_names = tuple(map(str, values))
    if "class_names" in arrays:
        given = tuple(map(str, _texts(arrays["class_names"].reshape(-1), path)))
        if len(set(given)) < len(given):
            raise CommandError(f"Expected class_names that differ in {str(path)!r}. Received: {listed(given)}")
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


def _checked_images(x: np.ndarray, path: Path, is_double: bool) -> np.ndarray:
    images = _with_channels(x)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or x.dtype.kind not in "buif" or 0 in x.shape:
        raise CommandError(
            f"Expected images of numbers and shape (count, height, width), or with 1 or 3 channels as last axis, in "
            f"{str(path)!r}. Received: shape {x.shape}, type {x.dtype}"
        )
    if not np.isfinite(images).all():
        raise CommandError(f"The images in {str(path)!r} hold NaN or infinite values.")
    if images.dtype == np.uint8:
        return images
    numbers = images.astype(np.float64)
    lowest, highest = float(numbers.min()), float(numbers.max())
    if is_double:
        return numbers
    largest = max(abs(lowest), abs(highest))
    if largest > float(np.finfo(np.float32).max) or 0 < highest - lowest < _TOLD_APART * largest:
        raise CommandError(
            f"Expected images in {str(path)!r} whose values single precision tells apart. Received: values from "
            f"{lowest!r} to {highest!r}. Take their mean from them, or give them other units"
        )
    return numbers.astype(np.float32)


def _texts(array: np.ndarray, path: Path) -> np.ndarray:
    """Texts as strings, of which none stands for a missing one."""
    try:
        texts = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        raise CommandError(f"Expected texts in UTF-8 in {str(path)!r}. Received: {error}") from error
    missing = np.flatnonzero(np.isin(texts, _MISSING) & (texts.dtype.kind == "U"))
    if len(missing):
        raise CommandError(
            f"Expected a class for each image in {str(path)!r}. Received: {str(texts[missing[0]])!r} at place "
            f"{missing[0]}, as NumPy writes a missing text"
        )
    return texts


def _checked_labels(y: np.ndarray, count: int, path: Path) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (count,):
        raise CommandError(f"Expected {count} labels, one for each image in {str(path)!r}. Received: shape {y.shape}")
    if y.dtype.kind == "f":
        wrong = np.flatnonzero(~((y == y.round()) & (abs(y) < 2.0**63)))
        if len(wrong):
            raise CommandError(
                f"Expected labels that are whole numbers or texts in {str(path)!r}. Received: {y[wrong[0]]} at place "
                f"{wrong[0]}"
            )
        y = y.astype(np.int64)
    if y.dtype.kind not in "iuUS":
        raise CommandError(
            f"Expected labels that are whole numbers or texts in {str(path)!r}. Received: type {y.dtype}"
        )
    return _texts(y, path)


def _value_range(images: np.ndarray) -> tuple[float, float]:
    if images.dtype == np.uint8 and images.max() > 127:
        return 0.0, 255.0
    lowest, highest = float(images.min()), float(images.max())
    if lowest == highest:
        raise CommandError(f"Expected images with more than one value. Received: {lowest} everywhere")
    return min(lowest, 0.0), highest
