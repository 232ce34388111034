"""Kernels that will be needed soon, compiled by a second process while this one compiles those that are needed now.

Numba compiles on one thread at a time. The second process is a fork of this one, so it starts at once; it does nothing
but compile, and ends when that is done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from triarch.kernels.native import loader
from triarch.kernels.native.source import Source

_LONGEST = 60.0  # seconds that this process waits for the other

_begun: dict[Source, Future[bytes]] = {}
_seen: set[Source] = set()  # begun or asked for, ever
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begun.clear)  # a child never hears of what its parent has begun


def begin(sources: Iterable[Source]) -> None:
    """Have kernels compiled that are not kept, where this process may have another beside it."""
    missing = [source for source in sources if source not in _seen and not loader.is_kept(source)]
    if not missing or not _may_fork():
        return
    _seen.update(missing)
    loader.announce_start()
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("fork"), initializer=_leave_interrupts)
    _begun.update((source, executor.submit(loader.code, source)) for source in missing)
    executor.shutdown(wait=False)  # once it has done this much


def take(source: Source) -> bytes | None:
    """The code of a kernel that was begun; None where it was not, or where this process is as soon ready itself."""
    _seen.add(source)
    future = _begun.pop(source, None)
    if future is None or future.cancel():
        return None
    try:
        return future.result(_LONGEST)
    except (BrokenProcessPool, TimeoutError):  # killed, or caught in a lock that a thread held when it was forked
        return None


def _may_fork() -> bool:
    is_daemon = multiprocessing.current_process().daemon  # a worker of a loader of data, which may have no children
    return sys.platform == "linux" and not is_daemon and len(os.sched_getaffinity(0)) > 1


def _leave_interrupts() -> None:
    """Ctrl-C reaches the whole group of processes; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
