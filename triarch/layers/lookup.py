"""Layers by name and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triarch import registry
from triarch.layers.base import Layer
from triarch.serialization import resolve, serialize_keras_object


def get(identifier: Any) -> Any:
    """The layer that a name, a config, a class or a layer itself stands for; None for None."""
    return resolve("keras.layers", identifier)


def serialize(layer: Layer) -> dict[str, Any]:
    """The layer as plain data, without its weights' values."""
    return serialize_keras_object(layer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer that `serialize` described."""
    with registry.custom_object_scope(custom_objects or {}):
        return resolve("keras.layers", config)
