"""Batches of the texts in folders of classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from triarch.files import read_text
from triarch.training.directories import check_labels, check_parts, encoded, indexed, parts_of
from triarch.training.numbered_batches import NumberedBatches

Array = np.ndarray[Any, Any]


class _Texts(NumberedBatches):
    def __init__(
        self, paths: list[str], labels: Array | None, names: list[str] | None, max_length: int | None, *settings: Any
    ) -> None:
        self.file_paths, self.labels, self.class_names, self.max_length = paths, labels, names, max_length
        super().__init__(np.arange(len(paths)), *settings)

    def samples(self, numbers: Any) -> Any:
        texts = np.array([self._text(number) for number in np.atleast_1d(numbers)], dtype=str)
        texts = texts if np.ndim(numbers) else texts[0]
        return texts if self.labels is None else (texts, self.labels[numbers])

    def _text(self, number: int) -> str:
        return read_text(self.file_paths[number])[: self.max_length]


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> Any:
    """Batches of the texts in a folder's `.txt` files, as arrays of strings, with labels by their class folders.

    Files are in UTF-8, or in what their byte order mark says.

    Args:
        directory: A folder with a folder for each class; or of texts, without labels or with a list of them.
        labels: `"inferred"`, None, or a label for each file in the order of their paths.
        label_mode: `"int"` (int32, or float32 from fractions), `"categorical"` (one-hot), `"binary"` (`(batch, 1)`,
            two classes), or None, for texts alone.
        class_names: The folders that are used, in the order of their labels; None for all in alphabetical order.
        batch_size: None for single texts.
        max_length: Characters that are kept of a text.
        shuffle: Whether the texts are mixed, anew in each epoch.
        validation_split: The part of the texts that is kept for validation: as with Keras, the last of them after they
            were mixed with `seed`.
        subset: `"training"`, `"validation"` or `"both"` (a list of the two), with `validation_split`.
        verbose: Whether to say how many files there are, and how many are left out: of other kinds, hidden ones, and
            what systems leave behind.

    Raises:
        ValueError: There are no texts, arguments do not go together, or (while batches are made) a file is no text in
            its encoding.
        OSError: The folder cannot be read.
    """
    names = list(class_names) if class_names is not None else None
    labels, label_mode = check_labels(labels, label_mode, names)
    check_parts(validation_split, subset, shuffle, seed)
    seed = int(np.random.randint(10**6)) if seed is None else seed
    root = os.fspath(directory)
    files, numbers, names = indexed(root, (".txt",), labels, names, follow_links, verbose)
    if not files:
        raise ValueError(f"There are no .txt files in {root!r}, or in folders of classes in it.")
    rows = None if numbers is None or label_mode is None else encoded(numbers, label_mode, names or [])

    def part(chosen: list[int], is_mixed: bool) -> _Texts:
        if not chosen:
            raise ValueError(f"There are no texts for this part of {root!r}. Received: {validation_split=}, {subset=}")
        own = None if rows is None else rows[chosen]
        return _Texts([files[number] for number in chosen], own, names, max_length, batch_size, is_mixed, seed)

    chosen = parts_of(list(range(len(files))), validation_split, subset, seed if shuffle else None, verbose)
    if subset == "both":
        return [part(chosen[0], shuffle), part(chosen[1], False)]
    return part(chosen[0], shuffle)
