"""Writing so that a reader, or a crash at any moment, meets the old file or the new one, both whole.

What is being written lies beside its target, under a name of its own that its writer holds a lock on. The system frees
the lock when the writer ends, however it ends; so what no living process holds is rubbish, and the next writer in the
folder clears it. Names tell the machine: what another one left is not touched, as locks may not reach that far.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from triarch.files.full_disk import naming

_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PREFIX = f".triarch-{_MACHINE}-"
_LONGEST_TAIL = 160  # bytes of the target's name in the temporary one; names have 255
_libc = ctypes.CDLL(None)
_HERE, _AT_ONCE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of an empty temporary file beside `path`; at the end of the block it takes the place of `path`.

    The temporary file has the suffix of `path`, so that writers that look at it do the same as for `path`. Its bytes
    are on the disk before the rename. If the block raises, the temporary file goes and `path` stays as it was. An
    existing file's permissions are kept, and a symbolic link's target is replaced rather than the link.

    Raises:
        OSError: `path` is a folder, or its folder is missing, not writable or full.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"Expected the path of a file to write, but this is a folder. Received: {str(path)!r}")
    with naming(path), _reserved(target, _make_file) as temporary:
        yield temporary
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        _flush_to_disk(temporary)
        os.replace(temporary, target)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `atomic_write`, of an empty folder that takes the place of a folder; what is written in it is flushed."""
    target = Path(os.path.realpath(path))
    with naming(path), _reserved(target, Path.mkdir) as temporary:
        yield temporary
        for place, _, names in os.walk(temporary):
            for name in names:
                _flush_to_disk(Path(place) / name)
            _flush_to_disk(Path(place))
        if target.exists():
            _exchange(temporary, target)
        else:
            os.replace(temporary, target)


@contextmanager
def _reserved(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A temporary file or folder beside `target`, locked; what is left of it at the end of the block goes."""
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The folder {str(folder)!r} does not exist, so no file can be written in it. Make it first. "
            f"Received: {str(target)!r}"
        )
    with ExitStack() as stack:
        try:
            _clear_abandoned(folder)
            temporary, lock = _made(target, make)
        except OSError as error:
            _refuse_folder(target, error)
        stack.callback(os.close, lock)
        stack.callback(_remove, temporary)
        yield temporary
    _flush_to_disk(folder)


def _refuse_folder(target: Path, error: OSError) -> NoReturn:
    raise type(error)(
        error.errno,
        f"Cannot write in the folder {str(target.parent)!r}: {error.strerror}. Choose another folder or change its "
        f"permissions. Received: {str(target)!r}",
    ) from error


def _made(target: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    """A new file or folder, and a descriptor that holds its lock."""
    tail = os.fsdecode(os.fsencode(target.name)[-_LONGEST_TAIL:])
    while True:
        temporary = target.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{tail}")
        make(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: then nobody clears there either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)  # another writer cleared it before it was locked


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # the umask applies


def _exchange(first: Path, second: Path) -> None:
    """Let two folders change their names, at once where the file system can."""
    names = os.fsencode(first), os.fsencode(second)
    if hasattr(_libc, "renameat2") and not _libc.renameat2(_HERE, names[0], _HERE, names[1], _AT_ONCE):
        return
    aside = second.with_name(f"{second.name}.earlier-{secrets.token_hex(4)}")  # nobody clears it, should we be killed
    os.replace(second, aside)
    try:
        os.replace(first, second)
    except OSError:
        os.replace(aside, second)
        raise
    os.replace(aside, first)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _clear_abandoned(folder: Path) -> None:
    """Remove what killed writers of this machine left in the folder."""
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    for path in left:
        with suppress(OSError), ExitStack() as stack:  # it is being written, just went, or belongs to somebody else
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
