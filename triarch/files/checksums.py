"""Checksums of files, and what becomes of a file that does not have the right one."""

from __future__ import annotations

import hashlib
from pathlib import Path

_LENGTHS = {64: "sha256", 32: "md5"}  # hexadecimal digits -> algorithm


class ChecksumError(ValueError):
    """A file is not the one that was asked for."""


def algorithm_of(file_hash: str, hash_algorithm: str = "auto") -> str:
    """The algorithm that `file_hash` was made with; `"auto"` tells by its length."""
    algorithm = _LENGTHS.get(len(file_hash)) if hash_algorithm == "auto" else hash_algorithm
    if algorithm is None or _LENGTHS.get(len(file_hash)) != algorithm:
        raise ValueError(
            "Expected a checksum of 64 hexadecimal digits (SHA-256) or 32 (MD5) and hash_algorithm 'auto', 'sha256' or "
            f"'md5' to match. Received: file_hash={file_hash!r}, hash_algorithm={hash_algorithm!r}"
        )
    return algorithm


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def matches(path: Path, file_hash: str | None, hash_algorithm: str = "auto") -> bool:
    """Whether the file has this checksum; True where none is known."""
    if file_hash is None:
        return True
    return file_digest(path, algorithm_of(file_hash, hash_algorithm)) == file_hash.lower()


def set_aside(path: Path, known_as: Path | None = None) -> Path:
    """Rename a file that must not be used to the first free of `<known_as>.rejected`, `<known_as>.rejected-2`, ..."""
    name = (known_as or path).name
    kept = path.with_name(f"{name}.rejected")
    number = 2
    while kept.exists():
        kept = path.with_name(f"{name}.rejected-{number}")
        number += 1
    return path.rename(kept)
