"""Unpacking zip and tar archives of unknown origin: files and folders inside one folder, and nothing else."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from triarch.files.full_disk import is_full, naming

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)


class _Entry(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what else it is
    open: Callable[[], IO[bytes] | None]


def extract_archive(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], archive_format: str | Sequence[str] | None = "auto"
) -> bool:
    """Unpack a zip or tar file (plain, gzip, bzip2 or xz) as the new content of `folder`; False if it is neither.

    `folder` changes only when all went well. Owners, permissions and times in the archive are not taken over.

    Args:
        archive_format: `"tar"`, `"zip"`, several of them, `"auto"` for both or None for neither.

    Raises:
        ValueError: the archive is damaged, or holds a path outside the folder, a link or a device; nothing is written.
    """
    formats = _formats(archive_format)
    path, folder = Path(path), Path(folder)
    if "tar" in formats and tarfile.is_tarfile(path):
        with _refusing_damage(path), tarfile.open(path) as tar:
            _write([*_tar_entries(tar)], path, folder)
    elif "zip" in formats and zipfile.is_zipfile(path):
        with _refusing_damage(path), zipfile.ZipFile(path) as archive:
            _write([*_zip_entries(archive)], path, folder)
    else:
        return False
    return True


def _formats(archive_format: str | Sequence[str] | None) -> Sequence[str]:
    if archive_format is None:
        return ()
    formats = ("tar", "zip") if archive_format == "auto" else archive_format
    formats = (formats,) if isinstance(formats, str) else formats
    if not set(formats) <= {"tar", "zip"}:
        raise ValueError(f"archive_format must be 'auto', 'tar', 'zip' or None. Received: {archive_format!r}")
    return formats


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        if is_full(error):
            raise
        raise ValueError(f"The archive {str(path)!r} cannot be unpacked: {error}") from error


def _tar_entries(archive: tarfile.TarFile) -> Iterator[_Entry]:
    for member in archive:
        kind = "file" if member.isreg() else "folder" if member.isdir() else "link" if _is_link(member) else "device"
        yield _Entry(member.name, kind, lambda member=member: archive.extractfile(member))  # type: ignore[misc]
    assert archive.fileobj is not None
    while archive.fileobj.read(1 << 20):  # to the end, where gzip's checksum is
        pass


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for member in archive.infolist():
        mode = stat.S_IFMT(member.external_attr >> 16)
        kind = "folder" if member.is_dir() else "file"
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if mode == stat.S_IFLNK else "device"
        yield _Entry(member.filename, kind, lambda member=member: archive.open(member))  # type: ignore[misc]


def _check(entry: _Entry, path: Path) -> None:
    if entry.kind not in ("file", "folder"):
        raise ValueError(
            f"The archive {str(path)!r} holds a {entry.kind}, {entry.name!r}; only files and folders are unpacked, so "
            "nothing was."
        )
    name = entry.name.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
        raise ValueError(
            f"The archive {str(path)!r} holds a path outside its folder, {entry.name!r}; nothing was unpacked."
        )


def _write(entries: Sequence[_Entry], path: Path, folder: Path) -> None:
    for entry in entries:
        _check(entry, path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with naming(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "content"
        fresh.mkdir()
        for entry in entries:
            place = fresh / entry.name
            if entry.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            source = entry.open()
            assert source is not None, entry.name
            with source, open(place, "xb") as target:
                shutil.copyfileobj(source, target)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)
