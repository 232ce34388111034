"""Ctrl-C and SIGTERM: the first ends a command in good order, and what comes after it is ignored."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from triarch.callbacks import Callback

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user or the system wants the command to end; `exit_code` is what shells have for the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Interruption:
    """As a context: the first signal raises `Interrupted`, at once or, between `wait` and `resume`, at a `check`."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and the like
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            if not self._waits:
                raise Interrupted(number)

    def wait(self) -> None:
        """From now on only note signals."""
        self._waits = True

    def resume(self) -> None:
        """Raise what has been noted, and signals to come at once."""
        self._waits = False
        self.check()

    def check(self) -> None:
        """Raise what has been noted."""
        if self._number is not None:
            raise Interrupted(self._number)


class BetweenSteps(Callback):
    """Checks for an interruption where the weights are those of whole training steps."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__()
        self.interruption = interruption

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.interruption.check()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.interruption.check()
