"""The parts of a `.keras` file, read with bounds, and what to say about files that are something else."""

from __future__ import annotations

import io
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from triarch.saving.streams import Origin

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
ASSETS = "assets"  # the folder of what layers write into files of their own

_LARGEST_CONFIG = 1 << 28  # bytes
_UNCHECKED_SIZE = 1 << 26  # bytes
_LARGEST_EXPANSION = 100  # the format does not compress, and compressed weights shrink a little
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Archive(ABC):
    """A saved model: its parts by name."""

    origin: Origin
    names: list[str]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A part's bytes.

        Raises:
            ValueError: It is missing or damaged.
        """

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """A part's bytes, to read."""
        yield io.BytesIO(self.read(name))


class _Folder(Archive):
    """A `.keras` file unpacked in a folder."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.origin = origin
        self._folder = folder
        self.names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        with open(self._path(name), "rb") as file:
            yield file

    def _path(self, name: str) -> Path:
        if name not in self.names:
            raise ValueError(f"The model's folder has no {name!r}. Received: {self.origin.name!r}")
        return self._folder / name


class _Zip(Archive):
    """A `.keras` file."""

    def __init__(self, origin: Origin, archive: zipfile.ZipFile) -> None:
        self.origin = origin
        self._archive = archive
        self.names = [info.filename for info in archive.infolist() if not info.is_dir()]

    def read(self, name: str) -> bytes:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise ValueError(f"{_description_of_zip(self._archive, name)} Received: {self.origin.name!r}") from None
        allowed = max(_UNCHECKED_SIZE, _LARGEST_EXPANSION * info.compress_size)
        if info.file_size > (allowed if name != CONFIG else min(allowed, _LARGEST_CONFIG)):
            raise ValueError(
                f"The file's part {name!r} would fill {info.file_size:,} bytes with what is stored in "
                f"{info.compress_size:,}; this is refused. Received: {self.origin.name!r}"
            )
        try:
            return self._archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            raise ValueError(
                f"The file is damaged at its part {name!r}: {error}. Received: {self.origin.name!r}"
            ) from error


@contextmanager
def open_archive(origin: Origin) -> Iterator[Archive]:
    """A saved model, in a file, in a stream, or unpacked in a folder.

    Raises:
        ValueError: damaged or something else; the message says what it is and what to do.
        FileNotFoundError: there is nothing of this name.
    """
    path = origin.path
    if path is not None and path.is_dir() and (path / CONFIG).is_file():
        yield _Folder(origin, path)
        return
    if path is not None and not path.exists():
        raise FileNotFoundError(f"There is no such file. {_neighbours(path)}Received: {str(path)!r}")
    if path is not None and path.is_dir():
        raise ValueError(f"{_description_of_folder(path)} Received: {str(path)!r}")
    with origin.opened() as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{_description(origin)} Received: {origin.name!r}")
        with zipfile.ZipFile(file) as archive:
            yield _Zip(origin, archive)


@contextmanager
def open_weights(origin: Origin) -> Iterator[BinaryIO]:
    """What holds the weights of a `.keras` or `.weights.h5` file, or of a saved model's folder."""
    if (origin.path is None or origin.path.is_file()) and origin.starts_with(_HDF5_SIGNATURE):
        with origin.opened() as file:
            yield file
    else:
        with open_archive(origin) as archive, archive.opened(WEIGHTS) as file:
            yield file


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {str(path.parent)!r} does not exist either. "
    names = sorted(
        entry.name
        for entry in path.parent.iterdir()
        if entry.name.endswith((".keras", ".weights.h5")) and not entry.name.startswith(".")
    )
    return f"Files of models there: {', '.join(map(repr, names[:10]))}. " if names else ""


def _description_of_folder(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return "This is a TensorFlow SavedModel. Load it with TensorFlow and save it as a `.keras` file."
    return f"Expected a `.keras` file, but this is a folder without {CONFIG!r}."


def _description(origin: Origin) -> str:
    """What a file is that is no zip file, and what to do."""
    with origin.opened() as file:
        if not file.read(1):
            return "The file is empty."
    if origin.starts_with(_HDF5_SIGNATURE):
        if origin.path is None or origin.path.name.endswith(".weights.h5"):
            return "This is a file of weights only: make the model and call `model.load_weights(...)`."
        return (
            "This is an HDF5 file, the format of whole models before `.keras`. Load it with Keras and save it as a "
            "`.keras` file."
        )
    if origin.starts_with(b"PK\x03\x04"):
        return "The file is truncated: its end is missing. Copy or download it again."
    if origin.starts_with(b"\x80"):
        return (
            "This is a pickle, as `torch.save` once wrote it; a pickle can run code, so triarch never reads one. Load "
            "it with `torch.load(..., weights_only=True)` and give the values to `model.load_state_dict`."
        )
    return "This is neither a `.keras` file nor a `.weights.h5` file."


def _description_of_zip(archive: zipfile.ZipFile, missing: str) -> str:
    """What a zip file is that lacks a part of a `.keras` file."""
    names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return (
            "This is a PyTorch file. It holds a pickle, which can run code, so triarch never reads it. Load it with "
            "`torch.load(..., weights_only=True)` and give the values to `model.load_state_dict`."
        )
    if missing == WEIGHTS and CONFIG in names:
        return f"The file has a config but no {WEIGHTS!r}, so it is not whole. Save the model again."
    return f"This zip file is no `.keras` file: it has no {missing!r}. Its parts: {sorted(names)[:5]}."
