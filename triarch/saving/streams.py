"""Where models and weights go to and come from: files, folders, and streams that are open for bytes."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from triarch.files import atomic_write, naming

FilePath = str | os.PathLike[str]
Place = FilePath | BinaryIO

_PIECE = 1 << 20  # bytes that are written to a stream at a time


def path_of(place: Any, argument: str = "filepath") -> Path | None:
    """The path that `place` is; None for a stream.

    Raises:
        ValueError: It is neither, or a stream of text.
    """
    if isinstance(place, (str, bytes, os.PathLike)):
        return Path(os.fsdecode(place))
    if isinstance(place, io.TextIOBase) or hasattr(place, "encoding"):
        raise ValueError(f"A model is bytes, but `{argument}` is open for text; open it as 'rb' or 'wb'.")
    if not any(hasattr(place, name) for name in ("read", "write", "read_bytes")):
        raise ValueError(
            f"`{argument}` is the path of a file, or a stream that is open for bytes. "
            f"Received: {place!r} of type {type(place).__name__}"
        )
    return None


class Origin(NamedTuple):
    """What is read: a file or folder, or the bytes that a stream gave."""

    name: str  # for messages
    path: Path | None
    content: bytes = b""

    @classmethod
    def of(cls, place: Any) -> Origin:
        """The origin at a path; or what a stream holds from its present place on, or in all where it is at its end.

        Raises:
            ValueError: It is neither.
        """
        path = path_of(place)
        if path is not None:
            return cls(str(path), path)
        name = f"stream {getattr(place, 'name', '') or type(place).__name__}"
        if not hasattr(place, "read"):  # a member of a zip file, as `zipfile.Path` names it
            return cls(name, None, place.read_bytes())
        content = _all_of(place)
        if not content and _can_seek(place):  # as it is left by whoever wrote it
            place.seek(0)
            content = _all_of(place)
        return cls(name, None, content)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes, to read."""
        if self.path is None:
            yield io.BytesIO(self.content)
        else:
            with open(self.path, "rb") as file:
                yield file

    def starts_with(self, signature: bytes) -> bool:
        """Whether these are the first bytes."""
        with self.opened() as file:
            return file.read(len(signature)) == signature


def _all_of(stream: Any) -> bytes:
    """What a stream gives until its end, raw ones in pieces."""
    parts = []
    while part := stream.read():
        parts.append(part)
    return b"".join(parts)


def _can_seek(stream: Any) -> bool:
    return bool(stream.seekable()) if hasattr(stream, "seekable") else hasattr(stream, "seek")


@contextmanager
def written(place: Any) -> Iterator[BinaryIO]:
    """A file to write and read at will, which becomes the file at a path, or goes into a stream, when all went well.

    Raises:
        OSError: There is no room, or it may not be written.
    """
    path = path_of(place)
    if path is not None:
        with atomic_write(path) as temporary, open(temporary, "w+b") as file:
            yield file
        return
    if not hasattr(place, "write"):
        raise ValueError(f"`filepath` is open for reading only; open it as 'wb'. Received: {place!r}")
    memory = io.BytesIO()
    yield memory
    with naming(str(getattr(place, "name", place))):
        _write_all(place, memory)


def _write_all(stream: Any, memory: io.BytesIO) -> None:
    """Write what is in memory, piece by piece, as raw streams may take a part of what they are given."""
    memory.seek(0)
    while piece := memory.read(_PIECE):
        count = stream.write(piece)
        if count is None and isinstance(stream, io.RawIOBase):
            raise BlockingIOError(errno.EAGAIN, f"The stream takes no more bytes at present. Received: {stream!r}")
        if count is not None:
            memory.seek(count - len(piece), io.SEEK_CUR)
