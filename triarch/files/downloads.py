"""Downloads that go on where they broke off and are used only when whole and right."""

from __future__ import annotations

import fcntl
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from triarch.files.checksums import ChecksumError, algorithm_of, file_digest, set_aside
from triarch.files.full_disk import naming

_ATTEMPTS = 4
_CHUNK = 1 << 16
_TIMEOUT = 30  # seconds without a byte


def download(
    origin: str, target: str | os.PathLike[str], file_hash: str | None = None, hash_algorithm: str = "auto"
) -> Path:
    """Fetch the URL `origin` into the file `target`, which appears only when it is complete and its checksum right.

    Bytes gather in `<target>.part`; a later call goes on from there if the server can and still has the same file.
    Processes that want the same file wait for the first one. Progress is shown on a terminal only.

    Raises:
        ConnectionError: no connection, an error from the server, or a connection that keeps breaking.
        ChecksumError: the wrong file came; it is kept as `<target>.rejected`.
    """
    target = Path(target)
    algorithm = algorithm_of(file_hash, hash_algorithm) if file_hash else None
    before = _identity(target)
    part = target.with_name(f"{target.name}.part")
    with naming(part), _without_empty_folders(target.parent), _locked(part) as file:
        if _identity(target) != before:
            return target  # another process has just made it
        for attempt in range(_ATTEMPTS):
            time.sleep(0.1 * attempt**2)
            try:
                finished = _fetch(origin, file, part, target, resume_unverified=bool(file_hash))
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise ConnectionError(_advice(origin, target, file_hash, error)) from error
            if finished:
                break
        else:
            raise ConnectionError(
                f"The connection to {origin} broke {_ATTEMPTS} times; {part.stat().st_size:,} bytes are kept in "
                f"{str(part)!r}, and another call goes on from there."
            )
        _validator_file(part).unlink(missing_ok=True)
        found = file_digest(part, algorithm) if algorithm else None
        if file_hash and found != file_hash.lower():
            kept = set_aside(part, target)
            raise ChecksumError(
                f"The file from {origin} is not the expected one and is not used. Expected {algorithm}: {file_hash}. "
                f"Received: {found}. It is kept as {str(kept)!r}; call again to download it anew."
            )
        os.replace(part, target)
    return target


def _identity(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


@contextmanager
def _without_empty_folders(folder: Path) -> Iterator[None]:
    """A block that may make `folder`; what it made and left empty is removed."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    finally:
        for place in made:  # the innermost first
            try:
                place.rmdir()
            except OSError:  # not empty, or not there
                break


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The part file, open and held by this process alone."""
    while True:
        with _opened(part) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                try:
                    yield file
                finally:
                    if part.exists() and part.stat().st_size == 0:
                        part.unlink()
                        _validator_file(part).unlink(missing_ok=True)
                return


def _opened(part: Path) -> BinaryIO:
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):  # another process that got nothing removes the folder that it had made
            part.parent.mkdir(parents=True, exist_ok=True)
            return open(part, "ab")
    raise FileNotFoundError(f"The folder {str(part.parent)!r} cannot be made.")


def _validator_file(part: Path) -> Path:
    """Where the server's mark of the file's version stands between two calls."""
    return part.with_name(f"{part.name}.version")


def _fetch(origin: str, file: BinaryIO, part: Path, target: Path, resume_unverified: bool) -> bool:
    """One connection: append to the part file what comes; True when the file is complete."""
    version = _validator_file(part)
    have = part.stat().st_size
    request = urllib.request.Request(origin)
    if have and (version.exists() or resume_unverified):
        request.add_header("Range", f"bytes={have}-")
        if version.exists():
            request.add_header("If-Range", version.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        file.truncate(0)
        version.unlink(missing_ok=True)
        return False
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"asked for bytes from {have}, received {response.headers.get('Content-Range')!r}")
        if not resumed:
            file.truncate(0)
            have = 0
            version.unlink(missing_ok=True)
            mark = _version_mark(response.headers)
            if mark:
                version.write_text(mark)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        progress = _Progress(target.name, have, total)
        try:
            have = _copy(response, file, have, progress)
        finally:
            progress.close()
    return total is None or have >= total


def _version_mark(headers: Any) -> str | None:
    """What a server takes in `If-Range`: a strong entity tag, or the time of the last change."""
    tag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if tag.startswith("W/") else tag


def _copy(response: Any, file: BinaryIO, have: int, progress: _Progress) -> int:
    """Append the body until it ends or breaks; the size of the file afterwards."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if response.headers.get("Content-Length") is None:
                raise ConnectionError(f"the connection broke after {have:,} bytes") from error
            chunk = b""
        if not chunk:
            file.flush()
            return have
        file.write(chunk)
        have += len(chunk)
        progress.show(have)


def _advice(origin: str, target: Path, file_hash: str | None, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    checksum = f" (checksum {file_hash})" if file_hash else ""
    return (
        f"Could not download {origin}: {code}{reason}. Check the connection, or fetch the file{checksum} on another "
        f"machine and put it here: {str(target)!r}"
    )


class _Progress:
    """One line of progress on a terminal; nothing elsewhere."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self.name = name
        self.total = total
        self.first = done
        self.start = time.monotonic()
        self.last = 0.0
        self.visible = sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if not self.visible or (now - self.last < 0.1 and done != self.total):
            return
        self.last = now
        speed = (done - self.first) / max(now - self.start, 1e-3)
        text = f"{self.name}: {done / 1e6:.1f} MB"
        if self.total:
            left = (self.total - done) / max(speed, 1.0)
            text = f"{self.name}: {done / self.total:4.0%} of {self.total / 1e6:.1f} MB, {left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{text}, {speed / 1e6:.1f} MB/s")
        sys.stderr.flush()

    def close(self) -> None:
        if self.visible and self.last:
            sys.stderr.write("\n")
