"""What the layers of a graph are called among torch's modules, and which of their names say nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from triarch import registry
from triarch.layers import InputLayer
from triarch.registry import AutomaticName

NAMED = "has_given_name"  # in files, of layers whose name looks otherwise


def module_names(layers: Iterable[Any]) -> dict[str, Any]:
    """The layers by names that are the same whenever the same program makes them.

    Given names are kept (but for points, which part torch's paths); layers without one are counted by their kind.
    """
    ordered = list(layers)
    names = {id(layer): _given(layer) for layer in ordered}
    taken = Counter(name for name in names.values() if name is not None)
    counts: Counter[str] = Counter()
    found: dict[str, Any] = {}
    for layer in ordered:
        name = names[id(layer)]
        if name is None or name in found:
            stem = name or _stem(layer)
            name = _counted(stem, counts)
            while name in taken or name in found:
                name = _counted(stem, counts)
        found[name] = layer
    return found


def _given(layer: Any) -> str | None:
    return None if isinstance(layer.name, AutomaticName) else str(layer.name).replace(".", "_")


def _stem(layer: Any) -> str:
    # Entrances that were made for a tensor within a graph are called by the layer that gave it.
    return registry.to_snake_case(InputLayer.__name__) if isinstance(layer, InputLayer) else layer.name.stem


def _counted(stem: str, counts: Counter[str]) -> str:
    count = counts[stem]
    counts[stem] += 1
    return f"{stem}_{count}" if count else stem


def _likely_name(name: str, class_name: str) -> str:
    """A name from a file, an automatic one if it looks so."""
    stem = registry.to_snake_case(class_name)
    return AutomaticName(name, stem) if re.fullmatch(rf"{re.escape(stem)}(_\d+)?", name) else name


def note_name(operation: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's entry in a file, which says whether its name was given where that cannot be told by the name."""
    name, likely = operation.name, _likely_name(str(operation.name), type(operation).__name__)
    stem = getattr(name, "stem", None)
    return dict(entry) if stem == getattr(likely, "stem", None) else {**entry, NAMED: stem or True}


def recall_name(operation: Any, entry: Mapping[str, Any]) -> None:
    """Let a layer know whether its name, which comes from a file, was given."""
    noted = entry.get(NAMED)
    if noted is None:
        operation.name = _likely_name(str(operation.name), type(operation).__name__)
    elif isinstance(noted, str):
        operation.name = AutomaticName(str(operation.name), noted)
