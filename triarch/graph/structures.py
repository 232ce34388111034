"""Nested lists, tuples and dicts, in Keras's order: the entries of a dict by their sorted keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(structure: Any) -> list[Any]:
    """What the lists, tuples and dicts of a structure hold."""
    return list(_walk(structure))


def _walk(structure: Any) -> Iterator[Any]:
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from _walk(structure[key])
    elif isinstance(structure, (list, tuple)):
        for entry in structure:
            yield from _walk(entry)
    else:
        yield structure


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with `function` of each leaf, called in the order of `leaves`."""
    if isinstance(structure, dict):
        mapped = {key: map_structure(function, structure[key]) for key in sorted(structure)}
        return {key: mapped[key] for key in structure}
    if isinstance(structure, (list, tuple)):
        entries = [map_structure(function, entry) for entry in structure]
        if isinstance(structure, list):
            return entries
        if hasattr(structure, "n_sequence_fields"):  # what torch's functions of several results return
            return type(structure)(entries)
        return type(structure)(*entries) if hasattr(structure, "_fields") else tuple(entries)
    return function(structure)
