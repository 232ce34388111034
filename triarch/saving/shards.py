"""Weights in several files, none too large, with an index that says which arrays are in which: Keras's sharded form."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from triarch.files import atomic_write
from triarch.saving.hdf5 import WeightsReader, open_reader, open_writer

SHARD_INDEX = ".weights.json"

_LARGEST_INDEX = 1 << 28  # bytes
_GIBIBYTE = 1 << 30


class _Entry(NamedTuple):
    """An array, and where it goes."""

    path: str
    name: str | None
    group: str
    key: str
    value: Any


class ShardsWriter:
    """Distributes arrays over shards; `finish` writes them.

    Args:
        path: Of the index.
        max_shard_size: Of the arrays in a shard, in GiB.
    """

    def __init__(self, path: Path, max_shard_size: float) -> None:
        self._path = path
        self._limit = max_shard_size * _GIBIBYTE
        self._shards: list[list[_Entry]] = [[]]
        self._size, self._total = 0, 0  # of the last shard and of all, in bytes

    def write(self, path: str, name: str | None, groups: dict[str, dict[str, Any]]) -> None:
        """Note `groups` below `path`.

        Raises:
            ValueError: An array is larger than a shard.
        """
        for group, values in groups.items():
            for key, value in values.items():
                size = value.nbytes if isinstance(value, (torch.Tensor, np.ndarray)) else np.asarray(value).nbytes
                if size > self._limit:
                    raise ValueError(
                        f"Weight {key} of {path or 'the model'!r} has {size:,} bytes, more than a whole shard "
                        f"({self._limit:,.0f}). Let `max_shard_size` be larger. Nothing was written."
                    )
                if self._size + size > self._limit:
                    self._shards.append([])
                    self._size = 0
                self._shards[-1].append(_Entry(path, name, group, key, value))
                self._size += size
                self._total += size

    def finish(self) -> None:
        """Write the shards, then the index, then remove the shards of an earlier index of this name.

        As long as the earlier index is there, so are its shards: new ones get other names.
        """
        earlier = _shards_of(self._path) if self._path.exists() else set()
        names = self._free_names()
        with ExitStack() as stack:
            index = stack.enter_context(atomic_write(self._path))
            for name, entries in zip(names, self._shards, strict=True):
                temporary = stack.enter_context(atomic_write(self._path.with_name(name)))
                with open(temporary, "w+b") as file, open_writer(file) as writer:
                    for entry in entries:
                        writer.write(entry.path, entry.name, {entry.group: {entry.key: entry.value}})
            index.write_text(json.dumps(self._index(names), indent=4))
        for name in filter(self._is_own, earlier - set(names)):
            _remove(self._path.with_name(name), is_first=name == _name(self._path, 0))

    def _free_names(self) -> list[str]:
        """Names of files that are not there; the usual ones, if possible."""
        mark = ""
        while True:
            names = [_name(self._path, number, mark) for number in range(len(self._shards))]
            if not any(self._path.with_name(name).exists() for name in names):
                if mark and not self._path.with_name(_name(self._path, 0)).exists():
                    names[0] = _name(self._path, 0)
                return names
            mark = f"_{secrets.token_hex(3)}"

    def _is_own(self, name: str) -> bool:
        """Whether an earlier `finish` gave a file this name; an index may have come from elsewhere."""
        base = re.escape(self._path.name.removesuffix(SHARD_INDEX))
        return re.fullmatch(rf"{base}(_[0-9a-f]{{6}})?_\d{{5}}\.weights\.h5", name) is not None

    def _index(self, names: list[str]) -> dict[str, Any]:
        """Keras's form: a path has the name of its shard, or a list of them where its arrays are in several."""
        found: dict[str, list[str]] = {}
        for name, entries in zip(names, self._shards, strict=True):
            for entry in entries:
                places = found.setdefault(_address(entry.path, entry.group), [])
                if name not in places:
                    places.append(name)
        weight_map = {address: places[0] if len(places) == 1 else places for address, places in found.items()}
        return {"metadata": {"total_size": self._total}, "weight_map": weight_map}


class ShardsReader:
    """Reads arrays from whichever shards hold them."""

    def __init__(self, places: dict[str, list[str]], readers: dict[str, WeightsReader]) -> None:
        self._places = places
        self._readers = readers

    def arrays(self, path: str, group_name: str) -> dict[str, Any]:
        """The arrays of a group below `path`, not yet read, by key; empty where there is no such group.

        Raises:
            ValueError: a shard is damaged or holds what no file of weights holds.
        """
        found: dict[str, Any] = {}
        for name in self._places.get(_address(path, group_name), []):
            found |= self._readers[name].arrays(path, group_name)
        return found


@contextmanager
def open_shards(path: Path) -> Iterator[ShardsReader]:
    """A reader of the weights whose index is the file `path`.

    Raises:
        ValueError: the index or a shard is missing or damaged.
        FileNotFoundError: there is no index.
    """
    places = _places(path)
    with ExitStack() as stack:
        readers = {}
        for name in sorted({name for names in places.values() for name in names}):
            shard = path.with_name(name)
            if not shard.is_file():
                raise ValueError(f"{str(path)!r} has a part of its weights in {name!r}, which is not there.")
            file = stack.enter_context(open(shard, "rb"))
            try:
                readers[name] = stack.enter_context(open_reader(file))
            except ValueError as error:
                raise ValueError(f"The weights in {str(shard)!r} were not loaded. {error}") from error
        yield ShardsReader(places, readers)


def _places(path: Path) -> dict[str, list[str]]:
    """The names of shards of each group of arrays."""
    if not path.exists():
        raise FileNotFoundError(f"There is no such file. Received: {str(path)!r}")
    if path.stat().st_size > _LARGEST_INDEX:
        raise ValueError(f"The file is too large for an index of weights. Received: {str(path)!r}")
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        places = {str(key): [names] if isinstance(names, str) else list(names) for key, names in weight_map.items()}
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"The file is no index of weights: {error}. Received: {str(path)!r}") from error
    for name in (name for names in places.values() for name in names):
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]+\.weights\.h5", name):
            raise ValueError(f"Shards are files of weights beside their index {str(path)!r}. Received: {name!r}")
    return places


def _address(path: str, group: str) -> str:
    return f"/{path}/{group}" if path else f"/{group}"


def _name(path: Path, number: int, mark: str = "") -> str:
    return f"{path.name.removesuffix(SHARD_INDEX)}{mark}_{number:05}.weights.h5"


def _shards_of(path: Path) -> set[str]:
    """The shards of an index that is there; none where it is damaged."""
    with suppress(ValueError):
        return {name for names in _places(path).values() for name in names}
    return set()


def _remove(shard: Path, is_first: bool) -> None:
    """Remove a shard that no index names any more; Keras wants the first to be there, and opens it in any case."""
    if is_first:
        with atomic_write(shard) as temporary, open(temporary, "w+b") as file, open_writer(file):
            pass
    else:
        shard.unlink(missing_ok=True)
