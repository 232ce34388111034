"""`Variable`: a named tensor of state, at once a `torch.nn.Parameter` and a Keras variable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from triarch import config, registry
from triarch.tensors import as_array, dtype_name, holds_floats, torch_dtype, value_for


class Variable(torch.nn.Parameter):
    """A weight or other state. Any torch function takes it; Keras's methods (`assign`, `numpy`, `value`) work too.

    Args:
        initializer: The value (array, tensor, number, list), or a function `(shape, dtype=...)` that makes it.
        shape: Needed, and used, only where `initializer` is a function.
        dtype: As a string; the default is that of the value, or `config.floatx()` for floats.
        trainable: Whether gradients are wanted. Only float variables can be.
        autocast: Whether a layer that computes in another float type may use the value cast to it.
        name: The last part of `path`.
        device: Where it lies; the default is `config.device()`.
    """

    name: str = ""  # hides torch's read-only attribute
    path: str
    learnable: bool  # as made; `trainable` says whether it is being learnt at present
    autocast: bool
    regularizer: Callable[[torch.Tensor], torch.Tensor] | None
    learning_rate_factor: float
    constraint: Callable[[torch.Tensor], torch.Tensor] | None

    def __new__(
        cls,
        initializer: Any,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        trainable: bool = True,
        autocast: bool = True,
        name: str | None = None,
        device: torch.device | str | None = None,
    ) -> Variable:
        if callable(initializer) and not isinstance(initializer, torch.Tensor):
            if shape is None:
                raise ValueError("A Variable made by an initializer function needs a `shape`. Received: None")
            value = initializer(tuple(shape), dtype=dtype or config.floatx())
        else:
            value = initializer
        if dtype is None and not isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            dtype = config.floatx() if holds_floats(value) else None
        tensor = torch.as_tensor(value, dtype=torch_dtype(dtype), device=device or config.device()).detach()
        trainable = trainable and tensor.is_floating_point()
        self = torch.Tensor._make_subclass(cls, tensor, trainable)
        self.name = name or registry.unique_name("variable")
        self.path = self.name
        self.learnable = trainable
        self.autocast = autocast and tensor.is_floating_point()
        self.regularizer = None
        self.learning_rate_factor = 1.0
        self.constraint = None
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Everything happens in `__new__`, as torch's tensor classes need it."""

    @property
    def trainable(self) -> bool:
        """Whether gradients are wanted: torch's `requires_grad` under Keras's name."""
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.requires_grad_(bool(value) and self.is_floating_point())

    @property
    def value(self) -> Variable:
        """The tensor: the variable itself, so that `variable.value.grad` is its gradient."""
        return self

    def assign(self, value: Any) -> Variable:
        """Write a new value in place; the shape and the number type stay."""
        value = value_for(self, value, f"Variable {self.path!r}")
        with torch.no_grad():
            self.copy_(value)
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add in place."""
        with torch.no_grad():
            self.add_(value)
        return self

    def assign_sub(self, value: Any) -> Variable:
        """Subtract in place."""
        with torch.no_grad():
            self.sub_(value)
        return self

    def numpy(self, *, force: bool = True) -> np.ndarray:
        """The value as an array on the host (a copy only where the device asks for one)."""
        return as_array(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        if id(self) not in memo:
            memo[id(self)] = _rebuild(
                self.detach().clone(memory_format=torch.preserve_format), self.requires_grad, dict(self.__dict__)
            )
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (self.detach(), self.requires_grad, dict(self.__dict__))

    def __repr__(self) -> str:  # type: ignore[override]
        kind = f"shape={tuple(self.shape)}, dtype={dtype_name(self.dtype)}"
        return f"<Variable path={self.path}, {kind}, value={self.numpy()}>"


class CastVariable(torch.Tensor):
    """A variable as a layer reads it that computes in another type: gradients reach the variable, and so do writes.

    What tensors do not have (`assign`, `path`, `constraint`, ...) is the variable's.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    variable: Variable

    def __getattr__(self, name: str) -> Any:
        if name == "variable":
            raise AttributeError(name)
        return getattr(self.variable, name)

    @property
    def value(self) -> CastVariable:
        """The tensor: in the type that is computed in."""
        return self

    def numpy(self, *, force: bool = True) -> np.ndarray:
        """The value as an array on the host."""
        return as_array(self)


def _written_through(name: str) -> Callable[..., Any]:
    def write(self: CastVariable, *args: Any, **kwargs: Any) -> CastVariable:
        getattr(self.variable, name)(*args, **kwargs)
        return cast_variable(self.variable, self.dtype)

    write.__name__ = name
    return write


_IN_PLACE = [name for name in dir(torch.Tensor) if name.endswith("_") and not name.startswith("_")]
for _name in (*_IN_PLACE, "__iadd__", "__isub__", "__imul__", "__itruediv__"):
    setattr(CastVariable, _name, _written_through(_name))


def takes_casts(tensor: torch.Tensor) -> bool:
    """Whether a layer that computes in another type may read a weight in that type: a torch parameter stays as it is.

    Tensors that `torch.func.functional_call` puts in the place of variables may.
    """
    if type(tensor) is torch.nn.Parameter:
        return False
    return getattr(tensor, "autocast", True) and tensor.is_floating_point()


def cast_variable(variable: Any, dtype: torch.dtype) -> Any:
    """The value of a variable in another type; it writes to the variable."""
    if not isinstance(variable, Variable):
        return variable.to(dtype)
    cast = variable.to(dtype).as_subclass(CastVariable)
    cast.variable = variable
    return cast


def _rebuild(tensor: torch.Tensor, trainable: bool, attributes: dict[str, Any]) -> Variable:
    variable = torch.Tensor._make_subclass(Variable, tensor, trainable)
    variable.__dict__.update(attributes)
    return variable
