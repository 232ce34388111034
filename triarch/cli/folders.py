"""A folder of class folders of images: which files there are, and how they are divided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triarch.cli.images import forms_of, has_image_suffix
from triarch.cli.output import CommandError, counted, listed, one_line, say
from triarch.cli.parts import OnDisk, held_out
from triarch.cli.progress import reading_bar
from triarch.files import is_left_behind, list_files, subfolders
from triarch.training.images.kept import KeptImages, default_cache_size

_LARGEST_SIDE = 64
_READ_AT_ONCE = 64  # images
# What the folders are called that divide images, in small letters.
_PURPOSES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Folders:
    """The images of a folder, which stay on the disk.

    Attributes:
        validation: None where it is to be taken from those for training.
    """

    train: OnDisk
    validation: OnDisk | None
    test: OnDisk
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class _ClassFiles:
    """Images in the order of the folders' names and of their own, and what lies beside them."""

    files: list[Path]
    labels: np.ndarray
    class_names: tuple[str, ...]
    others: list[str]
    left_behind: list[str]


def read_folders(path: Path, shape: tuple[int, int, int] | None) -> Folders:
    """The parts of a folder; what is left out is said.

    Args:
        path: Has class folders, or such in `train` and in `test` or `val`; three such folders are all used.
        shape: Height, width and channels that the images get, to be read once. Without one, it is the size that most of
            them have, up to 64 pixels a side, grey where all are. Then they are to be read again and again, for the
            first time now: what is broken is named before anything is learnt, and what there is room for is kept.
    """
    divided = _divided(path)
    found = {purpose: _class_files(folder) for purpose, folder in divided.items()}
    class_names = _same_classes(path, divided, found)
    _say_left_out(path, divided, found)
    own_shape = shape or _usual_shape([file for own in found.values() for file in own.files])
    kept = KeptImages(default_cache_size() if shape is None else 0)
    parts = {purpose: OnDisk(own.files, own.labels, own_shape, kept) for purpose, own in found.items()}
    if len(parts) == 1:
        names = [file.relative_to(path).as_posix() for file in found["train"].files]
        parts["train"], parts["test"] = held_out(str(path), parts["train"], class_names, names)
    elif "test" not in parts:
        say(f"The test: {divided['validation'].name}, since there is no folder for it.")
        parts["test"] = parts.pop("validation")
    if shape is None:
        _read(*parts.values())
    return Folders(parts["train"], parts.get("validation"), parts["test"], class_names)


def _divided(path: Path) -> dict[str, Path]:
    """The folders of class folders by their purpose; the folder itself is for training where it has no such folders."""
    names = subfolders(path)
    by_purpose = {purpose: [name for name in names if name.lower() in called] for purpose, called in _PURPOSES.items()}
    if not by_purpose["train"] or not (by_purpose["validation"] or by_purpose["test"]):
        return {"train": path}
    repeated = [name for own in by_purpose.values() if len(own) > 1 for name in own]
    if repeated:
        raise CommandError(f"Expected one folder for each purpose in {str(path)!r}. Received: {listed(repeated)}")
    divided = {purpose: path / own[0] for purpose, own in by_purpose.items() if own}
    beside = [name for name in names if path / name not in divided.values()]
    if beside:
        used = listed(folder.name for folder in divided.values())
        say(f"Left out {listed(map(repr, beside))}, beside the folders {used}.")
    return divided


def _same_classes(path: Path, divided: dict[str, Path], found: dict[str, _ClassFiles]) -> tuple[str, ...]:
    class_names = found["train"].class_names
    for purpose, own in found.items():
        if own.class_names != class_names:
            different = sorted(set(own.class_names) ^ set(class_names))
            raise CommandError(
                f"The folders {divided['train'].name!r} and {divided[purpose].name!r} of {str(path)!r} must have the "
                f"same class folders. Received: {listed(different)} in one of them only"
            )
    return class_names


def _say_left_out(path: Path, divided: dict[str, Path], found: dict[str, _ClassFiles]) -> None:
    others = [file for own in found.values() for file in own.others]
    left_behind = [file for own in found.values() for file in own.left_behind]
    beside = []
    for entry in (entry for folder in sorted({path, *divided.values()}) for entry in sorted(folder.iterdir())):
        if is_left_behind(entry.name):
            left_behind += _files_of(entry)
        elif entry.is_file():
            beside.append(str(entry))
    for files, what in (
        (others, "without the suffix of an image"),
        (left_behind, "hidden or of the system"),
        (beside, "in no class folder"),
    ):
        if files:
            where = Path(files[0]).relative_to(path)
            say(one_line(f"Left out {counted(len(files), 'file')} {what}, such as {where}"))


def _files_of(entry: Path) -> list[str]:
    """The file, or all that are in the folder."""
    if not entry.is_dir():
        return [str(entry)]
    found = list_files(entry, lambda _: True)
    return found.files + found.left_behind


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


def _class_files(path: Path) -> _ClassFiles:
    """The images of each class folder, in order of name; other files; and those that no one made."""
    names = subfolders(path)
    if len(names) < 2:
        received = f"{listed(map(repr, names)) or 'no folder'} in {str(path)!r}"
        raise CommandError(f"Expected a folder with at least two class folders of images. Received: {received}")
    found = [list_files(path / name, lambda file: has_image_suffix(Path(file))) for name in names]
    for name, own in zip(names, found, strict=True):
        if not own.files:
            first = [Path(file).name for file in own.others + own.left_behind][:1]
            count = counted(len(own.others) + len(own.left_behind), "file")
            received = f"{count} such as {first[0]!r}" if first else "an empty folder"
            raise CommandError(f"The class folder {str(path / name)!r} holds no images. Received: {received}")
    return _ClassFiles(
        files=[Path(file) for own in found for file in own.files],
        labels=np.repeat(np.arange(len(names)), [len(own.files) for own in found]),
        class_names=tuple(names),
        others=[file for own in found for file in own.others],
        left_behind=[file for own in found for file in own.left_behind],
    )
