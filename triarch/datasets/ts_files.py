"""Series with classes in `.ts` files, the format of the time series classification archive and of sktime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def load_ts(path: Any) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The series of a file, each `(steps, dimensions)` in float32, and their class labels as strings.

    Header lines begin with `@` or `#`; behind `@data` each line is a series: its dimensions with `:` between them, the
    numbers of each with `,` between them, and its label last. A missing number, `?`, becomes NaN.

    Raises:
        ValueError: The file is not of this format, or has time stamps or no labels; the message says at which line.
        OSError: It cannot be read.
    """
    series: list[np.ndarray[Any, Any]] = []
    labels: list[str] = []
    has_begun = False
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not has_begun:
            has_begun = _is_header_end(text, f"{str(path)!r}, line {number}")
            continue
        *dimensions, label = text.split(":")
        try:
            columns = [[float(part.replace("?", "nan")) for part in dimension.split(",")] for dimension in dimensions]
        except ValueError as error:
            raise ValueError(f"Expected numbers in {str(path)!r}, line {number}: {error}") from error
        lengths = {len(column) for column in columns}
        width = series[0].shape[1] if series else len(columns)
        if len(lengths) != 1 or len(columns) != width:
            raise ValueError(
                f"Expected {width or 'some'} dimensions with as many numbers each in {str(path)!r}, line {number}. "
                f"Received: {len(columns)} dimensions with {sorted(lengths)} numbers"
            )
        series.append(np.array(columns, np.float32).T)
        labels.append(label.strip())
    if not series:
        raise ValueError(f"Expected series behind a line '@data' in {str(path)!r}. Received: none")
    return series, np.array(labels)


def _is_header_end(text: str, where: str) -> bool:
    """Whether a header line is the last one."""
    if not text.startswith("@"):
        raise ValueError(f"Expected a line that begins with '@' or '#' before '@data' in {where}. Received: {text!r}")
    name, *values = text.lower().split()
    if name == "@timestamps" and values[:1] == ["true"]:
        raise ValueError(f"Series with time stamps are not read: {where}")
    if (name == "@classlabel" and values[:1] == ["false"]) or name == "@targetlabel":
        raise ValueError(f"Only series with class labels are read: {where}")
    return name == "@data"
