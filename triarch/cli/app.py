"""The commands together."""

from __future__ import annotations

import sys

import typer

from triarch.cli.doctor import doctor
from triarch.cli.evaluate import evaluate
from triarch.cli.output import reporting_errors
from triarch.cli.predict import predict
from triarch.cli.train import train

app = typer.Typer(
    name="triarch",
    help="Train, evaluate and use convolutional, recurrent and residual networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,  # no boxes in a pipe
)
for _command in (train, evaluate, predict, doctor):
    app.command()(reporting_errors(_command))
