"""Commands of `triarch` run in this process."""

from __future__ import annotations

import signal

from typer.testing import CliRunner

from triarch.cli.app import app

# What `triarch train` leaves behind, without pictures of a kind of network's own.
RESULTS = {"model.keras", "history.csv", "curves.png", "confusion.png", "mistakes.png", "report.json"}


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    try:
        result = CliRunner().invoke(app, [*map(str, arguments)])
    finally:
        signal.signal(signal.SIGINT, before)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    """The one line with which a command refuses."""
    code, _, error = run(*arguments)
    assert code == 2, error
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    return error
