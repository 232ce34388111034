"""Folders of classes: which files there are, their labels, and the parts for training and validation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from triarch import config
from triarch.files import list_files, subfolders, with_suffix

Array = np.ndarray[Any, Any]


def require(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ValueError where an argument is none of these."""
    if value not in choices:
        raise ValueError(f"`{name}` is one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")


def say(text: str) -> None:
    """Print a line, unless interactive logging is switched off."""
    if config.is_interactive_logging_enabled():
        print(text)


def check_labels(labels: Any, label_mode: str | None, names: list[str] | None) -> tuple[Any, str | None]:
    """Both None where either is."""
    require("label_mode", label_mode, ("int", "categorical", "binary", None))
    is_inferred = isinstance(labels, str) and labels == "inferred"
    if not is_inferred and labels is not None and not isinstance(labels, (list, tuple, np.ndarray)):
        raise ValueError(f"`labels` is 'inferred', None or a list of a label for each file. Received: {labels!r}")
    if names is not None and (not is_inferred or label_mode is None):
        raise ValueError(
            f"`class_names` goes with inferred labels. Received: {labels=}, {label_mode=}, class_names={names}"
        )
    return (None, None) if labels is None or label_mode is None else (labels, label_mode)


def check_parts(validation_split: float | None, subset: str | None, shuffle: bool, seed: int | None) -> None:
    """Raise ValueError where the arguments do not go together."""
    require("subset", subset, ("training", "validation", "both", None))
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(f"`validation_split` lies between 0 and 1. Received: {validation_split}")
    if bool(validation_split) != bool(subset):
        raise ValueError(f"`validation_split` and `subset` go together. Received: {validation_split=}, {subset=}")
    if validation_split and shuffle and seed is None:
        raise ValueError("With `shuffle` and `validation_split`, a `seed` keeps the parts apart. Received: seed=None")


def indexed(
    root: str, suffixes: Sequence[str], labels: Any, names: list[str] | None, follow_links: bool, verbose: bool
) -> tuple[list[str], Array | None, list[str] | None]:
    """Files in the order of their paths, their labels, and the classes' names; None where there are no labels.

    What is hidden, or a system's own, is no file and no class. With `verbose` it is said what is found and left out.
    """
    is_wanted = with_suffix(*suffixes)
    numbers: Array | None = None
    if isinstance(labels, str):
        names = _class_folders(root, names)
        found = [list_files(os.path.join(root, name), is_wanted, follow_links) for name in names]
        numbers = np.repeat(np.arange(len(names), dtype=np.int32), [len(own.files) for own in found])
    else:
        found = [list_files(root, is_wanted, follow_links)]
        names = None
        if labels is not None:
            numbers = _numbers(labels, len(found[0].files), root)
            names = [str(label) for label in sorted(set(labels))]
    files, others, left_behind = ([path for own in lists for path in own] for lists in zip(*found, strict=True))
    if verbose:
        say(f"Found {len(files)} files" + (f" belonging to {len(names)} classes." if names is not None else "."))
        for paths, why in (
            (others, f"without the suffix {', '.join(suffixes)}"),
            (left_behind, "hidden or of the system"),
        ):
            if paths:
                count = f"{len(paths)} file{'' if len(paths) == 1 else 's'}"
                say(f"Left out {count} {why}, such as {os.path.relpath(paths[0], root)!r}.")
    return files, numbers, names


def _class_folders(root: str, names: list[str] | None) -> list[str]:
    folders = subfolders(root)
    if not folders:
        raise ValueError(
            f"Expected a folder with a folder for each class; for files without classes, `labels` is None. "
            f"Received: {root!r}, without folders"
        )
    if names is not None and (set(names) - set(folders) or len(set(names)) < len(names)):
        raise ValueError(f"`class_names` are some of the folders {folders}. Received: class_names={names}")
    return folders if names is None else names


def _numbers(labels: Any, count: int, root: str) -> Array:
    if len(labels) != count:
        raise ValueError(
            f"`labels` has a label for each file, and there are {count} in {root!r}. Received: {len(labels)} labels"
        )
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "biuf" or numbers.ndim != 1:
        raise ValueError(f"`labels` is a list of numbers. Received: {labels!r}")
    if numbers.dtype.kind != "f" and numbers.size and not -(2**31) <= numbers.min() <= numbers.max() < 2**31:
        raise ValueError(f"Whole labels are of 32 bits. Received: from {numbers.min()} to {numbers.max()}")
    return numbers.astype(np.float32 if numbers.dtype.kind == "f" else np.int32)


def encoded(numbers: Array, label_mode: str, names: list[str]) -> Array:
    """Labels as `label_mode` says: a row, or a number, for each file."""
    count = len(names)
    if label_mode == "int":
        return numbers
    if label_mode == "binary" and count != 2:
        raise ValueError(f"With `label_mode` 'binary' there are 2 classes. Received: {names}")
    if not np.isin(numbers, np.arange(count)).all():
        raise ValueError(f"With `label_mode` {label_mode!r}, {count} classes are 0 to {count - 1}. Received: {names}")
    if label_mode == "binary":
        return numbers.astype(np.float32)[:, None]
    return np.eye(count, dtype=np.float32)[numbers.astype(np.int64)]


def parts_of(
    files: list[int], validation_split: float | None, subset: str | None, seed: int | None, verbose: bool
) -> list[list[int]]:
    """The files of each part that is asked for, mixed by the seed where there is one: Keras's own ones."""
    files = list(files)
    if seed is not None:
        np.random.RandomState(seed).shuffle(files)
    if not validation_split:
        return [files]
    cut = len(files) - int(validation_split * len(files))
    parts = {"training": files[:cut], "validation": files[cut:]}
    chosen = [name for name in parts if subset in (name, "both")]
    for name in chosen if verbose else ():
        say(f"Using {len(parts[name])} files for {name}.")
    return [parts[name] for name in chosen]
