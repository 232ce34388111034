"""The commands together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from triarch._version import __version__
from triarch.cli.convolve import convolve
from triarch.cli.doctor import doctor
from triarch.cli.evaluate import evaluate
from triarch.cli.interruption import Interrupted, Interruption
from triarch.cli.output import escape_unwritable, reporting_errors, say
from triarch.cli.predict import predict
from triarch.cli.train import train


class _Commands(TyperGroup):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; its errors become one line, and an interruption an exit code."""
        try:
            escape_unwritable()
            with Interruption(), reporting_errors():
                return super().main(*args, **kwargs)
        except Interrupted as interrupted:
            raise SystemExit(interrupted.exit_code) from None


app = typer.Typer(
    name="triarch",
    cls=_Commands,
    help="Train, evaluate and use neural networks on images; convolve arrays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: typer's boxes show a flag as an option that takes a <bool>
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"triarch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


for _command in (train, evaluate, predict, convolve, doctor):
    app.command()(_command)
