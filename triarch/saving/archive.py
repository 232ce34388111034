"""The parts of a `.keras` file, read with bounds, and what to say about files that are something else."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triarch.saving.hdf5 import File

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"

_LARGEST_CONFIG = 1 << 28  # bytes
_UNCHECKED_SIZE = 1 << 26  # bytes
_LARGEST_EXPANSION = 100  # the format does not compress, and compressed weights shrink a little
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read_archive(path: Path) -> tuple[bytes, File]:
    """The bytes of the config, and a file with the weights, of a `.keras` file or of such a file unpacked in a folder.

    Raises:
        ValueError: damaged or something else; the message says what it is and what to do.
        FileNotFoundError: there is nothing of this name.
    """
    if path.is_dir() and (path / CONFIG).is_file():
        if not (path / WEIGHTS).is_file():
            raise ValueError(f"The model's folder has no {WEIGHTS!r}. Received: {str(path)!r}")
        return (path / CONFIG).read_bytes(), path / WEIGHTS
    with _open_zip(path) as archive:
        return _member(archive, CONFIG, path, _LARGEST_CONFIG), io.BytesIO(_member(archive, WEIGHTS, path))


def keras_version(path: Path) -> str | None:
    """The version of Keras that the metadata of such a file name; None where they name none."""
    try:
        if path.is_dir():
            text = (path / METADATA).read_bytes()
        else:
            with _open_zip(path) as archive:
                text = _member(archive, METADATA, path, _LARGEST_CONFIG)
        version = json.loads(text).get("keras_version")
    except (ValueError, OSError, AttributeError, RecursionError):
        return None  # nothing depends on them but how old words are understood
    return version if isinstance(version, str) else None


def is_hdf5(path: Path) -> bool:
    """Whether it is an HDF5 file."""
    return path.is_file() and _starts_with(path, _HDF5_SIGNATURE)


@contextmanager
def open_weights(path: Path) -> Iterator[File]:
    """What holds the weights of a `.keras` or `.weights.h5` file, or of a saved model's folder."""
    if path.is_dir() and (path / WEIGHTS).is_file():
        yield path / WEIGHTS
    elif is_hdf5(path):
        with open(path, "rb") as file:
            yield file
    else:
        with _open_zip(path) as archive:
            yield io.BytesIO(_member(archive, WEIGHTS, path))


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.exists():
        raise FileNotFoundError(f"There is no such file. {_neighbours(path)}Received: {str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{_description(path)} Received: {str(path)!r}")
    with zipfile.ZipFile(path) as archive:
        yield archive


def _member(archive: zipfile.ZipFile, name: str, path: Path, limit: int | None = None) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{_description_of_zip(archive, name)} Received: {str(path)!r}") from None
    allowed = max(_UNCHECKED_SIZE, _LARGEST_EXPANSION * info.compress_size)
    if info.file_size > min(allowed, limit or allowed):
        raise ValueError(
            f"The file's part {name!r} would fill {info.file_size:,} bytes with what is stored in "
            f"{info.compress_size:,}; this is refused. Received: {str(path)!r}"
        )
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise ValueError(f"The file is damaged at its part {name!r}: {error}. Received: {str(path)!r}") from error


def _starts_with(path: Path, signature: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(signature)) == signature


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {str(path.parent)!r} does not exist either. "
    names = sorted(
        entry.name
        for entry in path.parent.iterdir()
        if entry.name.endswith((".keras", ".h5", ".hdf5")) and not entry.name.startswith(".")
    )
    return f"Files of models there: {', '.join(map(repr, names[:10]))}. " if names else ""


def _description(path: Path) -> str:
    """What a file is that is no zip file, and what to do."""
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            return "This is a TensorFlow SavedModel. Load it with TensorFlow and save it as a `.keras` file."
        return f"Expected a `.keras` file, but this is a folder without {CONFIG!r}."
    if path.stat().st_size == 0:
        return "The file is empty."
    if _starts_with(path, b"PK\x03\x04"):
        return "The file is truncated: its end is missing. Copy or download it again."
    if _starts_with(path, b"\x80"):
        return (
            "This is a pickle, as `torch.save` once wrote it; a pickle can run code, so triarch never reads one. Load "
            "it with `torch.load(..., weights_only=True)` and give the values to `model.load_state_dict`."
        )
    return "This is neither a `.keras` file nor an HDF5 file, such as `.h5` and `.weights.h5`."


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
