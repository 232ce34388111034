"""What the user is told while kernels are made."""

from __future__ import annotations

import logging
import sys

from triarch import config


def announce(message: str) -> None:
    """Say it on the error stream, or to the logger `"triarch"` where interactive logging is off."""
    if config.is_interactive_logging_enabled():
        print(f"triarch: {message}", file=sys.stderr, flush=True)
    else:
        logging.getLogger("triarch").info(message)
