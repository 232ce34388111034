"""Layers and variables kept in lists, tuples and dicts become children of the module that holds the container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from triarch.layers.state import Stateful
from triarch.tensors import MODULE_ATTRIBUTES


class Changes:
    """How often an attribute of any layer was set, for those that would otherwise look at all of them again."""

    count = 0


changes = Changes()


class Container(Stateful):
    """The registered twin of a plain list, tuple or dict: `state_dict` keys read `blocks.0.kernel`."""

    def __init__(self, items: Iterable[tuple[Any, Any]]) -> None:
        super().__init__()
        for key, item in items:
            name = str(key).replace(".", "_")
            if isinstance(item, torch.nn.Module):
                self.add_module(name, item)
            elif isinstance(item, torch.nn.Parameter):
                self.register_parameter(name, item)
            elif _holds_state(item):
                self.add_module(name, Container(_items(item)))


def assign_container(module: torch.nn.Module, name: str, container: Any) -> None:
    """Set an attribute to a list, tuple or dict; what it holds takes its place among the children in this order.

    An empty container keeps its place for what is put in it before `adopt_containers`.
    """
    object.__setattr__(module, name, container)
    modules = vars(module).get("_modules")
    if modules is None or name in _untracked(module):
        return
    if _holds_state(container):
        modules[name] = Container(_items(container))
    elif container:
        modules.pop(name, None)
    else:
        modules[name] = None


def adopt_containers(module: torch.nn.Module) -> None:
    """Register every plain container of layers or variables among the attributes of `module`, as it now stands."""
    untracked = _untracked(module)
    for name, value in list(vars(module).items()):
        if name in untracked or not isinstance(value, (list, tuple, dict)):
            continue
        if _holds_state(value):
            module._modules[name] = Container(_items(value))
        elif name in module._modules:
            del module._modules[name]


def containers_of(module: torch.nn.Module) -> Iterator[Container]:
    """The containers directly in `module`, and those inside them."""
    for child in module.children():
        if isinstance(child, Container):
            yield child
            yield from containers_of(child)


def names_of_weight_containers(module: torch.nn.Module) -> list[str]:
    """The attributes of `module` that are lists, tuples or dicts with weights in them, at whatever depth."""
    return [
        name
        for name, child in module._modules.items()
        if isinstance(child, Container) and any(part._parameters for part in (child, *containers_of(child)))
    ]


def unpacked(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """`module`, or what it contains where it is a container."""
    if isinstance(module, Container):
        for child in module.children():
            yield from unpacked(child)
    else:
        yield module


def _untracked(module: torch.nn.Module) -> frozenset[str]:
    return MODULE_ATTRIBUTES | getattr(type(module), "untracked", frozenset())


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def _holds_state(value: Any) -> bool:
    if isinstance(value, (torch.nn.Module, torch.nn.Parameter)):
        return True
    return isinstance(value, (list, tuple, dict)) and any(_holds_state(item) for _, item in _items(value))
