"""Layers and variables kept in lists, tuples and dicts are children of the module that holds the container."""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from triarch.layers.running import ModeHolder
from triarch.layers.state import Stateful
from triarch.tensors import MODULE_ATTRIBUTES


class Changes:
    """How often an attribute of any layer was set, for those that would otherwise look at all of them again."""

    count = 0


changes = Changes()


_following = threading.RLock()


class Container(ModeHolder, Stateful):
    """The registered twin of a plain list, tuple or dict: `state_dict` keys read `blocks.0.kernel`.

    It follows what it is the twin of: what is appended later is found as well.
    """

    source: Any = None  # what it is the twin of
    _followed: list[Any] | None = None  # the keys and items that are registered
    _names: Sequence[str] = ()  # theirs
    _is_following = False

    def __init__(self, source: Any) -> None:
        super().__init__()
        vars(self).update(source=source, _followed=None, _names=[], _is_following=False)

    @property
    def _modules(self) -> dict[str, Any]:
        self._follow()
        return vars(self)["_modules"]

    @_modules.setter
    def _modules(self, modules: dict[str, Any]) -> None:
        vars(self)["_modules"] = modules

    @property
    def _parameters(self) -> dict[str, Any]:
        self._follow()
        return vars(self)["_parameters"]

    @_parameters.setter
    def _parameters(self, parameters: dict[str, Any]) -> None:
        vars(self)["_parameters"] = parameters

    def _follow(self) -> None:
        """Register what the container holds now, if that is not what it held before."""
        own = vars(self)
        if "source" not in own:  # while it is being made
            return
        source = own["source"]
        now = [*source, *source.values()] if isinstance(source, dict) else list(source)
        before = own["_followed"]
        if before is not None and len(now) == len(before) and all(map(operator.is_, now, before)):
            return
        with _following:
            if not own["_is_following"] and before is own["_followed"]:
                own["_is_following"] = True
                try:
                    self._register(_items(source))
                    own["_followed"] = now
                finally:
                    own["_is_following"] = False

    def _register(self, items: list[tuple[Any, Any]]) -> None:
        own = vars(self)
        twins = {id(twin.source): twin for twin in own["_modules"].values() if isinstance(twin, Container)}
        own["_names"], own["_modules"], own["_parameters"] = _names([key for key, _ in items]), {}, {}
        for name, (_, item) in zip(own["_names"], items, strict=True):
            if isinstance(item, torch.nn.Parameter):
                self.register_parameter(name, item)
            elif isinstance(item, torch.nn.Module):
                self.add_module(name, item)
            elif _is_followed(item):
                self.add_module(name, twins.get(id(item)) or Container(item))

    def holds_weights(self) -> bool:
        """Whether there are weights in it, at whatever depth, beside those of layers."""
        inner = (part for part in self._modules.values() if isinstance(part, Container))
        return bool(self._parameters) or any(part.holds_weights() for part in inner)

    def contents(self) -> Any:
        """The list, tuple or dict, with the tensors that torch has put in the place of weights for a call, if any."""
        source = self.source
        if not self.holds_weights():
            return source
        modules, parameters, items = self._modules, self._parameters, _items(source)
        values = [
            parameters[name] if name in parameters
            else modules[name].contents() if isinstance(modules.get(name), Container)
            else item
            for name, (_, item) in zip(self._names, items, strict=True)
        ]  # fmt: skip
        if all(map(operator.is_, values, (item for _, item in items))):
            return source
        return like(source, values)


def like(container: Any, values: list[Any]) -> Any:
    """A list, tuple or dict of these values in the place of the container's own."""
    if isinstance(container, dict):
        return dict(zip(container, values, strict=True))
    if hasattr(container, "_fields"):
        return type(container)(*values)
    return tuple(values) if isinstance(container, tuple) else values


def assign_container(module: torch.nn.Module, name: str, container: Any) -> None:
    """Set an attribute to a list, tuple or dict; what it holds takes its place among the children in this order."""
    forget_container(module, name)
    object.__setattr__(module, name, container)
    if "_modules" in vars(module) and name not in _untracked(module):
        _adopt(module, name, container)


def forget_container(module: torch.nn.Module, name: str) -> bool:
    """Let an attribute hold no list, tuple or dict any more; whether it did."""
    own = vars(module)
    modules = own.get("_modules")
    if modules is None or not isinstance(modules.get(name), Container):
        return False
    del modules[name]
    own.pop(name, None)
    own["_containers"].pop(name, None)
    return True


def adopt_containers(module: torch.nn.Module) -> None:
    """Register every plain container of layers or variables among the attributes of `module`, as it now stands."""
    untracked = _untracked(module)
    for name, value in list(vars(module).items()):
        if name not in untracked and isinstance(value, (list, tuple, dict)):
            _adopt(module, name, value)


def _adopt(module: torch.nn.Module, name: str, container: Any) -> None:
    modules = module._modules
    twin = modules.get(name)
    if not isinstance(twin, Container) or twin.source is not container:
        if not _is_followed(container):
            return
        twin = modules[name] = Container(container)
    if not hasattr(type(module), name):  # else the class's attribute would hide it
        vars(module)["_containers"][name] = container  # read by `__getattr__`
        vars(module).pop(name, None)


def containers_of(module: torch.nn.Module) -> Iterator[Container]:
    """The containers directly in `module`, and those inside them."""
    for child in module.children():
        if isinstance(child, Container):
            yield child
            yield from containers_of(child)


def unpacked(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """`module`, or what it contains where it is a container."""
    if isinstance(module, Container):
        for child in module.children():
            yield from unpacked(child)
    else:
        yield module


def _untracked(module: torch.nn.Module) -> frozenset[str]:
    return _OWN_ATTRIBUTES | getattr(type(module), "untracked", frozenset())


_OWN_ATTRIBUTES = MODULE_ATTRIBUTES | {"_containers"}


def _items(container: Any) -> list[tuple[Any, Any]]:
    return list(container.items() if isinstance(container, dict) else enumerate(container))


def _names(keys: Iterable[Any]) -> list[str]:
    """Names of children for keys of any kind, each its own, none of them one that torch's modules have themselves."""
    keys = list(keys)
    plain = [isinstance(key, (str, int)) and _is_name(str(key)) for key in keys]
    taken: set[str] = set()
    names = [""] * len(keys)
    for number in sorted(range(len(keys)), key=lambda number: not plain[number]):  # names that can stay come first
        name = str(keys[number]).replace(".", "_") or "_"
        name = f"{name}_" if _is_attribute(name) else name
        others = (f"{name}_{count}" for count in itertools.count(1))
        names[number] = next(each for each in itertools.chain([name], others) if each not in taken)
        taken.add(names[number])
    return names


def _is_name(text: str) -> bool:
    return bool(text) and "." not in text and not _is_attribute(text)


def _is_attribute(name: str) -> bool:
    return hasattr(Container, name) or name in MODULE_ATTRIBUTES


def _is_followed(value: Any) -> bool:
    """Whether a container holds what has state, or may come to hold it."""
    if not isinstance(value, (list, tuple, dict)):
        return False
    return _holds_state(value) or (not value and not isinstance(value, tuple))


def _holds_state(value: Any) -> bool:
    if isinstance(value, (torch.nn.Module, torch.nn.Parameter)):
        return True
    return isinstance(value, (list, tuple, dict)) and any(_holds_state(item) for _, item in _items(value))
