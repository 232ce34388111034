"""What the command writes: plain lines, errors of one line, and the table at an end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn
from unicodedata import category

import typer
from rich.console import Console
from rich.text import Text

_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of others, and ends of lines


class CommandError(Exception):
    """Something that the user can put right; its message is one line."""


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Let an error of the user's or of the system's be one line on the error stream and exit code 2."""
    try:
        yield
    except CommandError as error:
        _fail(str(error))
    except OSError as error:
        _discard_unwritten_output()
        place = f"{str(error.filename)!r}: " if error.filename is not None else ""
        _fail(f"{place}{error.strerror or error}")


def escape_unwritable() -> None:
    """Let what the output's encoding lacks, or what is no text in a file's name, be written with backslashes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str) -> NoReturn:
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
    raise SystemExit(2)


def _discard_unwritten_output() -> None:
    """Where standard output takes no more, let Python not try it again at its end, which would be another error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Standard output: colours on a terminal only, and no line broken by us."""
    return Console(highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Write a line."""
    console().print(Text(text))


def say_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Write a title and lines of names and values, the values below each other."""
    rows = list(rows)
    width = max(len(one_line(name)) for name, _ in rows)
    out = console()
    out.print(Text(title, style="bold"))
    for name, value in rows:
        out.print(Text.assemble("  ", (one_line(name).ljust(width), "cyan"), "  ", value))


def one_line(text: str) -> str:
    """A name from outside as it can be shown: ends of lines, and bytes that are no letters, are escaped."""
    if text.isprintable():
        return text
    return "".join(repr(letter)[1:-1] if category(letter) in _UNSHOWN else letter for letter in text)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names with commas between them: the first ones, and how many there are, where they are many."""
    known = [one_line(name) for name in names]
    more = len(known) - most
    return ", ".join(known) if more <= 0 else f"{', '.join(known[:most])} and {more:,} more"


def short_path(path: Path) -> str:
    """The path as seen from the current folder, where it lies below it."""
    absolute = path.resolve()
    here = Path.cwd()
    return os.fspath(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def counted(number: int, noun: str) -> str:
    """(1, "step") -> `1 step`; (3, "step") -> `3 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """0.98765 -> `98.77 %`."""
    return f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    """83.4 -> `1 min 23 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
