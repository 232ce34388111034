"""Threads for compiled loops, which release Python's global lock: one long-lived pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_PARTS_PER_THREAD = 4

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_owner: tuple[int, int] = (0, 0)  # the process and the number of threads that the pool was made for


def _pool_of(threads: int) -> ThreadPoolExecutor:
    """The pool; made anew in a forked process, whose threads were left behind, and for another number of threads."""
    global _pool, _owner
    with _lock:
        wanted = (os.getpid(), threads)
        if _pool is None or _owner != wanted:
            if _pool is not None and _owner[0] == wanted[0]:
                _pool.shutdown(wait=False)
            _pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="triarch")
            _owner = wanted
        return _pool


def _make_lock_anew() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock_anew)


def threads_for(items: int, seconds: float) -> int:
    """How many threads work that takes one thread so long is shared among; a thread takes some 20 µs to wake."""
    return max(1, min(torch.get_num_threads(), items, int(seconds / 60e-6)))


def split_work(function: Callable[[int, int], object], items: int, seconds: float) -> None:
    """Call `function(first, last)` for parts that together are `range(items)`, at the same time where that pays.

    Whichever thread is free takes the next part, so that one that the system keeps from running holds up nobody.

    Args:
        seconds: What one thread needs for all of it.
    """
    threads = threads_for(items, seconds)
    if threads < 2:
        function(0, items)
        return
    parts = min(items, threads * _PARTS_PER_THREAD)
    numbers = iter(range(parts))  # taking the next one is atomic

    def work() -> None:
        for part in numbers:
            function(items * part // parts, items * (part + 1) // parts)

    pool = _pool_of(torch.get_num_threads())
    others = [pool.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():  # it has begun
                other.result()
