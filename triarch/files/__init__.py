"""Files on disk and from the network: atomic writing, checked and resumable downloads, safe unpacking."""

from triarch.files.archives import extract_archive
from triarch.files.atomic import atomic_folder, atomic_write
from triarch.files.checksums import ChecksumError, file_digest, matches, set_aside
from triarch.files.downloads import download
from triarch.files.full_disk import naming

__all__ = [
    "ChecksumError",
    "atomic_folder",
    "atomic_write",
    "download",
    "extract_archive",
    "file_digest",
    "matches",
    "naming",
    "set_aside",
]
