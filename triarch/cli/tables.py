"""Tables in .csv files, as rows of cells and as columns of numbers; what could be read wrongly is refused in words."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from triarch.cli.output import CommandError, counted, listed, say
from triarch.files import read_text

Array = np.ndarray[Any, Any]
Row = tuple[int, list[str]]  # the number of its line, and its cells

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GAPS = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "missing", "-", "--", "?", "."))
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def rows_of(path: Path) -> list[Row]:
    """The cells of each line that is not blank, without spaces around them."""
    try:
        reader = csv.reader(StringIO(read_text(path)), strict=True, skipinitialspace=True)
        rows, last = [], 0
        for cells in reader:
            if cells:
                rows.append((last + 1, [cell.strip() for cell in cells]))
            last = reader.line_num
    except csv.Error as error:
        raise CommandError(
            f"Expected cells with commas between them in {str(path)!r}. Received: line {last + 1}, {error}"
        ) from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    while rows and not any(rows[-1][1]):
        rows.pop()  # separators alone, which spreadsheets leave below a table
    return rows


def as_number(cell: str) -> float | None:
    """What a cell says in digits, with a point where there are decimals; None where it says something else."""
    return float(cell) if _NUMBER.fullmatch(cell) else None


def what_is(cell: str) -> str:
    """In words, a cell that should hold a number."""
    if not cell:
        return "an empty cell (a gap)"
    if cell.lower() in _GAPS:
        return f"{cell!r}, a mark for a missing number"
    if "," in cell:
        return f"{cell!r}, with a comma for thousands or decimals: write 1234.5"
    return f"{cell!r}, which is no finite number"


@dataclass(frozen=True)
class Table:
    """Columns of numbers alone, `(steps, columns)` in double precision.

    Attributes:
        names: Of the columns.
        target: The number of the column that is asked for.
        numbers: Finite ones.
    """

    names: tuple[str, ...]
    target: int
    numbers: Array


def read_table(path: Path, target: str | None) -> Table:
    """The columns of numbers by the names in the first line; what is left out is said.

    Args:
        path: Of a file with commas between cells.
        target: The column that is asked for; None for the last one.

    Raises:
        CommandError: Lines have other cells than the names say, the target is missing or holds no numbers, or a column
            of numbers has a gap or a mark.
    """
    rows = rows_of(path)
    if not rows:
        raise CommandError(f"Expected a line of names and a column of numbers in {str(path)!r}. Received: no lines")
    names = _names(path, rows)
    cells = np.array(_cells(path, rows, len(names)), dtype=object).reshape(-1, len(names))
    lines = [line for line, _ in rows[1:]]
    wanted = names[-1] if target is None else target
    if wanted not in names or not wanted:
        raise CommandError(f"--target must be one of {listed(filter(None, names))}. Received: {target!r}")
    columns, without = {}, []
    for place, name in enumerate(names):
        if not name:
            say(f"Left out column {place + 1} of {path.name}, which has no name.")
            continue
        numbers = _numbers(path, name, lines, cells[:, place], name == wanted)
        if numbers is None:
            without.append(name)
        else:
            columns[name] = numbers
    if without:
        say(f"Left out {listed(map(repr, without))} of {path.name}, without numbers.")
    return Table(tuple(columns), list(columns).index(wanted), np.stack(list(columns.values()), 1))


def _names(path: Path, rows: Sequence[Row]) -> list[str]:
    """The names in the first line; without those behind them that are empty, as all their cells are."""
    line, names = rows[0]
    alone = ",".join(names)
    for separator, called in _SEPARATORS.items():
        if alone.count(separator) > alone.count(","):
            raise CommandError(
                f"Expected columns with commas between them in {str(path)!r}, and points in decimals. Received: "
                f"{called} as separator in line {line}, {alone!r}. Write the table with commas"
            )
    count = len(names)
    while count and not names[count - 1] and not any(any(cells[count - 1 :]) for _, cells in rows):
        count -= 1
    names = names[:count]
    repeated = [name for name, times in Counter(names).items() if times > 1 and name]
    if repeated:
        raise CommandError(
            f"Each column is expected to have a name of its own in {str(path)!r}. Received: "
            f"{listed(map(repr, repeated))} more than once in line {line}"
        )
    values = [name for name in names if as_number(name) is not None]
    are_counted = len(values) > 1 and values == [str(number) for number in range(len(values))]  # as pandas names them
    if values and not are_counted:
        raise CommandError(
            f"Expected a line of names above the numbers in {str(path)!r}. Received: line {line} with "
            f"{listed(map(repr, values))}. Write names above, or choose names that are no numbers"
        )
    return names


def _cells(path: Path, rows: Sequence[Row], count: int) -> list[list[str]]:
    """The cells below the names, as many in each line."""
    kept = []
    for line, cells in rows[1:]:
        if len(cells) < count or any(cells[count:]):
            raise CommandError(
                f"Expected {counted(count, 'cell')} in each line of {str(path)!r}, one for each name in line "
                f"{rows[0][0]}. Received: {len(cells)} in line {line}. Decimals are written with points, cells with "
                "commas in them stand in quotes, and above the names there is nothing"
            )
        kept.append(cells[:count])
    return kept


def _numbers(path: Path, name: str, lines: Sequence[int], cells: Array, is_target: bool) -> Array | None:
    """The numbers of a column; None where it is one of texts."""
    found = [as_number(cell) for cell in cells]
    count = sum(number is not None for number in found)
    texts = sum(number is None and cell.lower() not in _GAPS for number, cell in zip(found, cells, strict=True))
    if not is_target and count <= texts:
        return None
    wrong = [place for place, number in enumerate(found) if number is None or not math.isfinite(number)]
    if wrong or not count:
        received = f"line {lines[wrong[0]]}, {what_is(cells[wrong[0]])}" if wrong else "no lines below the names"
        more = f", and {len(wrong) - 1:,} other such cells" if len(wrong) > 1 else ""
        raise CommandError(
            f"Expected a column of numbers alone in {name!r} of {str(path)!r}. Received: {received}{more}. Fill these "
            "cells, leave their lines or the column out" + (", or name another --target" if is_target else "")
        )
    return np.array(found, np.float64)
