"""The addresses of kernels' machine code."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cache

from triarch.kernels.native.allocator import keep_memory
from triarch.kernels.native.source import Source

_lock = threading.RLock()


@cache
def compiled(source: Source) -> int:
    """The address of the machine code of a kernel, `void (job *, int64 thread, int64 threads)`."""
    from triarch.kernels.native import ahead, loader

    keep_memory()
    with _lock:
        return loader.load(ahead.take(source) or loader.code(source))


def expect(sources: Iterable[Source]) -> None:
    """Kernels that will be needed soon are compiled beside those that are needed now."""
    from triarch.kernels.native import ahead

    with _lock:
        ahead.begin(sources)
