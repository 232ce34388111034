"""HDF5 files as Keras 1 and 2 lay them out, and Keras 3 still does for `.h5`.

The weights of a layer are arrays in a group of its name; attributes list the layers, and the arrays of each, in their
order. A whole model has these groups in `model_weights`, and beside it the optimizer's arrays and, as attributes, texts
of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from triarch.saving.hdf5 import File, checked, h5py_module, member_of, naming_damage

MODEL, TRAINING, VERSION, BACKEND = "model_config", "training_config", "keras_version", "backend"
LAYERS, WEIGHTS = "layer_names", "weight_names"
WEIGHTS_GROUP, OPTIMIZER_GROUP, TOP_LEVEL_GROUP = "model_weights", "optimizer_weights", "top_level_model_weights"

_LARGEST_TEXT = 1 << 28  # bytes


class Arrays(NamedTuple):
    """What a layer, or the optimizer, has in the file: names, and arrays that are not read yet."""

    owner: str
    names: list[str]
    arrays: list[Any]


class Layout:
    """A reader of such a file; it trusts nothing in it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._root = self._group(file, WEIGHTS_GROUP) or file

    @property
    def is_known(self) -> bool:
        """Whether the file has this layout."""
        with naming_damage():
            return WEIGHTS_GROUP in self._file or LAYERS in self._root.attrs or f"{LAYERS}0" in self._root.attrs

    @property
    def is_whole(self) -> bool:
        """Whether the file describes a model, too."""
        with naming_damage():
            return MODEL in self._file.attrs

    @property
    def keras_version(self) -> str | None:
        """The version of Keras that wrote it, if it says so."""
        with naming_damage():
            for holder in (self._root, self._file):
                if VERSION in holder.attrs:
                    return _text(holder.attrs[VERSION])
        return None

    def description(self, name: str) -> Any:
        """The data of an attribute of JSON; None where there is none.

        Raises:
            ValueError: It is no JSON.
        """
        with naming_damage():
            text = self._file.attrs.get(name)
            text = None if text is None else _text(text)
        try:
            if text is not None and len(text) > _LARGEST_TEXT:
                raise ValueError(f"it has {len(text):,} characters")
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"The file's {name!r} is damaged: {error}.") from error

    def layers(self) -> list[Arrays]:
        """The layers with weights, in their order."""
        with naming_damage():
            found = []
            for name in _texts(self._root, LAYERS):
                group = self._group(self._root, name)
                if group is None:
                    raise ValueError(f"The file names a layer that it does not hold. Received: {name!r}")
                found.append(_arrays(name, group))
            return [layer for layer in found if layer.arrays]

    def top_level(self) -> Arrays | None:
        """The weights of the model itself; None where the file does not speak of them."""
        with naming_damage():
            group = self._group(self._root, TOP_LEVEL_GROUP)
            return None if group is None else _arrays(TOP_LEVEL_GROUP, group)

    def optimizer(self) -> Arrays | None:
        """The state of the optimizer; None where the file has none."""
        with naming_damage():
            group = self._group(self._file, OPTIMIZER_GROUP)
            return None if group is None else _arrays(OPTIMIZER_GROUP, group)

    @staticmethod
    def _group(holder: Any, path: str) -> Any:
        """The group at a path, whose links are not followed; None where there is none."""
        for part in path.split("/"):
            if not holder.id.links.exists(part.encode()):
                return None
            holder = member_of(holder, part, h5py_module().Group)
        return holder


def _arrays(owner: str, group: Any) -> Arrays:
    names, arrays = _texts(group, WEIGHTS), []
    for path in names:
        holder = group
        *folders, key = path.strip("/").split("/")
        for folder in folders:
            holder = member_of(holder, folder, h5py_module().Group)
        arrays.append(checked(member_of(holder, key, h5py_module().Dataset)))
    return Arrays(owner, names, arrays)


def _texts(holder: Any, name: str) -> list[str]:
    """A list of texts in an attribute, or in several, as HDF5 keeps no long ones."""
    if name in holder.attrs:
        return _list_of_texts(holder.attrs[name])
    found: list[str] = []
    for number in count():
        if f"{name}{number}" not in holder.attrs:
            return found
        found += _list_of_texts(holder.attrs[f"{name}{number}"])
    return found


def _list_of_texts(values: Any) -> list[str]:
    return [_text(value) for value in values] if len(values) else []


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return str(value)
    raise ValueError(f"Expected a text in an attribute. Received: {value!r}")


@contextmanager
def open_layout(file: File) -> Iterator[Layout]:
    """A reader of the HDF5 file at a path or in a binary file object.

    Raises:
        ValueError: The file is damaged.
    """
    with naming_damage():
        h5 = h5py_module().File(file, "r")
    with h5:
        yield Layout(h5)
