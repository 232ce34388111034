"""Errors of a disk that is full, or of a file that may not grow, name the file that was being written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """A block that writes the file `path`: where there is no room for it, the `OSError` says so and names it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        raise OSError(
            error.errno,
            f"{error.strerror}; make room or choose another place, what could not be written whole is not kept",
            os.fsdecode(path),
        ) from error
