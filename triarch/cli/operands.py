"""Operands of `triarch convolve`, from files or as they are typed, and its result as a file or as text."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from triarch.cli.images import has_image_suffix, numbers_of
from triarch.cli.output import CommandError, short_path
from triarch.cli.tables import rows_of
from triarch.files import atomic_write

Array = np.ndarray
EXPECTED = "numbers such as '1,2,3' or '1,2;3,4', or a .npy, .csv or image file"
_MOST_SHOWN = 1000  # numbers of a result that are written on the screen


def read_operand(given: str) -> Array:
    """The operand that an argument names: a file's, or the numbers themselves."""
    path = Path(given)
    reader = _READERS.get(path.suffix.lower(), numbers_of if path.suffix and has_image_suffix(path) else None)
    if reader is not None:
        return _read(reader, path)
    try:
        return _as_array([[_number(cell) for cell in row.split(",")] for row in given.split(";")])
    except ValueError as error:
        reason = "a file whose suffix is none of these" if os.path.isfile(given) else str(error)
        raise CommandError(f"Expected {EXPECTED}. Received: {given!r} ({reason})") from None


def _read(reader: Callable[[Path], Array], path: Path) -> Array:
    try:
        array = reader(path)
    except FileNotFoundError:
        raise CommandError(f"There is no file {str(path)!r}.") from None
    except (ValueError, EOFError, csv.Error) as error:
        raise CommandError(f"The file {str(path)!r} is no {path.suffix} file that can be read: {error}") from error
    if array.size == 0:
        raise CommandError(f"Expected at least one number. Received: an array of shape {array.shape} in {str(path)!r}")
    if array.dtype.kind not in "biufcO":
        raise CommandError(f"Expected numbers in {str(path)!r}. Received: an array of type {array.dtype}")
    return array


def is_image(given: str) -> bool:
    """Whether an argument names an image file."""
    return has_image_suffix(Path(given))


def _number(text: str) -> Any:
    """An integer or a fraction exactly, else a float or a complex number."""
    if "_" in text:  # which Python takes for a separator of thousands
        raise ValueError(f"{text.strip()!r} is no number")
    for kind in (int, Fraction if "/" in text else float, complex):
        try:
            return kind(text.strip())
        except (ValueError, ZeroDivisionError):
            continue
    raise ValueError(f"{text.strip()!r} is no number")


def _as_array(rows: Sequence[Sequence[Any]]) -> Array:
    """One axis where there is one row or one column, else two."""
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows have {', '.join(str(len(row)) for row in rows[:8])} numbers")
    numbers = [number for row in rows for number in row]
    if all(isinstance(number, (int, Fraction)) for number in numbers):
        array = np.array(numbers, object)
    else:
        array = np.array(numbers, complex if any(isinstance(number, complex) for number in numbers) else float)
    return array if 1 in (len(rows), len(rows[0])) else array.reshape(len(rows), -1)


def _read_npy(path: Path) -> Array:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_csv(path: Path) -> Array:
    rows: list[list[Any]] = []
    for line, cells in rows_of(path):
        try:
            rows.append([_number(cell) for cell in cells])
        except ValueError as error:
            place = f"line {line} of {str(path)!r}"
            raise CommandError(f"Expected numbers separated by commas. Received: {place}, {error}") from None
        if len(cells) != len(rows[0]):
            raise CommandError(
                f"Expected as many numbers in each line of {str(path)!r}, {len(rows[0])}. "
                f"Received: {len(cells)} in line {line}"
            )
    return _as_array(rows) if rows else np.zeros(0)


_READERS: dict[str, Callable[[Path], Array]] = {".npy": _read_npy, ".csv": _read_csv}


def check_output(path: Path, operands: Iterable[str]) -> None:
    """Refuse, before any work, a result file that cannot be written or would take the place of an operand."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS and Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise CommandError(f"--output expects a .npy, .csv or image file. Received: {str(path)!r}")
    check_place(path, "--output", operands)


def check_place(path: Path, option: str, operands: Iterable[str]) -> None:
    """Refuse a file whose folder is missing, or that is an operand."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise CommandError(f"{option} expects a file in a folder that exists. Received: {str(path)!r}")
    if any(path.exists() and os.path.exists(operand) and path.samefile(operand) for operand in operands):
        raise CommandError(f"{option} would overwrite the operand {str(path)!r}. Choose another name")


def write_result(path: Path, result: Array) -> str:
    """Write the file; returns what was written, in words."""
    with atomic_write(path) as temporary:
        note = _WRITERS.get(path.suffix.lower(), _save_image)(temporary, result)
    return f"{short_path(path)}{note}"


def _save_npy(path: Path, result: Array) -> str:
    values, note = _without_objects(result) if result.dtype == object else (result, "")
    content = io.BytesIO()  # NumPy's errors of a full disk do not say that it is
    np.save(content, values)
    path.write_bytes(content.getbuffer())
    return note


def _save_csv(path: Path, result: Array) -> str:
    if result.ndim > 2:
        raise CommandError(f"A .csv file holds at most 2 axes. Received: a result of shape {result.shape}; use .npy")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([map(_text, row) for row in np.atleast_2d(result)])
    return ""


def _without_objects(result: Array) -> tuple[Array, str]:
    """Integers as int64 or uint64 where that holds them, the rest as float64."""
    if all(isinstance(value, int) for value in result.reshape(-1)):
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if limits.min <= result.min() and result.max() <= limits.max:
                return result.astype(dtype), ""
        return result.astype(np.float64), ", rounded to float64: int64 does not hold all integers"
    return result.astype(np.float64), ", fractions rounded to float64"


def _save_image(path: Path, result: Array) -> str:
    if result.dtype.kind == "c":
        raise CommandError(f"An image cannot hold complex numbers. Received: a result of type {result.dtype}")
    if not (result.ndim == 2 or (result.ndim == 3 and result.shape[-1] == 3)):
        raise CommandError(
            f"An image has shape (height, width) or (height, width, 3). Received: a result of shape {result.shape}"
        )
    values = result.astype(np.float64)
    outside = int(((values < -0.5) | (values >= 255.5) | ~np.isfinite(values)).sum())
    content = io.BytesIO()  # Pillow takes a part of a file for the whole where a disk is full
    image = Image.fromarray(np.nan_to_num(values).round().clip(0, 255).astype(np.uint8))
    image.save(content, Image.registered_extensions()[path.suffix.lower()])
    path.write_bytes(content.getbuffer())
    return f", {outside:,} of {result.size:,} values clipped to 0 ... 255" if outside else ""


_WRITERS: dict[str, Callable[[Path, Array], str]] = {".npy": _save_npy, ".csv": _save_csv}


def as_text(result: Array) -> list[str]:
    """The lines of a result as it would be typed, rows below each other; the ends only of one that is long."""
    if result.ndim > 2:
        return [f"shape {result.shape}, {result.dtype}; use --output to keep it"]
    rows = np.atleast_2d(result)
    if result.size <= _MOST_SHOWN:
        return [",".join(map(_text, row)) for row in rows]
    ends = ",".join([*map(_text, rows[0, :4]), "...", *map(_text, rows[-1, -4:])])
    return [ends, f"shape {result.shape}, {result.dtype}; use --output to keep it"]


def _text(value: Any) -> str:
    text = str(value)
    return text.strip("()") if text.startswith("(") else text
