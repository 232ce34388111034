"""Series as models take them: windows of a long one, rows of equal length of short ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from triarch.exactness import as_type, unhidden
from triarch.training.numbered_batches import NumberedBatches
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
        ValueError: The series have no lengths, or steps of different shapes; or `dtype` has no room for a number, such
            as 0.5 or 2**31 for int32, where Keras takes another one.
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f"`{name}` is 'pre' or 'post'. Received: {name}={side!r}")
    if maxlen is not None and (not isinstance(maxlen, (int, np.integer)) or maxlen < 0):
        raise ValueError(f"`maxlen` is a number of steps, or None. Received: maxlen={maxlen!r}")
    try:
        lengths = [len(series) for series in sequences]
    except TypeError as error:
        raise ValueError(f"`sequences` is a list of lists or arrays. Received: {sequences!r}") from error
    maxlen = max(lengths, default=0) if maxlen is None else maxlen
    kind = np.dtype(dtype)
    if isinstance(value, str) and kind.kind not in "OUS":
        raise ValueError(f"`value` is a string, which `dtype` has no room for. Received: {value!r}, {dtype!r}")
    kept = []
    for number, series in enumerate(unhidden(sequences, "sequences")):
        cut = series[max(len(series) - maxlen, 0) :] if truncating == "pre" else series[:maxlen]
        kept.append(as_type(cut, kind, f"sequences[{number}]"))
    steps = next((series.shape[1:] for series in kept if len(series)), ())
    filling = as_type(value, kind, "value")
    if kind.kind in "US":  # as long as the longest text
        kind = np.result_type(filling, *kept)
    rows = np.full((len(lengths), maxlen, *steps), filling, kind)
    for row, series in zip(rows, kept, strict=True):
        if not len(series):
            continue
        if series.shape[1:] != steps:
            raise ValueError(f"All series have steps of shape {steps}. Received: one with shape {series.shape[1:]}")
        if padding == "pre":
            row[-len(series) :] = series
        else:
            row[: len(series)] = series
    return rows


class _Windows(NumberedBatches):
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
        ValueError: A number is not positive, the series is shorter than a window, or a mask hides some of it.
    """
    numbers = {"sequence_length": sequence_length, "sequence_stride": sequence_stride, "sampling_rate": sampling_rate}
    for name, number in (*numbers.items(), ("batch_size", 1 if batch_size is None else batch_size)):
        if number <= 0:
            raise ValueError(f"`{name}` is a positive number. Received: {name}={number}")
    data = np.asarray(unhidden(data, "data"))
    first = 0 if start_index is None else start_index
    end = len(data) if end_index is None else min(end_index, len(data))
    if not 0 <= first < end:
        raise ValueError(f"There are {len(data)} steps. Received: start_index={start_index}, end_index={end_index}")
    last = end - (sequence_length - 1) * sampling_rate  # before which windows begin
    if targets is not None:
        targets = np.asarray(unhidden(targets, "targets"))
        last = min(last, len(targets))
    if last <= first:
        raise ValueError(
            f"A window takes {(sequence_length - 1) * sampling_rate + 1} steps, and a target. "
            f"Received: {end - first} steps" + ("" if targets is None else f" and {len(targets)} targets")
        )
    steps = np.arange(sequence_length) * sampling_rate
    return _Windows(data, targets, steps, np.arange(first, last, sequence_stride), batch_size, shuffle, seed)
