"""Notes in files of models: what somebody wants to know of a file without reading it whole."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

PART, KEY = (
    "metadata.json",
    "note",
)  # where a note stands in a `.keras` file; in a `.weights.h5` file it is an attribute

_LARGEST = 1 << 16  # bytes
_current: ContextVar[str | None] = ContextVar("note", default=None)


@contextmanager
def noting(note: Mapping[str, Any]) -> Iterator[None]:
    """Inside this context, files of models that are written get this note."""
    token = _current.set(json.dumps(note))
    try:
        yield
    finally:
        _current.reset(token)


def current_note() -> str | None:
    """The note to be written, as JSON."""
    return _current.get()


def read_note(path: Path) -> dict[str, Any]:
    """The note in a file of a model or of weights; empty where it has none, or is none."""
    try:
        text = _from_zip(path) if zipfile.is_zipfile(path) else _from_hdf5(path)
        note = {} if text is None else json.loads(text)
    except (OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return {}  # damaged, or something else
    return note if isinstance(note, dict) else {}


def _from_zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(PART).file_size > _LARGEST:
            return None
        metadata = json.loads(archive.read(PART))
    return metadata.get(KEY) if isinstance(metadata, dict) else None


def _from_hdf5(path: Path) -> str | None:
    import h5py  # always installed, but too slow to load for those who save nothing

    with h5py.File(path, "r") as file:
        text = file.attrs.get(KEY)
    return text if isinstance(text, str) else None
