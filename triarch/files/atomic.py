"""Writing a file so that a reader, or a crash at any moment, meets the old one or the new one, both whole."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of an empty temporary file beside `path`; at the end of the block it takes the place of `path`.

    The temporary file has the suffix of `path`, so that writers that look at it do the same as for `path`. Its bytes
    are on the disk before the rename. If the block raises, the temporary file goes and `path` stays as it was. An
    existing file's permissions are kept, and a symbolic link's target is replaced rather than the link.

    Raises:
        OSError: `path` is a folder, or its folder is missing or not writable.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"Expected the path of a file to write, but this is a folder. Received: {str(path)!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"The folder {str(target.parent)!r} does not exist, so no file can be written in it. Make it first. "
            f"Received: {str(path)!r}"
        )
    temporary = target.with_name(f".{secrets.token_hex(4)}-{target.name[-200:]}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # the umask applies
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Cannot write in the folder {str(target.parent)!r}: {error.strerror}. Choose another folder or change "
            f"its permissions. Received: {str(path)!r}",
        ) from error
    try:
        yield temporary
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        _flush_to_disk(temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_to_disk(target.parent)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
