"""Errors of a disk that is full, or of a file that may not grow, name the file that was being written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: BaseException) -> bool:
    """Whether an error is that of a full disk, or of a file that may not grow."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """A block that writes the file `path`: where there is no room for it, the `OSError` says so and names it."""
    try:
        yield
    except OSError as error:
        if not is_full(error) or error.filename is not None:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}: there is no room to write it; make some, or choose another place",
            os.fsdecode(path),
        ) from error
