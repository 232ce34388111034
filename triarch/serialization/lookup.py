"""What a user's argument stands for: a member of a family by its name, config or class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triarch import registry
from triarch.serialization.objects import deserialize_keras_object, serialize_keras_object


def resolve(family: str, identifier: Any) -> Any:
    """What a user's argument stands for in `family`: a name, a config, a class, an instance, a function or None.

    Names of classes and classes give an instance made with default arguments; names of functions give the function.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize_keras_object({"module": family, **identifier})
    if isinstance(identifier, str):
        identifier = registry.lookup(family, identifier)
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier) or hasattr(identifier, "get_config"):
        return identifier
    raise TypeError(
        f"Expected the name of a {registry.kind_of(family)}, an instance, a function or a config. "
        f"Received: {identifier!r} of type {type(identifier).__name__}"
    )


class Lookup:
    """What every family offers its users: its members by name (`get`), as plain data (`serialize`) and back."""

    def __init__(self, family: str) -> None:
        self._family = family

    def get(self, identifier: Any) -> Any:
        """What a name, class, config, function or instance stands for; None for None."""
        return resolve(self._family, identifier)

    def serialize(self, member: Any) -> Any:
        """The member as plain data."""
        return serialize_keras_object(member)

    def deserialize(self, config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The member that `serialize` described."""
        with registry.custom_object_scope(custom_objects or {}):
            return resolve(self._family, config)
