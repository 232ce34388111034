"""What the command writes: plain lines, errors of one line, and the table at an end."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text


class CommandError(Exception):
    """Something that the user can put right; its message is one line."""


def reporting_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command's `CommandError` be one line on the error stream and exit code 2."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except CommandError as error:
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error

    return run


def console() -> Console:
    """Standard output: colours on a terminal only, and no line broken by us."""
    return Console(highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Write a line."""
    console().print(Text(text))


def say_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Write a title and lines of names and values, the values below each other."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    out = console()
    out.print(Text(title, style="bold"))
    for name, value in rows:
        out.print(Text.assemble("  ", (name.ljust(width), "cyan"), "  ", value))


def short_path(path: Path) -> str:
    """The path as seen from the current folder, where it lies below it."""
    absolute = path.resolve()
    here = Path.cwd()
    return os.fspath(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def percent(share: float) -> str:
    """0.98765 -> `98.77 %`."""
    return f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    """83.4 -> `1 min 23 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
