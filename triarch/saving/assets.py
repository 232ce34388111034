"""Assets: what layers write into files of their own beside the weights, such as vocabularies; in a folder for each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from triarch.saving.archive import ASSETS, Archive
from triarch.saving.saveables import saveables


@contextmanager
def collected_assets(model: Any) -> Iterator[Path]:
    """A temporary folder with what the layers' `save_assets` wrote, at the layers' paths."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for saveable in saveables(model):
            if hasattr(saveable.owner, "save_assets"):
                place = folder / saveable.path
                place.mkdir(parents=True, exist_ok=True)
                saveable.owner.save_assets(str(place))
        yield folder


def files_in(folder: Path) -> list[tuple[Path, str]]:
    """Each file below the folder, with its name in an archive."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(path, f"{ASSETS}/{path.relative_to(folder).as_posix()}") for path in found]


def read_assets(model: Any, archive: Archive) -> None:
    """Give each layer that has `load_assets` the folder with its files, if there are any of it.

    Raises:
        ValueError: The archive is damaged, or names files outside of its folder.
    """
    names = {name.replace("\\", "/"): name for name in archive.names}  # as once written on Windows
    names = {plain: name for plain, name in names.items() if plain.startswith(f"{ASSETS}/")}
    if not names:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for plain, name in names.items():
            if ".." in PurePosixPath(plain).parts or "\0" in plain:
                raise ValueError(
                    f"The file holds a path outside its folder, {name!r}. Received: {archive.origin.name!r}"
                )
            place = Path(scratch) / plain
            content = archive.read(name)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise ValueError(
                    f"The file's {name!r} is a file and a folder at once. Received: {archive.origin.name!r}"
                ) from error
        for saveable in saveables(model):
            folder = Path(scratch) / ASSETS / saveable.path
            if hasattr(saveable.owner, "load_assets") and folder.is_dir():
                _load(saveable.title, saveable.owner, folder, archive)


def _load(title: str, owner: Any, folder: Path, archive: Archive) -> None:
    try:
        owner.load_assets(str(folder))
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"The assets of {title} cannot be read ({type(error).__name__}): {error}. Received: {archive.origin.name!r}"
        ) from error
