"""Threads that count in the metrics of one model do so one after the other."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Turn:
    """Whose turn it is to count in a model's metrics. A copy of the model has its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._trainer: int | None = None  # the thread that is about a whole `fit`

    @contextmanager
    def taken(self, model: Any, name: str) -> Iterator[None]:
        """Inside this context no other thread counts.

        Raises:
            RuntimeError: Another thread trains the model, and it is not known for how long.
        """
        own, outer = threading.get_ident(), self._trainer
        if outer not in (None, own):
            raise RuntimeError(
                f"`{name}` counts in the metrics of model {model.name!r}, in which a `fit` counts that another thread "
                "runs. Call it when that has ended, or on a copy (`copy.deepcopy(model)`); `predict` and calls of the "
                "model can be made meanwhile."
            )
        with self._lock:
            self._trainer = own if name == "fit" else outer
            try:
                yield
            finally:
                self._trainer = outer

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()


def in_turn(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T]:
    """A method that counts in the metrics of its model, of which each thread waits for its turn."""

    @functools.wraps(method)
    def run(self: Any, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self.turn.taken(self, method.__name__):
            return method(self, *args, **kwargs)

    return run
