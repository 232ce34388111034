"""Batches of series: windows of a long one, rows of equal length of short ones, texts in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from triarch.training.py_dataset import PyDataset

Array = np.ndarray[Any, Any]


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Series of different lengths as one array `(series, maxlen, ...)`.

    Args:
        sequences: Lists or arrays whose first axis is time.
        maxlen: The length of the rows; None for the longest series.
        dtype: Of the array.
        padding: Whether `value` fills the rows before (`"pre"`) or behind (`"post"`) the series.
        truncating: Which end of longer series is left out, likewise.
        value: What rows are filled with.

    Raises:
        ValueError: The series have no lengths, or steps of different shapes.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"`{name}` is 'pre' or 'post'. Received: {name}={side!r}")
    try:
        lengths = [len(series) for series in sequences]
    except TypeError as error:
        raise ValueError(f"`sequences` is a list of lists or arrays. Received: {sequences!r}") from error
    maxlen = max(lengths, default=0) if maxlen is None else maxlen
    steps = next((np.asarray(series).shape[1:] for series in sequences if len(series)), ())
    kind = np.dtype(dtype)
    if isinstance(value, str) and kind.kind != "O" and kind.kind != "U":
        raise ValueError(f"`value` is a string, which `dtype` has no room for. Received: {value!r}, {dtype!r}")
    rows = np.full((len(lengths), maxlen, *steps), value, kind)
    for row, series in zip(rows, sequences, strict=True):
        if not len(series) or not maxlen:
            continue
        kept = np.asarray(series[-maxlen:] if truncating == "pre" else series[:maxlen], kind)
        if kept.shape[1:] != steps:
            raise ValueError(f"All series have steps of shape {steps}. Received: one with shape {kept.shape[1:]}")
        if padding == "pre":
            row[-len(kept) :] = kept
        else:
            row[: len(kept)] = kept
    return rows


class _Batches(PyDataset):
    """Batches of samples that are told by their numbers."""

    def __init__(self, numbers: Array, batch_size: int | None, shuffle: bool, seed: int | None) -> None:
        super().__init__()
        self.numbers, self.batch_size, self.shuffle = numbers, batch_size, shuffle
        self._random = np.random.default_rng(seed)
        if shuffle:
            self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.numbers) if self.batch_size is None else -(-len(self.numbers) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: number {index}")
        if self.batch_size is None:
            return self.samples(self.numbers[index])
        return self.samples(self.numbers[index * self.batch_size : (index + 1) * self.batch_size])

    def samples(self, numbers: Any) -> Any:
        """The samples with these numbers."""
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """Mix the samples anew."""
        if self.shuffle:
            self.numbers = self._random.permutation(self.numbers)


class _Windows(_Batches):
    def __init__(self, data: Array, targets: Array | None, steps: Array, numbers: Array, *settings: Any) -> None:
        self.data, self.targets, self.steps = data, targets, steps
        super().__init__(numbers, *settings)

    def samples(self, numbers: Any) -> Any:
        windows = self.data[np.asarray(numbers)[..., None] + self.steps]
        return windows if self.targets is None else (windows, self.targets[numbers])


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> PyDataset:
    """Batches of windows `(batch, sequence_length, ...)` of a long series, with their targets.

    Args:
        data: The series, time first.
        targets: `targets[i]` belongs to the window that begins at step `i`; None for windows alone.
        sequence_length: Steps of a window.
        sequence_stride: Steps from the beginning of a window to that of the next one.
        sampling_rate: Steps of the series from one step of a window to the next one.
        batch_size: None for single windows.
        shuffle: Whether the windows are mixed, anew in each epoch.
        start_index: The first step that is used.
        end_index: The step before which the use ends.

    Raises:
        ValueError: A number is not positive, or the series is shorter than a window.
    """
    numbers = {"sequence_length": sequence_length, "sequence_stride": sequence_stride, "sampling_rate": sampling_rate}
    for name, number in (*numbers.items(), ("batch_size", 1 if batch_size is None else batch_size)):
        if number <= 0:
            raise ValueError(f"`{name}` is a positive number. Received: {name}={number}")
    data = np.asarray(data)
    first = 0 if start_index is None else start_index
    end = len(data) if end_index is None else min(end_index, len(data))
    if not 0 <= first < end:
        raise ValueError(f"There are {len(data)} steps. Received: start_index={start_index}, end_index={end_index}")
    last = end - (sequence_length - 1) * sampling_rate  # before which windows begin
    if targets is not None:
        targets = np.asarray(targets)
        last = min(last, len(targets))
    if last <= first:
        raise ValueError(
            f"A window takes {(sequence_length - 1) * sampling_rate + 1} steps, and a target. "
            f"Received: {end - first} steps" + ("" if targets is None else f" and {len(targets)} targets")
        )
    steps = np.arange(sequence_length) * sampling_rate
    return _Windows(data, targets, steps, np.arange(first, last, sequence_stride), batch_size, shuffle, seed)


class _Texts(_Batches):
    def __init__(self, paths: list[Path], labels: Array | None, max_length: int | None, *settings: Any) -> None:
        self.file_paths, self.labels, self.max_length = [str(path) for path in paths], labels, max_length
        self.class_names: list[str] | None = None
        super().__init__(np.arange(len(paths)), *settings)

    def samples(self, numbers: Any) -> Any:
        texts = np.array([self._text(number) for number in np.atleast_1d(numbers)], dtype=str)
        texts = texts if np.ndim(numbers) else texts[0]
        return texts if self.labels is None else (texts, self.labels[numbers])

    def _text(self, number: int) -> str:
        return Path(self.file_paths[number]).read_text(encoding="utf-8")[: self.max_length]


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
) -> Any:
    """Batches of the texts in a folder's `.txt` files, as arrays of strings, with labels by their class folders.

    Args:
        directory: A folder with a folder for each class; or of texts, without labels or with a list of them.
        labels: `"inferred"`, None, or a label for each file in the order of their paths.
        label_mode: `"int"`, `"categorical"`, `"binary"`, or None.
        class_names: The folders that are used, in the order of their labels; None for all in alphabetical order.
        batch_size: None for single texts.
        max_length: Characters that are kept of a text.
        shuffle: Whether the texts are mixed, anew in each epoch.
        validation_split: The part of the texts that is kept for validation.
        subset: `"training"`, `"validation"` or `"both"`, with `validation_split`.

    Raises:
        ValueError: The folder has no texts, or arguments do not go together.
        OSError: The folder cannot be read.
    """
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(f"`label_mode` is 'int', 'categorical', 'binary' or None. Received: {label_mode!r}")
    if (validation_split is None) != (subset is None) or subset not in (None, "training", "validation", "both"):
        raise ValueError(
            "`validation_split` goes with a `subset`, 'training', 'validation' or 'both'. Received: "
            f"{validation_split=}, {subset=}"
        )
    if validation_split is not None:
        if not 0 < validation_split < 1:
            raise ValueError(f"`validation_split` lies between 0 and 1. Received: {validation_split}")
        if shuffle and seed is None:
            raise ValueError("With `shuffle` and `validation_split` there is a `seed`, or the parts would overlap.")
    root = Path(directory)
    names = None
    if isinstance(labels, str):
        if labels != "inferred":
            raise ValueError(f"`labels` is 'inferred', None or a list. Received: {labels!r}")
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        names = folders if class_names is None else list(class_names)
        if set(names) - set(folders):
            raise ValueError(f"There are folders {folders}. Received: class_names={class_names}")
        paths = [(path, number) for number, name in enumerate(names) for path in _texts_in(root / name, follow_links)]
        files, found = [path for path, _ in paths], np.array([number for _, number in paths], np.int64)
    else:
        files = _texts_in(root, follow_links)
        found = np.zeros(0, np.int64) if labels is None else np.asarray(labels)
        if labels is not None and len(found) != len(files):
            raise ValueError(f"There are {len(files)} files. Received: {len(found)} labels")
    if not files:
        raise ValueError(f"There are no .txt files in {str(root)!r}, or in folders of classes in it.")
    encoded = None if labels is None or label_mode is None else _encoded(found, label_mode, names)

    def part(chosen: Array) -> _Texts:
        own = None if encoded is None else encoded[chosen]
        made = _Texts([files[number] for number in chosen], own, max_length, batch_size, shuffle, seed)
        made.class_names = names
        return made

    order = np.random.default_rng(seed).permutation(len(files)) if shuffle else np.arange(len(files))
    if validation_split is None:
        return part(order)
    kept = len(files) - int(validation_split * len(files))
    parts = {"training": order[:kept], "validation": order[kept:]}
    return tuple(map(part, parts.values())) if subset == "both" else part(parts[str(subset)])


def _texts_in(folder: Path, follow_links: bool) -> list[Path]:
    """All `.txt` files below a folder, in the order of their paths."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (follow_links or not path.is_symlink()):
            found += _texts_in(path, follow_links)
        elif path.suffix == ".txt" and path.is_file():
            found.append(path)
    return found


def _encoded(labels: Array, label_mode: str, names: Sequence[str] | None) -> Array:
    count = len(names) if names is not None else int(labels.max(initial=0)) + 1
    if label_mode == "binary":
        if count != 2:
            raise ValueError(f"With label mode 'binary' there are 2 classes. Received: {count}")
        return labels.astype(np.float32)[:, None]
    return np.eye(count, dtype=np.float32)[labels] if label_mode == "categorical" else labels
