"""The start of the command `triarch`. It stands outside the package so that Ctrl-C is answered while PyTorch loads."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 128 + signal.SIGINT  # exit code, as shells have it


def main() -> None:
    """Run the command. Ctrl-C before or after its work, in imports or in the shutdown, ends the process quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the caller wants it ignored
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    from triarch import cli

    try:
        cli.main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt
