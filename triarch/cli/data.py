"""`--data`: the built-in data sets, folders of class folders, and .npz files, as images, labels and class names."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from triarch.cli.images import as_array, has_image_suffix, open_images
from triarch.cli.output import CommandError, counted, say
from triarch.datasets import cifar10, digits, fashion_mnist, mnist

_LARGEST_SIDE = 64
_FEWEST = 5  # images of a class of which a fifth can be held out

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
class Part:
    """Images `(count, height, width, channels)` and their class numbers `(count,)`."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def where(self, chosen: np.ndarray) -> Part:
        """The images for which `chosen` is true."""
        return Part(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class DataSet:
    """A training and a test part; `value_range` is what the darkest and the brightest pixel can be."""

    name: str
    train: Part
    test: Part
    class_names: tuple[str, ...]
    value_range: tuple[float, float]

    def part(self, name: str) -> Part:
        """`"train"`, `"test"` or `"all"`."""
        parts = {"train": (self.train,), "test": (self.test,), "all": (self.train, self.test)}
        if name not in parts:
            raise CommandError(f"--part must be one of {', '.join(parts)}. Received: {name!r}")
        return Part(
            np.concatenate([part.images for part in parts[name]]), np.concatenate([part.labels for part in parts[name]])
        )


def load(argument: str, shape: tuple[int, int, int] | None = None) -> DataSet:
    """What `--data` names; a folder's images get the height, width and channels of `shape`, or a size of their own."""
    path = Path(argument).expanduser()
    if argument in BUILT_IN:
        return _built_in(argument)
    if path.is_dir():
        return _folder(path, shape)
    if path.suffix == ".npz" and path.is_file():
        return _npz(path)
    raise CommandError(
        f"--data must be one of {', '.join(BUILT_IN)}, a folder of class folders or an .npz file. "
        f"Received: {argument!r}"
    )


def every(step: int, labels: np.ndarray) -> np.ndarray:
    """True for every `step`-th image of each class, beginning with the third: a fixed, stratified choice."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[2::step]] = True
    return chosen


def _built_in(name: str) -> DataSet:
    row = BUILT_IN[name]
    try:
        parts = row.module.load_data()
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    train, test = (Part(_with_channels(images), labels.reshape(-1).astype(np.int64)) for images, labels in parts)
    return DataSet(name, train, test, row.class_names, (0, row.highest_value))


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def _held_out(name: str, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> tuple[Part, Part]:
    """A training part and a fixed fifth for testing."""
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < _FEWEST:
        rarest = class_names[present[counts.argmin()]]
        raise CommandError(
            f"A fifth of every class is held out for testing, so each needs at least {_FEWEST} images. Received: "
            f"{counts.min()} of class {rarest!r} in {name!r}"
        )
    chosen = every(5, labels)
    whole = Part(images, labels)
    return whole.where(~chosen), whole.where(chosen)


# Folders


def _folder(path: Path, shape: tuple[int, int, int] | None) -> DataSet:
    split = path / "train", path / "test"
    has_split = all(folder.is_dir() for folder in split)
    files, labels, class_names, skipped = _class_files(split[0] if has_split else path)
    test_files: list[Path] = []
    test_labels: list[int] = []
    if has_split:
        test_files, test_labels, test_names, more_skipped = _class_files(split[1])
        skipped += more_skipped
        if test_names != class_names:
            raise CommandError(
                f"The folders 'train' and 'test' of {str(path)!r} must have the same class folders. Received: "
                f"{', '.join(class_names)} and {', '.join(test_names)}"
            )
    if skipped:
        say(f"Skipped {counted(len(skipped), 'file')} without the suffix of an image, such as {skipped[0].name}")
    pictures = open_images(files + test_files)
    if shape is None:
        sides = Counter(picture.size for picture in pictures).most_common(1)[0][0]
        width, height = (min(side, _LARGEST_SIDE) for side in sides)
        shape = height, width, 1 if all(picture.mode == "L" for picture in pictures) else 3
    images = np.stack([as_array(picture, *shape) for picture in pictures])
    if has_split:
        train = Part(images[: len(files)], np.array(labels))
        test = Part(images[len(files) :], np.array(test_labels))
    else:
        train, test = _held_out(str(path), images, np.array(labels), class_names)
    return DataSet(path.resolve().name, train, test, class_names, (0, 255))


def _class_files(path: Path) -> tuple[list[Path], list[int], tuple[str, ...], list[Path]]:
    """The images of each class folder, their class numbers, the folders' names, all in order of name; other files."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(folders) < 2:
        raise CommandError(f"Expected a folder with at least two class folders of images. Received: {str(path)!r}")
    files: list[Path] = []
    labels: list[int] = []
    skipped: list[Path] = []
    for number, folder in enumerate(folders):
        found = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
        images = [file for file in found if has_image_suffix(file)]
        if not images:
            received = f"{counted(len(found), 'file')} such as {found[0].name!r}" if found else "an empty folder"
            raise CommandError(f"The class folder {str(folder)!r} holds no images. Received: {received}")
        files += images
        labels += [number] * len(images)
        skipped += [file for file in found if not has_image_suffix(file)]
    return files, labels, tuple(folder.name for folder in folders), skipped


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
    parts = [
        Part(x, y.astype(np.int64))
        for x, y in zip(images, np.split(numbers, np.cumsum([len(y) for y in labels])[:-1]), strict=True)
    ]
    lowest, highest = _value_range(parts[0].images)
    if len(parts) == 1:
        parts = [*_held_out(str(path), parts[0].images, parts[0].labels, class_names)]
    return DataSet(path.stem, parts[0], parts[1], class_names, (lowest, highest))


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
