"""Images that stay in memory from one epoch to the next, for as long as their files stay what they were."""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Stamp = tuple[int, ...]

_BOOKKEEPING = 512  # bytes for each image: its path, stamp and array as Python's objects
_SETTLED = 2_000_000_000  # ns, more than the clocks of file systems are apart or coarse
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # what Windows alone has
_UNKNOWN = 1_000_000_000  # bytes that are kept where nobody knows how many are free
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


class KeptImages:
    """One reader's arrays by the paths of their files, up to a number of bytes, for several threads.

    What came first stays, since an epoch asks for all of them, once. A copy, or one from a pickle, begins empty.

    Args:
        size: Bytes, of the arrays and of what it takes to find them.
    """

    def __init__(self, size: int) -> None:
        self.size = self._left = size
        self._entries: dict[str, tuple[Stamp, Array]] = {}
        self._lock = threading.Lock()
        _ALL.add(self)

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self.size - self._left

    def find(self, path: str) -> Array | None:
        """The array of a file that is what it was; not to be written to."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        try:
            is_same = _stamp(os.stat(path)) == entry[0]
        except OSError:
            is_same = False  # whoever reads the file now is told what is wrong with it
        if is_same:
            return entry[1]
        with self._lock:
            if self._entries.get(path) is entry:
                del self._entries[path]
                self._left += _cost(entry[1])
        return None

    def keep(self, path: str, stamp: Stamp | None, array: Array) -> None:
        """Keep an array where there is room for it, and a stamp."""
        if stamp is None:
            return
        with self._lock:
            if path not in self._entries and _cost(array) <= self._left:
                self._left -= _cost(array)
                self._entries[path] = stamp, array

    def __reduce__(self) -> tuple[type[KeptImages], tuple[int]]:
        return KeptImages, (self.size,)


def read_stamped(path: str) -> tuple[bytes, Stamp | None]:
    """A file's bytes, and what changes when the file does: None while that is so young that a change might not show.

    Raises:
        OSError: The file cannot be opened.
    """
    begun = time.time_ns()
    file = os.open(path, _READ)  # Python's file objects take twice as long
    try:
        status = os.fstat(file)
        content = os.read(file, status.st_size)
        while len(content) < status.st_size and (more := os.read(file, status.st_size - len(content))):
            content += more
    finally:
        os.close(file)
    stamp = _stamp(status)
    return content, stamp if stamp[-1] < begun - _SETTLED else None


def default_cache_size() -> int:
    """A quarter of the memory that is free, or of what a container may have; 1 GB where that is unknown."""
    known = getattr(os, "sysconf_names", ())
    if "SC_AVPHYS_PAGES" not in known or "SC_PAGE_SIZE" not in known:
        return _UNKNOWN
    free = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits = [Path(place).read_text().strip() for place in _LIMITS if os.path.exists(place)]
    return min(free + [int(limit) for limit in limits if limit.isdigit()]) // 4


def _stamp(status: os.stat_result) -> Stamp:
    """What tells a file from another one and from itself before it was written to; last, when that was."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _cost(array: Array) -> int:
    return array.nbytes + _BOOKKEEPING


_ALL: weakref.WeakSet[KeptImages] = weakref.WeakSet()


def _unlock() -> None:
    """A thread that held a lock is not there in a forked process."""
    for kept in _ALL:
        kept._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_unlock)
