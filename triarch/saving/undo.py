"""What objects held before their state was loaded, to be put back should that fail."""

from __future__ import annotations

import copy
from typing import Any

import torch


class Before:
    """The attributes of an object, the entries of those that are containers, and the numbers of its own tensors."""

    def __init__(self, owner: Any) -> None:
        self._attributes = vars(owner)
        self._values = dict(self._attributes)
        self._containers = [(value, copy.copy(value)) for value in self._values.values() if _can_change(value)]
        held = (entry for _, entries in self._containers for entry in _entries(entries))
        tensors = {id(value): value for value in (*self._values.values(), *held) if isinstance(value, torch.Tensor)}
        self._numbers = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]

    def put_back(self) -> None:
        """Let the object be as it was."""
        self._attributes.clear()
        self._attributes.update(self._values)
        for container, entries in self._containers:
            container.clear()
            container.extend(entries) if isinstance(container, list) else container.update(entries)
        with torch.no_grad():
            for tensor, numbers in self._numbers:
                tensor.copy_(numbers)


def _can_change(value: Any) -> bool:
    return type(value) is list or isinstance(value, (dict, set))


def _entries(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container
