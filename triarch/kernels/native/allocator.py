"""The C library's memory: large pieces that were freed are kept for the next ones of their size.

glibc by default asks the system for each large piece anew and gives it back when it is freed; the system then clears it
page by page, which takes as long as computing what is written to it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's
_LARGEST_FROM_HEAP = 32 << 20  # glibc accepts no more
_KEPT = 1 << 30
_SETTINGS_OF_USERS = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


@cache
def keep_memory() -> None:
    """Tell glibc, once, to keep pieces of up to 32 MiB; where the user has told it something else, that stays."""
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SETTINGS_OF_USERS):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
