"""Files on disk and from the network: atomic writing, checked downloads, safe unpacking, texts and listings."""

from triarch.files.archives import extract_archive
from triarch.files.atomic import atomic_folder, atomic_write, mark_of, marks_of_writers
from triarch.files.checksums import ChecksumError, file_digest, matches, set_aside
from triarch.files.downloads import download
from triarch.files.full_disk import naming
from triarch.files.listing import Listing, is_left_behind, list_files, subfolders, with_suffix
from triarch.files.texts import read_text

__all__ = [
    "ChecksumError",
    "Listing",
    "atomic_folder",
    "atomic_write",
    "download",
    "extract_archive",
    "file_digest",
    "is_left_behind",
    "list_files",
    "mark_of",
    "marks_of_writers",
    "matches",
    "naming",
    "read_text",
    "set_aside",
    "subfolders",
    "with_suffix",
]
