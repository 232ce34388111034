"""Which objects in a model have weights or state of their own, and the path of each in Keras's files.

A saveable has `save_own_variables` and `load_own_variables` (layers, models, optimizers) or is a plain
`torch.nn.Module`. Its path is made of attribute names, in alphabetical order with private ones last; members of lists,
tuples and dicts are called by their class: `layers/dense`, `layers/dense_1`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from triarch import registry
from triarch.tensors import MODULE_ATTRIBUTES

Groups = dict[str, dict[str, Any]]  # the state of an object: group -> key -> numbers

_LAYERS_FIRST = {"Sequential", "Functional"}


class Saveable(NamedTuple):
    """An object with state, and its path from the model: "" is the model itself."""

    path: str
    owner: Any

    @property
    def is_plain_module(self) -> bool:
        """Whether this is a module of torch's own kind."""
        return not _saves_itself(self.owner)

    @property
    def title(self) -> str:
        """What to call the object in messages."""
        name = getattr(self.owner, "name", None) or type(self.owner).__name__
        return f"{name!r} ({self.path or 'the model itself'})"

    @property
    def takes_any_size(self) -> bool:
        """Whether the object reads its state in its own way, so that its size may differ from the present one."""
        methods = [getattr(type(self.owner), name, None) for name in ("save_own_variables", "load_own_variables")]
        is_users = any(method is not None and not method.__module__.startswith("triarch.") for method in methods)
        return is_users or getattr(self.owner, "state_size_varies", False)

    def state(self) -> Groups:
        """The present values by group and key; a plain module's parameters are in "vars", as Keras has them."""
        if self.is_plain_module:
            parameters, buffers = list(self.owner.parameters()), list(self.owner.buffers())
            return {"vars": _numbered(parameters)} | ({"buffers": _numbered(buffers)} if buffers else {})
        store: dict[str, Any] = {}
        self.owner.save_own_variables(store)
        return {"vars": store}

    def load(self, groups: Groups) -> None:
        """Overwrite the values with `groups`, laid out like `state()`."""
        if not self.is_plain_module:
            self.owner.load_own_variables(groups["vars"])
            return
        with torch.no_grad():
            for group, tensors in self.state().items():
                for key, tensor in tensors.items():
                    tensor.copy_(torch.as_tensor(groups[group][key]))


def saveables(model: Any) -> Iterator[Saveable]:
    """Every saveable that can be reached from `model`, each once, in the order in which Keras finds them."""
    yield from _reach(model, "", set())


def _saves_itself(value: Any) -> bool:
    return hasattr(value, "save_own_variables") and hasattr(value, "load_own_variables")


def _numbered(tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {str(index): tensor for index, tensor in enumerate(tensors)}


def _reach(owner: Any, path: str, visited: set[int]) -> Iterator[Saveable]:
    if id(owner) in visited:
        return
    visited.add(id(owner))
    yield Saveable(path, owner)
    if not _saves_itself(owner):
        return
    for name, value in _attributes(owner):
        child_path = f"{path}/{name}".lstrip("/")
        if _is_saveable(value):
            yield from _reach(value, child_path, visited)
        elif isinstance(value, (list, tuple, dict)):
            yield from _reach_members(value, child_path, visited, set())


def _reach_members(container: Any, path: str, visited: set[int], containers: set[int]) -> Iterator[Saveable]:
    if id(container) in containers:
        return
    containers.add(id(container))
    counts: Counter[str] = Counter()
    for member in container.values() if isinstance(container, dict) else container:
        if _is_saveable(member):
            name = _counted(registry.to_snake_case(type(member).__name__), counts)
            yield from _reach(member, f"{path}/{name}", visited)
        elif isinstance(member, (list, tuple, dict)):
            name = _counted("container", counts)
            yield from _reach_members(member, f"{path}/{name}", visited, containers)


def _is_saveable(value: Any) -> bool:
    return isinstance(value, torch.nn.Module) or _saves_itself(value)


def _counted(name: str, counts: Counter[str]) -> str:
    count = counts[name]
    counts[name] += 1
    return f"{name}_{count}" if count else name


def _attributes(owner: Any) -> list[tuple[str, Any]]:
    """The instance's attributes, and the list `layers` of a model, in Keras's order."""
    found = {**getattr(owner, "_modules", {}), **vars(owner)}
    found.update(found.pop("_weight_containers", {}))
    for name in MODULE_ATTRIBUTES:
        found.pop(name, None)
    if isinstance(getattr(type(owner), "layers", None), property):
        found["layers"] = owner.layers
    homes = filter(None, map(registry.home_of, type(owner).__mro__))
    first = "layers" if any(name in _LAYERS_FIRST for _, name in homes) else None
    return sorted(found.items(), key=lambda item: (item[0] != first, item[0].startswith("_"), item[0]))
