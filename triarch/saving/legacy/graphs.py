"""The calls in a functional model's graph: Keras 2's lists `[layer, call, output, keywords]` as Keras 3's calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from triarch.saving.legacy import tables
from triarch.saving.legacy.functions import FUNCTION, function_call

_CONSTANT = "_CONSTANT_VALUE"


def calls(entry: Mapping[str, Any], names: set[Any], counted: set[Any]) -> list[Any]:
    """The calls of a layer.

    Args:
        names: Of all layers of the graph.
        counted: Those of layers whose calls Keras 2 counts from 1.

    Raises:
        ValueError: They are not of Keras 2's form.
    """
    return [
        _call(entry, node, names, counted) if isinstance(node, list) else node
        for node in entry.get("inbound_nodes") or []
    ]


def _call(entry: Mapping[str, Any], node: list[Any], names: set[Any], counted: set[Any]) -> dict[str, Any]:
    def tensor(address: list[Any]) -> Any:
        if address[0] == _CONSTANT:
            return address[2]
        name, call, index = address[:3]
        history = [name, call - (name in counted), index]
        return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}

    def in_keywords(value: Any) -> Any:
        """Keyword arguments, in which a list of a layer's name and two numbers is a tensor."""
        if isinstance(value, list):
            is_address = len(value) == 3 and type(value[0]) is str and value[0] in names and _are_integers(value[1:])
            return tensor(value) if is_address else [in_keywords(part) for part in value]
        if isinstance(value, dict):
            return {key: in_keywords(part) for key, part in value.items()}
        return value

    first, keywords = _first_argument(node, tensor)
    keywords = {name: in_keywords(value) for name, value in keywords.items() if value is not None}
    if FUNCTION in entry:
        return function_call(entry[FUNCTION], first, keywords)
    if isinstance(first, list) and len(first) == 1:
        first = first[0]
    if isinstance(first, list) and entry.get("class_name") in tables.WITH_STATES:
        first, keywords = first[0], {**keywords, "initial_state": first[1:]}
    return {"args": [first], "kwargs": keywords}


def _first_argument(node: Any, tensor: Callable[[list[Any]], Any]) -> tuple[Any, dict[str, Any]]:
    """The first argument of a call, nested as it was, and the keyword arguments, which stand beside each tensor."""
    if isinstance(node, dict):
        parts = {key: _first_argument(part, tensor) for key, part in node.items()}
        return {key: first for key, (first, _) in parts.items()}, _common(keywords for _, keywords in parts.values())
    if not isinstance(node, list) or not node:
        raise ValueError(f"The file's graph holds a call that cannot be read. Received: {str(node)[:80]}")
    if isinstance(node[0], str):
        if len(node) not in (3, 4) or (node[0] != _CONSTANT and not _are_integers(node[1:3])):
            raise ValueError(f"The file's graph holds a call that cannot be read. Received: {str(node)[:80]}")
        keywords = node[3] if len(node) == 4 else {}
        return tensor(node), dict(keywords) if isinstance(keywords, dict) else {}
    members = [_first_argument(part, tensor) for part in node]
    return [first for first, _ in members], _common(keywords for _, keywords in members)


def _common(keywords: Any) -> dict[str, Any]:
    return {name: value for each in keywords for name, value in each.items()}


def _are_integers(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)
