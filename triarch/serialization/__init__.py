"""Objects to plain data and back; configs that come from signatures; names that stand for objects."""

from triarch.serialization.configurable import (
    Configurable,
    ConfigurableMeta,
    config_defaults,
    config_names,
    plain_setting,
)
from triarch.serialization.lookup import Lookup, resolve
from triarch.serialization.objects import deserialize_keras_object, find_object, serialize_keras_object

__all__ = [
    "Configurable",
    "ConfigurableMeta",
    "Lookup",
    "config_defaults",
    "config_names",
    "deserialize_keras_object",
    "find_object",
    "plain_setting",
    "resolve",
    "serialize_keras_object",
]
