"""The table of operations: each a function with Keras's name and arguments over torch, on tensors and symbolic ones."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from triarch import registry
from triarch.graph import Function, symbols_in
from triarch.tensors import as_tensor

FAMILY = "keras.ops"
F = TypeVar("F", bound=Callable[..., Any])


class Entry(NamedTuple):
    """How Keras's files describe a call: some arguments are the operation's config, the others its inputs."""

    function: Callable[..., Any]
    name: str
    module: str
    class_name: str
    config: tuple[str, ...]


_entries: dict[Callable[..., Any], Entry] = {}
_of_class: dict[str, Entry] = {}


def op(module: str, config: Sequence[str] | None = None, class_name: str | None = None) -> Callable[[F], F]:
    """Decorator: enter a function into the table; on symbolic tensors its call is recorded.

    Args:
        module: Keras's module of its class.
        config: The arguments that Keras's class takes when it is made; default: those with a default.
        class_name: Default: the function's name in camel case.
    """

    def decorate(function: F) -> F:
        parameters = inspect.signature(function).parameters.values()
        own = tuple(p.name for p in parameters if p.default is not p.empty) if config is None else tuple(config)
        camel = class_name or "".join(part.title() for part in function.__name__.split("_"))

        @functools.wraps(function)
        def operation(*args: Any, **kwargs: Any) -> Any:
            if symbols_in((args, kwargs)):
                return Function(operation, f"keras.ops.{function.__name__}")(*args, **kwargs)
            return function(*args, **kwargs)

        entry = Entry(operation, function.__name__, f"keras.src.ops.{module}", camel, own)
        _entries[operation] = entry
        _of_class.setdefault(camel, entry)
        return registry.register(FAMILY)(operation)  # type: ignore[return-value]

    return decorate


def entry_of(function: Callable[..., Any]) -> Entry | None:
    """The table's entry for a function of this package; None for others."""
    return _entries.get(function)


def entry_of_class(module: str, class_name: str) -> Entry | None:
    """The table's entry for a class of Keras; None where there is none."""
    entry = _of_class.get(class_name)
    return entry if entry is not None and entry.module == module else None


def entry_named(name: str) -> Entry | None:
    """The table's entry for a function, by its name or by that of its class in Keras; None where there is none."""
    function = registry.find(FAMILY, name)
    return _of_class.get(name) if function is None else _entries.get(function)


def split_arguments(entry: Entry, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A call's arguments as Keras divides them: the config, and the inputs by position."""
    signature = inspect.signature(entry.function)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    inputs: list[Any] = []
    for name, value in bound.arguments.items():
        if name not in entry.config:
            inputs.extend(value if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else [value])
    return {name: bound.arguments[name] for name in entry.config}, inputs


def tensor(value: Any) -> Any:
    """`value` as a tensor; tensors pass. A plain number has no axes, so it takes part in the others' type."""
    return value if isinstance(value, torch.Tensor) else as_tensor(value)


def as_float(value: Any) -> Any:
    """`value` as a tensor of floats or complex numbers; integers become `config.floatx()`."""
    made = tensor(value)
    return made if made.is_floating_point() or made.is_complex() else made.to(torch.get_default_dtype())


def sizes_of(shape: Any) -> tuple[int, ...]:
    """One size or several as a tuple."""
    return (operator.index(shape),) if hasattr(shape, "__index__") else tuple(shape)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """One axis, several or None (all) as a tuple."""
    if axis is None:
        return tuple(range(ndim))
    return (axis,) if hasattr(axis, "__index__") else tuple(axis)


def entries() -> list[Entry]:
    """All entries."""
    return list(_entries.values())
