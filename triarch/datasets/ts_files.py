"""Series with classes in `.ts` files, the format of the time series classification archive and of sktime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from triarch.files import read_text

Array = np.ndarray[Any, Any]


def load_ts(path: Any, dtype: Any = "float32") -> tuple[list[Array], Array]:
    """The series of a file, each `(steps, dimensions)` of type `dtype`, and their class labels as strings.

    Header lines begin with `@` or `#`; behind `@data` each line is a series: its dimensions with `:` between them, the
    numbers of each with `,` between them, and its label last. A missing number, `?`, becomes NaN.

    Raises:
        ValueError: The file is not of this format or in UTF-8, has time stamps or no labels, or a number that `dtype`
            does not hold; the message says at which line.
        OSError: It cannot be read.
    """
    name = os.fspath(path)
    series: list[Array] = []
    labels: list[str] = []
    classes: set[str] | None = None  # where the header names them
    has_begun = False
    for number, line in enumerate(read_text(path).split("\n"), 1):
        text, where = line.strip(), f"{name!r}, line {number}"
        if not text or text.startswith("#"):
            continue
        if not has_begun:
            has_begun = _is_header_end(text, where)
            classes = _classes(text) or classes
            continue
        *dimensions, label = (part.strip() for part in text.split(":"))
        if not label or _are_numbers(label) or (classes is not None and not set(label.split()) <= classes):
            raise ValueError(
                f"Expected a class label behind the last ':' in {where}"
                + (f", one of {', '.join(sorted(classes)[:20])}" if classes else "")
                + f". Received: {label[:80]!r}"
            )
        columns = _columns(dimensions, series[0].shape[1] if series else len(dimensions), where)
        with np.errstate(over="ignore"):
            made = columns.astype(dtype)
        if not np.array_equal(np.isinf(made), np.isinf(columns)):
            raise ValueError(f"Expected numbers that {dtype} holds in {where}. Received: up to {abs(columns).max():g}")
        series.append(made)
        labels.append(label)
    if not series:
        raise ValueError(f"Expected series behind a line '@data' in {name!r}. Received: none")
    return series, np.array(labels)


def _columns(dimensions: list[str], width: int, where: str) -> Array:
    """The numbers `(steps, dimensions)` of a series."""
    try:
        columns = [[_number(part.strip()) for part in dimension.split(",")] for dimension in dimensions]
    except ValueError as error:
        raise ValueError(f"Expected numbers in {where}: {error}") from error
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or len(columns) != width:
        raise ValueError(
            f"Expected {width or 'some'} dimensions with as many numbers each in {where}. "
            f"Received: {len(columns)} dimensions with {sorted(lengths)} numbers"
        )
    return np.array(columns).T


def _number(text: str) -> float:
    if "_" in text:  # which Python takes for a separator of thousands
        raise ValueError(f"{text!r} is no number")
    return np.nan if text == "?" else float(text)


def _are_numbers(text: str) -> bool:
    """Whether several numbers stand where a label should."""
    try:
        return "," in text and all(np.isreal(_number(part.strip())) for part in text.split(","))
    except ValueError:
        return False


def _classes(text: str) -> set[str] | None:
    """The class labels that a header line names; None where it names none."""
    name, *values = text.split()
    return set(values[1:]) or None if name.lower() == "@classlabel" else None


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
