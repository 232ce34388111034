"""Training of a command: epochs before one's eyes, and a model that is kept whatever ends it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triarch import callbacks
from triarch.cli.interruption import BetweenSteps, Interrupted, Interruption
from triarch.cli.output import CommandError, console, say, short_path
from triarch.cli.progress import EpochBar, EpochLines
from triarch.cli.results import HISTORY, MODEL, write_history

Rows = list[dict[str, float]]


def learn(
    network: Any,
    epochs: int,
    steps: int,
    folder: Path,
    save: Callable[[Rows], None],
    interruption: Interruption,
    **fit: Any,
) -> Rows:
    """Train; the history, a row an epoch. What ends it early saves the model as it is and says where.

    Args:
        steps: In an epoch.
        save: Writes the model and the history where training was interrupted.
        fit: What `fit` is told beside the epochs.
    """
    lines = EpochBar(epochs, steps) if console().is_terminal else EpochLines(epochs)
    try:
        with lines:
            network.fit(
                epochs=epochs,
                callbacks=[lines, callbacks.TerminateOnNaN(), BetweenSteps(interruption)],
                verbose=0,
                **fit,
            )
    except Interrupted:
        save(lines.rows)
        say(f"Interrupted in epoch {len(lines.rows) + 1}. The model as it is now: {short_path(folder / MODEL)}")
        raise
    except CommandError:  # a file is no image any more
        save(lines.rows)
        say(f"Stopped in epoch {len(lines.rows) + 1}. The model as it is now: {short_path(folder / MODEL)}")
        raise
    except (OSError, SystemExit):  # the output cannot be written; rich ends the process where it is a closed pipe
        save(lines.rows)
        raise
    if not math.isfinite(lines.rows[-1]["loss"]):
        write_history(folder, lines.rows)
        raise CommandError(
            f"The loss became {lines.rows[-1]['loss']} in epoch {len(lines.rows)}; try a smaller --lr. The history: "
            f"{short_path(folder / HISTORY)}"
        )
    return lines.rows
