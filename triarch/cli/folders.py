"""A folder of class folders of images: which files there are, and how they are divided."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from triarch.cli.images import forms_of, has_image_suffix
from triarch.cli.output import CommandError, counted, say
from triarch.cli.parts import OnDisk, held_out
from triarch.cli.progress import reading_bar
from triarch.training.images.kept import KeptImages, default_cache_size

_LARGEST_SIDE = 64
_READ_AT_ONCE = 64  # images


def parts_of(path: Path, shape: tuple[int, int, int] | None) -> tuple[OnDisk, OnDisk, tuple[str, ...]]:
    """The part for training, that for testing, and the names of the classes; the images stay on the disk.

    Args:
        path: Has class folders, or such in `train` and in `test`.
        shape: Height, width and channels that the images get, to be read once. Without one, it is the size that most of
            them have, up to 64 pixels a side, grey where all are. Then they are to be read again and again, for the
            first time now: what is broken is named before anything is learnt, and what there is room for is kept.
    """
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
    own_shape = shape or _usual_shape(files + test_files)
    kept = KeptImages(default_cache_size() if shape is None else 0)
    train = OnDisk(files, np.array(labels), own_shape, kept)
    if has_split:
        test = OnDisk(test_files, np.array(test_labels), own_shape, kept)
    else:
        train, test = held_out(str(path), train, class_names)
    if shape is None:
        _read(train, test)
    return train, test, class_names


def _usual_shape(files: list[Path]) -> tuple[int, int, int]:
    sizes: Counter[tuple[int, int]] = Counter()
    all_grey = True
    for size, is_grey in forms_of(files):
        sizes[size] += 1
        all_grey &= is_grey
    width, height = (min(side, _LARGEST_SIDE) for side in sizes.most_common(1)[0][0])
    return height, width, 1 if all_grey else 3


def _read(*parts: OnDisk) -> None:
    with reading_bar(sum(map(len, parts))) as advance:
        for part in parts:
            for images, _ in part.source(_READ_AT_ONCE)[0]:
                advance(len(images))


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
