"""The base class whose config is its constructor's signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch

from triarch import config, registry
from triarch.serialization.objects import deserialize_keras_object, serialize_keras_object

Self = TypeVar("Self", bound="Configurable")


class ConfigurableMeta(type):
    """Gives the constructors of this package Python's numbers, truth values and texts where NumPy's were given.

    So they count, compare and go into files alike; arrays and tensors without axes do too.
    """

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor."""
        whole = inspect.signature(cls.__init__)  # type: ignore[misc]
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__module__.startswith("triarch."):
            args = tuple(map(plain_setting, args))
            kwargs = {name: plain_setting(value) for name, value in kwargs.items()}
        return super().__call__(*args, **kwargs)


def plain_setting(value: Any) -> Any:
    """A number, truth value or text of NumPy, an array or tensor without axes, or a list of some, as Python's."""
    is_array = type(value) in (np.ndarray, torch.Tensor) and value.ndim == 0 and str(value.dtype) != "object"
    if isinstance(value, np.generic) or (is_array and not getattr(value, "requires_grad", False)):
        return value.item()
    if type(value) in (list, tuple) and any(isinstance(entry, np.generic) for entry in value):
        return type(value)(map(plain_setting, value))
    return value


class Configurable(metaclass=ConfigurableMeta):
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
    if isinstance(default, (str, type(None))) and not isinstance(value, (str, bool, int, float, list, tuple, dict)):
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
