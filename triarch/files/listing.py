"""What folders of data hold, without what systems and programs leave in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import PurePath
from typing import NamedTuple

# Of Windows, macOS, disks, and network storage, in small letters; and what is hidden by a point before its name.
_LEFT_BEHIND = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("__macosx", "icon\r", "lost+found", "@eadir"),
    }
)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's own, as `._a.png` and `Thumbs.db` are."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


class Listing(NamedTuple):
    """Paths of files, a folder after the other: of the kind that was asked for, of others, and left behind."""

    files: list[str]
    others: list[str]
    left_behind: list[str]


def subfolders(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the folders in a folder, in alphabetical order, without those that are left behind."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not is_left_behind(entry.name))


def with_suffix(*suffixes: str) -> Callable[[str], bool]:
    """Whether a file's name ends so, in small or capital letters."""
    return lambda path: path.lower().endswith(suffixes)


def list_files(folder: str | os.PathLike[str], is_wanted: Callable[[str], bool], follow_links: bool = False) -> Listing:
    """All files below a folder, by whether they are wanted; where they are left behind, or in a folder that is.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = Listing([], [], [])
    root = os.fspath(folder)
    for place, _, names in sorted(os.walk(root, onerror=refuse, followlinks=follow_links), key=lambda step: step[0]):
        is_hidden = any(map(is_left_behind, PurePath(os.path.relpath(place, root)).parts))
        for name in sorted(names):
            path = os.path.join(place, name)
            if is_hidden or is_left_behind(name):
                found.left_behind.append(path)
            else:
                (found.files if is_wanted(path) else found.others).append(path)
    return found
