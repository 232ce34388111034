"""Objects to plain data and back, in the JSON form of Keras 3; and the base class whose config is its signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch

from triarch import config, registry

Self = TypeVar("Self", bound="Configurable")

_PLAIN = (str, bool, int, float, type(None))


class Configurable:
    """An object whose config is its constructor's arguments, read back from the attributes of the same names.

    A subclass stores every argument under its own name and needs no `get_config` of its own. Arguments that go on to a
    base class through `**kwargs` belong to the config too.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data, so that `from_config` makes an equal object."""
        return {name: serialize_keras_object(value) for name, value in self._arguments()}

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        """Names and values that belong to the config, in its order."""
        cls: type = type(self)
        yield from self._stored(config_names(cls))

    def _stored(self, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        derived = type(self).get_config.__module__.startswith("triarch.")
        for name in names:
            if hasattr(self, name):
                yield name, getattr(self, name)
            elif derived:  # a `get_config` of the user's adds what is missing
                raise NotImplementedError(
                    f"{type(self).__name__} does not keep its argument `{name}`, so it cannot be saved or cloned. "
                    f"Set `self.{name} = {name}` in `__init__`, or write `get_config`."
                )

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """Make the object that `get_config` described."""
        return cls(**{name: deserialize_keras_object(value) for name, value in config.items()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._telling_arguments())})"

    def _telling_arguments(self) -> Iterator[str]:
        """The arguments that are not at their defaults, as they would be written."""
        cls: type = type(self)
        defaults = config_defaults(cls)
        for name in config_names(cls):
            value = getattr(self, name, None)
            if not _is_default(value, defaults[name]):
                yield f"{name}={value.__name__ if isinstance(value, FunctionType) else repr(value)}"


def _is_default(value: Any, default: Any) -> bool:
    if value is default or (default is None and value in (config.floatx(), config.image_data_format())):
        return True
    if isinstance(default, (str, type(None))) and not isinstance(value, (*_PLAIN, list, tuple, dict)):
        name = getattr(value, "__name__", type(value).__name__)
        return registry.to_snake_case(name) == (default or "linear")  # no activation is the linear one
    if isinstance(value, tuple) and isinstance(default, int):
        return set(value) == {default}
    return type(value) is type(default) and bool(value == default)


@cache
def config_names(cls: type, until: type | None = None) -> tuple[str, ...]:
    """Names of the arguments that `cls(...)` takes, those of base classes first where `**kwargs` passes them on.

    The arguments of `until` and of its bases are left out.
    """
    return tuple(dict.fromkeys(parameter.name for parameter in _config_parameters(cls, until)))


def _config_parameters(cls: type, until: type | None) -> list[inspect.Parameter]:
    found: list[inspect.Parameter] = []
    for base in cls.__mro__:
        if base is until:
            break
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        own = {parameter.name for parameter in found}
        passed_on = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in own]
        found = passed_on + found
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


@cache
def config_defaults(cls: type) -> dict[str, Any]:
    """The default of each argument that `cls(...)` takes; `inspect.Parameter.empty` for those that must be given."""
    return {parameter.name: parameter.default for parameter in _config_parameters(cls, None)}


def serialize_keras_object(obj: Any) -> Any:
    """Plain JSON data for `obj`: numbers, strings, containers, arrays, triarch's and registered objects and functions.

    A lambda or local function raises ValueError: a file carries data, never code.
    """
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, (list, tuple)):
        return type(obj)(map(serialize_keras_object, obj)) if type(obj) in (list, tuple) else list(obj)
    if isinstance(obj, dict):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    if isinstance(obj, (np.generic, torch.Size)):
        return obj.item() if isinstance(obj, np.generic) else list(obj)
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode()}}
    if isinstance(obj, (np.ndarray, torch.Tensor)):
        kind = "__numpy__" if isinstance(obj, np.ndarray) else "__tensor__"
        array = obj if isinstance(obj, np.ndarray) else obj.detach().cpu().numpy()
        return {"class_name": kind, "config": {"value": array.tolist(), "dtype": str(array.dtype)}}
    if isinstance(obj, (torch.dtype, torch.device)):
        return str(obj).removeprefix("torch.")
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, slice):
        return {"class_name": "__slice__", "config": {"start": obj.start, "stop": obj.stop, "step": obj.step}}
    if isinstance(obj, FunctionType) or (registry.home_of(obj) and not isinstance(obj, type)):
        return _serialize_function(obj)
    if isinstance(obj, type):
        return {"module": obj.__module__, "class_name": "__class__", "config": registry.get_registered_name(obj)}
    return _serialize_instance(obj)


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
    if class_name in _SPECIAL:
        return _SPECIAL[class_name](inner)
    if class_name in ("__lambda__", "__class__"):
        raise ValueError(
            f"The file holds a {class_name.strip('_')} that would have to run code from the file; this is refused. "
            "Save the model with a registered function in its place."
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


def _tensor(inner: Mapping[str, Any]) -> torch.Tensor:
    return torch.from_numpy(_array(inner))


def _array(inner: Mapping[str, Any]) -> np.ndarray:
    return np.array(inner["value"], dtype=inner["dtype"])


_SPECIAL: dict[str, Any] = {
    "__bytes__": lambda inner: inner["value"].encode(),
    "__numpy__": _array,
    "__tensor__": _tensor,
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
        "of yours, decorate it with `@triarch.saving.register_keras_serializable()` or pass it in `custom_objects`."
    )


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
