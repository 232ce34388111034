"""Functions as operations of a graph, in Keras's form of JSON where Keras has them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triarch.graph import Function, functions
from triarch.ops import table
from triarch.serialization import deserialize_keras_object, serialize_keras_object

_MODULE, _CLASS = "triarch.graph", "Function"


def call_arguments(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a call's entry holds; what Keras keeps in an operation's config is left out."""
    entry = table.entry_of(operation.function) if isinstance(operation, Function) else None
    if entry is None:
        return list(args), dict(kwargs)
    return table.split_arguments(entry, args, kwargs)[1], {}


def write_function(operation: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The function as plain data.

    Raises:
        ValueError: It is not one of those that a file may name.
    """
    entry = table.entry_of(operation.function)
    if entry is not None:
        config = {"name": operation.name, **table.split_arguments(entry, args, kwargs)[0]}
        return {
            "module": entry.module,
            "class_name": entry.class_name,
            "config": serialize_keras_object(config),
            "registered_name": entry.class_name,
        }
    if not functions.is_pure(operation.label):
        raise ValueError(
            f"The graph holds a function that a file cannot name: {operation.label}. Compute it in a registered layer."
        )
    config = {"function": operation.label, "name": operation.name}
    return {"module": _MODULE, "class_name": _CLASS, "config": config, "registered_name": None}


def read_function(data: Mapping[str, Any]) -> Function | None:
    """The function that `write_function`, or Keras, described; None for what is a layer."""
    module, class_name = str(data.get("module")), str(data.get("class_name"))
    if (module, class_name) == (_MODULE, _CLASS):
        label = data["config"]["function"]
        return Function(functions.find(label), label, data["config"]["name"])
    is_by_name = module == table.FAMILY
    if not is_by_name and not module.startswith("keras.src.ops."):
        return None
    entry = table.entry_named(class_name) if is_by_name else table.entry_of_class(module, class_name)
    if entry is None:
        raise ValueError(f"The file's graph holds Keras's operation {class_name!r}, which triarch does not have.")
    config = deserialize_keras_object(data["config"])
    return Function(
        entry.function,
        f"keras.ops.{entry.name}",
        config.get("name", data.get("name")),
        {name: config[name] for name in entry.config if name in config},
    )
