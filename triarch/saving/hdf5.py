"""Arrays in HDF5 files, at the paths where Keras has them; a reader that trusts nothing in the file."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import torch

from triarch.files import notes
from triarch.tensors import native

File = str | PathLike[str] | BinaryIO

_NUMBERS = "biufc"
_UNCHECKED_SIZE = 1 << 26  # bytes
_LARGEST_EXPANSION = 1000  # numbers that take this many times their size in the file are no weights


def _h5py() -> Any:
    import h5py  # always installed, but too slow to load for those who save nothing

    return h5py


class WeightsWriter:
    """Writes groups of arrays."""

    def __init__(self, file: Any) -> None:
        self._file = file
        if (note := notes.current_note()) is not None:
            file.attrs[notes.KEY] = note

    def write(self, path: str, name: str | None, groups: dict[str, dict[str, Any]]) -> None:
        """Write `groups` below `path`; groups without arrays are left out."""
        for group_name, values in groups.items():
            if not values:
                continue
            group = self._file.require_group(path or "/").require_group(group_name)
            if name is not None:
                group.attrs["name"] = name
            for key, value in values.items():
                _write_array(group, key, value)


def _write_array(group: Any, key: str, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype is torch.bfloat16:  # unknown to NumPy; Keras writes the bits and says so beside them
            bits = value.contiguous().view(torch.int16).numpy().view("V2")
            group.create_dataset(key, data=bits).attrs["dtype"] = "bfloat16"
            return
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        group.create_dataset(key, data=array.view("V2")).attrs["dtype"] = "bfloat16"
        return
    if array.dtype.kind not in _NUMBERS:
        raise ValueError(
            f"Only arrays of numbers can be saved. Received: dtype {array.dtype} for key {key!r} of {group.name!r}"
        )
    group.create_dataset(key, data=array)


class WeightsReader:
    """Reads groups of arrays; links, external and virtual data and anything but plain numbers are refused."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def arrays(self, path: str, group_name: str) -> dict[str, Any]:
        """The arrays of a group below `path`, not yet read, by key; empty where there is no such group.

        Raises:
            ValueError: the file is damaged or holds what no file of weights holds.
        """
        with _naming_damage():
            group = self._file
            for part in [*path.split("/"), group_name] if path else [group_name]:
                if not group.id.links.exists(part.encode()):
                    return {}
                group = _member(group, part, _h5py().Group)
            return {key: _checked(_member(group, key, _h5py().Dataset)) for key in group}


def read_array(dataset: Any) -> np.ndarray:
    """The numbers of an array that `WeightsReader.arrays` gave; bfloat16 comes as float32."""
    with _naming_damage():
        values = dataset[()]
    if _is_bfloat16(dataset):
        array = np.asarray(values)
        bits = array.view(np.uint16) if array.dtype.kind == "V" else native(array)
        return (bits.astype(np.uint32) << 16).view(np.float32).reshape(dataset.shape)
    return np.asarray(values)


def _is_bfloat16(dataset: Any) -> bool:
    """Whether these are bits of a type that HDF5 does not know, as it says beside them."""
    return dataset.attrs.get("dtype") == "bfloat16" and dataset.dtype.kind in "Viu" and dataset.dtype.itemsize == 2


def _member(group: Any, name: str, kind: type) -> Any:
    """What `group` has under `name`; a link is not followed, not even to see where it leads."""
    if group.id.links.get_info(name.encode()).type != _h5py().h5l.TYPE_HARD:
        raise ValueError(f"There is a link to other data at {group.name}/{name}; this is refused.")
    member = group[name]
    if not isinstance(member, kind):
        raise ValueError(f"Expected a {kind.__name__} at {member.name!r}. Received: a {type(member).__name__}")
    return member


def _checked(dataset: Any) -> Any:
    if dataset.shape is None or dataset.external or dataset.is_virtual:
        raise ValueError(f"The numbers of {dataset.name!r} are not in the file; this is refused.")
    if dataset.dtype.kind not in _NUMBERS and not _is_bfloat16(dataset):
        raise ValueError(f"Expected numbers in {dataset.name!r}; nothing else is read. Received: dtype {dataset.dtype}")
    size, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if size > max(_UNCHECKED_SIZE, _LARGEST_EXPANSION * stored):
        raise ValueError(
            f"{dataset.name!r} would fill {size:,} bytes with what is stored in {stored:,}; this is refused."
        )
    return dataset


@contextmanager
def _naming_damage() -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, RuntimeError, UnicodeError) as error:
        raise ValueError(f"The file of weights is damaged: {error}") from error


class _Resilient(io.RawIOBase):
    """A file in HDF5's hands: an error of writing is kept and told when HDF5, which none survives, has closed it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def _tried(self, method: Callable[..., Any], *args: Any) -> Any:
        try:
            return None if self._error else method(*args)
        except OSError as error:
            self._error = error

    def write(self, data: Any) -> int:
        self._tried(self._file.write, data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        self._tried(self._file.truncate, size)
        return size or 0

    def flush(self) -> None:
        self._tried(self._file.flush)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._tried(self._file.seek, offset, whence) or 0

    def tell(self) -> int:
        return self._file.tell()

    def tell_error(self) -> None:
        """Raise what was kept."""
        if self._error is not None:
            raise self._error


@contextmanager
def open_writer(file: BinaryIO) -> Iterator[WeightsWriter]:
    """A writer of a new HDF5 file in an empty file object.

    Raises:
        OSError: There is no room.
    """
    resilient = _Resilient(file)
    try:
        with _h5py().File(resilient, "w") as h5:
            yield WeightsWriter(h5)
    finally:
        resilient.tell_error()


@contextmanager
def open_reader(file: File) -> Iterator[WeightsReader]:
    """A reader of the HDF5 file at a path or in a binary file object.

    Raises:
        ValueError: the file is damaged, or of the format before Keras 3.
    """
    with _naming_damage():
        h5 = _h5py().File(file, "r")
    with h5:
        if "layer_names" in h5.attrs or h5.id.links.exists(b"model_weights"):
            raise ValueError(
                "This is an HDF5 file of Keras before version 3. Load it with Keras and save it as a `.keras` or "
                "`.weights.h5` file."
            )
        yield WeightsReader(h5)


@contextmanager
def open_legacy_reader(file: File) -> Iterator[Iterator[tuple[str, list[np.ndarray]]]]:
    """The layers with their arrays in an HDF5 file of the format before Keras 3.

    Raises:
        ValueError: the file is damaged, or of another format.
    """
    with _naming_damage():
        h5 = _h5py().File(file, "r")
    with h5:
        root = _member(h5, "model_weights", _h5py().Group) if h5.id.links.exists(b"model_weights") else h5
        if "layer_names" not in root.attrs:
            raise ValueError("The file is not of the format before Keras 3: it does not say which layers it holds.")
        yield _legacy_layers(root)


def _legacy_layers(root: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
    with _naming_damage():
        for name in _texts(root.attrs["layer_names"]):
            group = _member(root, name, _h5py().Group)
            arrays = []
            for path in _texts(group.attrs["weight_names"]):
                holder = group
                *folders, key = path.split("/")
                for folder in folders:
                    holder = _member(holder, folder, _h5py().Group)
                arrays.append(read_array(_checked(_member(holder, key, _h5py().Dataset))))
            yield name, arrays


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
