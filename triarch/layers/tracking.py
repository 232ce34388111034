"""Layers and variables kept in lists, tuples and dicts become children of the module that holds the container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch


class Container(torch.nn.Module):
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


def adopt_containers(module: torch.nn.Module) -> None:
    """Register every plain container of layers or variables among the attributes of `module`, as it now stands."""
    for name, value in list(vars(module).items()):
        if not name.startswith("_") and isinstance(value, (list, tuple, dict)) and _holds_state(value):
            module._modules[name] = Container(_items(value))


def unpacked(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """`module`, or what it contains where it is a container."""
    if isinstance(module, Container):
        for child in module.children():
            yield from unpacked(child)
    else:
        yield module


def _items(container: Any) -> Iterable[tuple[Any, Any]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def _holds_state(value: Any) -> bool:
    if isinstance(value, (torch.nn.Module, torch.nn.Parameter)):
        return True
    return isinstance(value, (list, tuple, dict)) and any(_holds_state(item) for _, item in _items(value))
