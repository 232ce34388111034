"""Where files of weights have what, when it is not where Keras 3 puts it.

Keras 2.12 - 2.15 wrote such files too: layers lie in `_layer_checkpoint_dependencies`, and their numbers have gaps,
since layers with weights were counted twice; names of classes were put into snake case in another way. On Windows a
path was the name of one group, with backslashes in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

VARIABLES = "vars"
_LAYERS, _OLD_LAYERS = "layers", "_layer_checkpoint_dependencies"
_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?$")


@dataclass
class _Place:
    """A part of a path, with what lies below it; `location` are the names of the groups that lead to its variables."""

    location: tuple[str, ...] | None = None
    parts: dict[str, _Place] = field(default_factory=dict)


class OldPaths:
    """What an HDF5 file has instead of the paths of Keras 3."""

    def __init__(self, file: Any) -> None:
        names: list[str] = []
        file.visit(names.append)  # follows no links
        self._root = _Place()
        for name in names:
            groups = tuple(name.split("/"))
            place = self._root
            for part in name.replace("\\", "/").split("/"):
                place = place.parts.setdefault(part, _Place())
            place.location = groups
        self._cache: dict[str, tuple[str, ...] | None] = {}

    def find(self, path: str) -> tuple[str, ...] | None:
        """The names of the groups that lead to `path`; None where nothing corresponds to it."""
        place: _Place | None = self._root
        for part in path.split("/"):
            place = None if place is None else _below(place, part)
        return None if place is None else place.location or _leading_to_variables(place)


def _leading_to_variables(place: _Place) -> tuple[str, ...] | None:
    """On Windows only whole paths are groups, so a place itself may be none."""
    variables = place.parts.get(VARIABLES)
    return variables.location[:-1] if variables is not None and variables.location else None


def _below(place: _Place, part: str) -> _Place | None:
    if part == _LAYERS and _OLD_LAYERS in place.parts:
        return _Numbered(parts=place.parts[_OLD_LAYERS].parts)
    if isinstance(place, _Numbered):
        return place.ranked(part)
    if part in place.parts:
        return place.parts[part]
    return next((found for name, found in place.parts.items() if _plain(name) == _plain(part)), None)


class _Numbered(_Place):
    """Layers whose numbers have gaps: those of a class follow each other in the order of their numbers."""

    def ranked(self, part: str) -> _Place | None:
        """The layer whose place among those of its class is the number in `part`."""
        kind, number = _parts_of(part)
        alike = sorted((_parts_of(name)[1], name) for name in self.parts if _parts_of(name)[0] == kind)
        return self.parts[alike[number][1]] if number < len(alike) else None


def _parts_of(name: str) -> tuple[str, int]:
    """`"dense_2"` -> `("dense", 2)`; a first one has no number."""
    kind, number = _NUMBERED.match(name).groups()  # type: ignore[union-attr]
    return _plain(kind), int(number or 0)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
