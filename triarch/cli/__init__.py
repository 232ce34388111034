"""The command `triarch`: train, evaluate, predict, convolve, doctor. It needs the extra packages of `triarch[cli]`."""

from __future__ import annotations

import importlib.util
import signal
import sys

_PACKAGES = {"typer": "typer", "rich": "rich", "matplotlib": "matplotlib", "PIL": "pillow"}  # module -> what to install


def main() -> None:
    """Run the command with the arguments of the process."""
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"The command triarch needs {', '.join(missing)}. Install: pip install 'triarch[cli]'", file=sys.stderr)
        raise SystemExit(2)
    from triarch.cli.app import app

    try:
        app()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is done; Ctrl-C would only break the process's end
