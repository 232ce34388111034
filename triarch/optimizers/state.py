"""The state that an optimizer keeps beside the weights, and how it is stored."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from numbers import Real
from typing import Any

import torch

from triarch import config, initializers
from triarch.tensors import copy_all, dtype_name, value_for
from triarch.variable import Variable


class State:
    """Variables in the order in which they were made, which is the order of files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.built = False
        self._variables: list[Variable] = []

    def add_variable_from_reference(
        self, reference_variable: torch.Tensor, name: str = "var", initializer: Any = 0.0
    ) -> Variable:
        """A variable of state with the shape, number type, device and memory layout of a weight."""
        value = torch.zeros_like(reference_variable, requires_grad=False)
        if isinstance(initializer, Real):
            value.fill_(float(initializer))
        else:
            value.copy_(initializers.get(initializer)(tuple(value.shape), dtype=dtype_name(value.dtype)))
        path = getattr(reference_variable, "path", "variable").replace("/", "_")
        return self._track(value, f"{path}_{name}")

    def add_optimizer_variables(
        self, trainable_variables: Iterable[torch.Tensor], name: str | Sequence[str], initializer: Any = 0.0
    ) -> Any:
        """One variable of state for each weight, in a list; several names give several lists, made weight by weight."""
        names = [name] if isinstance(name, str) else list(name)
        initial = initializer if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        lists: tuple[list[Variable], ...] = tuple([] for _ in names)
        for variable in trainable_variables:
            for made, slot, value in zip(lists, names, initial, strict=True):
                made.append(self.add_variable_from_reference(variable, slot, value))
        return lists[0] if isinstance(name, str) else lists

    def add_variable(
        self, shape: Sequence[int], initializer: Any = 0.0, dtype: str | None = None, name: str | None = None
    ) -> Variable:
        """A variable of state that belongs to no weight."""
        make = initializers.Constant(initializer) if isinstance(initializer, Real) else initializers.get(initializer)
        return self._track(make(tuple(shape), dtype=dtype or config.floatx()), name or "variable")

    def _track(self, value: torch.Tensor, name: str) -> Variable:
        variable = Variable(value, trainable=False, name=name, device=value.device)
        variable.path = f"{self.name}/{name}"
        self._variables.append(variable)
        return variable

    @property
    def variables(self) -> list[Variable]:
        """All state, in the order of Keras's files: iterations, learning rate (where it is no schedule), slots."""
        return list(self._variables)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put the state into `store` under `"0"`, `"1"`, ..."""
        for number, variable in enumerate(self._variables):
            store[str(number)] = variable.detach()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take the state from `store`; where the numbers of arrays differ, it is left as it is, with a warning."""
        if len(store) != len(self._variables):
            hint = "" if self.built else " The optimizer is not built; call `optimizer.build(variables)` first."
            warnings.warn(
                f"The state of optimizer {self.name!r} was not loaded: it has {len(self._variables)} variables, the "
                f"saved one {len(store)}.{hint}",
                stacklevel=2,
            )
            return
        places = [(variable, store[str(number)]) for number, variable in enumerate(self._variables)]
        copy_all(self._variables, [value_for(variable, value, variable.path) for variable, value in places])
