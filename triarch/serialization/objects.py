"""Objects to plain data and back, in the JSON form of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch

from triarch import registry
from triarch.tensors import as_array, dtype_name, torch_dtype


def serialize_keras_object(obj: Any) -> Any:
    """Plain JSON data for `obj`: numbers, strings, containers, arrays, triarch's and registered objects and functions.

    A lambda or local function raises ValueError: a file carries data, never code.
    """
    for kinds, write in _WRITERS:
        if isinstance(obj, kinds):
            return write(obj)
    if isinstance(obj, type):
        return {"module": obj.__module__, "class_name": "__class__", "config": registry.get_registered_name(obj)}
    return _serialize_function(obj) if registry.home_of(obj) else _serialize_instance(obj)


def _special(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": f"__{kind}__", "config": config}


def _serialize_sequence(sequence: Any) -> Any:
    items = [serialize_keras_object(item) for item in sequence]
    return tuple(items) if type(sequence) is tuple else items


def _serialize_function(function: Any) -> Any:
    if registry.home_of(function):
        return function.__name__
    name = registry.get_registered_name(function)
    if "<" in function.__qualname__ and name == function.__name__:
        raise ValueError(
            "A lambda or local function cannot be saved: files carry data, never code. Received: "
            f"{function.__qualname__!r}. Use a function of a module, decorated with "
            "`@triarch.saving.register_keras_serializable()`."
        )
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


def _serialize_instance(obj: Any) -> dict[str, Any]:
    if not hasattr(obj, "get_config"):
        raise TypeError(
            f"Cannot serialize an object of type {type(obj).__name__}: it is neither plain data nor has it a "
            f"`get_config` method. Received: {obj!r}"
        )
    home = registry.home_of(type(obj))
    data = {
        "module": home[0] if home else type(obj).__module__,
        "class_name": home[1] if home else type(obj).__name__,
        "config": serialize_keras_object(obj.get_config()),
        "registered_name": None if home else registry.get_registered_name(type(obj)),
    }
    for part in ("build_config", "compile_config"):
        content = getattr(obj, f"get_{part}", lambda: None)()
        if content is not None:
            data[part] = serialize_keras_object(content)
    return data


# How each kind of thing is written; the first kind that fits counts.
_WRITERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (np.generic, lambda number: number.item()),
    ((str, bool, int, float, type(None)), lambda plain: plain),
    ((list, tuple), _serialize_sequence),
    (dict, lambda items: {key: serialize_keras_object(value) for key, value in items.items()}),
    (bytes, lambda text: _special("bytes", value=text.decode())),
    (np.ndarray, lambda array: _special("numpy", value=array.tolist(), dtype=str(array.dtype))),
    (torch.Tensor, lambda tensor: _special("tensor", value=as_array(tensor).tolist(), dtype=dtype_name(tensor.dtype))),
    (torch.dtype, dtype_name),
    (torch.device, str),
    (type(Ellipsis), lambda _: _special("ellipsis")),
    (slice, lambda cut: _special("slice", start=cut.start, stop=cut.stop, step=cut.step)),
    (FunctionType, _serialize_function),
)


def deserialize_keras_object(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object that `serialize_keras_object` described; only registered names and `custom_objects` are ever used.

    Raises:
        ValueError: a lambda's byte code in the config (never run), or a class that is not registered.
    """
    if custom_objects:
        with registry.custom_object_scope(custom_objects):
            return deserialize_keras_object(config)
    if isinstance(config, (list, tuple)):
        return type(config)(map(deserialize_keras_object, config))
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value) for key, value in config.items()}

    class_name, inner = config["class_name"], config["config"]
    if class_name in _READERS:
        return _READERS[class_name](inner)
    if class_name in ("__lambda__", "__class__"):
        raise ValueError(
            f"The file holds a {class_name.strip('_')} that would have to run code from the file; this is refused. "
            f"Save the model with a registered function in its place. Received: class_name={class_name!r}"
        )
    if class_name == "function":
        return find_object(config.get("module"), inner, None)

    cls = find_object(config.get("module"), class_name, config.get("registered_name"))
    instance = cls.from_config(inner) if hasattr(cls, "from_config") else cls(**deserialize_keras_object(inner))
    build_config = config.get("build_config")
    if build_config and hasattr(instance, "build_from_config"):
        instance.build_from_config(build_config)
    if config.get("compile_config") and hasattr(instance, "compile_from_config"):
        instance.compile_from_config(config["compile_config"])
    return instance


# How what `_special` wrote is read.
_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "__bytes__": lambda inner: inner["value"].encode(),
    "__numpy__": lambda inner: np.array(inner["value"], dtype=inner["dtype"]),
    "__tensor__": lambda inner: torch.tensor(inner["value"], dtype=torch_dtype(inner["dtype"])),
    "__ellipsis__": lambda inner: Ellipsis,
    "__slice__": lambda inner: slice(inner["start"], inner["stop"], inner["step"]),
    "__tuple__": lambda inner: tuple(inner["value"]),
}


def find_object(module: str | None, name: str, registered_name: str | None) -> Any:
    """The registered class or function that a file calls `name`; nothing is ever imported on a file's word."""
    for spelling in (registered_name, name):
        custom = registry.get_registered_object(spelling) if spelling else None
        if custom is not None:
            return custom
    parts = (module or "").split(".")
    if parts[0] in ("keras", "triarch", "builtins"):
        # "keras.layers" is a family; Keras's private "keras.src.optimizers.adam" lies in "keras.optimizers".
        for family in (str(module), *(f"{parts[0]}.{part}" for part in parts[1:])):
            if registry.find(family, name) is not None:
                return registry.find(family, name)
        if registry.find(parts[0], name) is not None:
            return registry.find(parts[0], name)
    raise ValueError(
        f"The file refers to {name!r} of module {module!r}, which triarch does not know. If it is a class or function "
        "of yours, decorate it with `@triarch.saving.register_keras_serializable()` or pass it in `custom_objects`. "
        f"Received: registered_name={registered_name!r}"
    )
