"""Number types of a layer: its policy, and the casts that follow from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch import mixed_precision
from triarch.layers.masks import carrying
from triarch.layers.running import running
from triarch.layers.tracking import forget_container, like
from triarch.tensors import kept_mask, torch_dtype
from triarch.variable import cast_variable, takes_casts


class PolicyHolder(torch.nn.Module):
    """The part of `Layer` that knows number types; an interface, never made by itself.

    Weights are never written to by a call: a layer of a mixed policy reads them, as attributes or in lists and dicts
    that are attributes, in the type that it computes in, while its own call runs.
    """

    _weight_containers: dict[str, Any]  # lists, tuples and dicts with weights in them, by attribute
    _read_as_kept: set[str]  # weights whose type no policy changes, by attribute

    def register_parameter(self, name: str, param: torch.nn.Parameter | None) -> None:
        """torch's way to keep a parameter under a name."""
        super().register_parameter(name, param)
        if param is not None and not takes_casts(param):
            self._read_as_kept.add(name)

    @property
    def dtype_policy(self) -> mixed_precision.DTypePolicy:
        """The types of computation and of weights."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, policy: Any) -> None:
        policy = mixed_precision.get(policy)
        self._dtype_policy = policy
        self._compute_torch_dtype: torch.dtype = torch_dtype(policy.compute_dtype)  # type: ignore[assignment]
        self._casts_weights = self._dtype_policy.compute_dtype != self._dtype_policy.variable_dtype

    @property
    def dtype(self) -> str:
        """The type of the weights."""
        return self.dtype_policy.variable_dtype

    variable_dtype = dtype

    @property
    def compute_dtype(self) -> str:
        """The type of the computation."""
        return self.dtype_policy.compute_dtype

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        parameters = own.get("_parameters")
        if parameters is not None and name in parameters:
            value = parameters[name]
            if not own.get("_casts_weights") or running.casts is None or name in own["_read_as_kept"]:
                return value
            return self._as_read(value)
        containers = own.get("_weight_containers")
        if containers is not None and name in containers:
            value = own["_modules"][name].contents()
            return value if not own["_casts_weights"] or running.casts is None else _mapped(self._as_read, value)
        return super().__getattr__(name)

    def __delattr__(self, name: str) -> None:
        if not forget_container(self, name):
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._weight_containers]

    def _as_read(self, value: Any) -> Any:
        """A weight as the layer's own call finds it: in the compute type, cast once for each call."""
        dtype = self._compute_torch_dtype
        if not isinstance(value, torch.Tensor) or value.dtype is dtype or not takes_casts(value):
            return value
        if torch.compiler.is_compiling() or torch.is_inference(value):
            return value.to(dtype)
        casts, key = running.casts, (id(value), dtype, torch.is_grad_enabled())
        assert casts is not None
        known = casts.get(key)
        if known is None or known[1] != value._version:
            known = casts[key] = value, value._version, cast_variable(value, dtype)
        return known[2]

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """torch's way through `to`, `double`, `cuda`, ...; the policy follows a change of the number type."""
        super()._apply(fn, recurse)
        new = fn(torch.empty(0, dtype=torch_dtype(self.variable_dtype))).dtype
        if new != torch_dtype(self.variable_dtype):
            self.dtype_policy = new
        return self


def cast(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its float tensors, those in lists, tuples and dicts too, in the type `dtype`."""
    if isinstance(value, torch.Tensor):
        if value.dtype is dtype or not value.is_floating_point():
            return value
        return carrying(value.to(dtype), kept_mask(value))
    if type(value) in (list, tuple):  # as layers of several inputs get them at every step
        return type(value)([cast(part, dtype) for part in value])
    if isinstance(value, (list, tuple, dict)):
        return pytree.tree_map_only(torch.Tensor, functools.partial(cast, dtype=dtype), value)
    return value


def as_floats(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its tensors of whole numbers or truth values, those in lists and tuples too, in the type `dtype`."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            return value
        return carrying(value.to(dtype), kept_mask(value))
    if isinstance(value, (list, tuple)):
        return pytree.tree_map_only(torch.Tensor, functools.partial(as_floats, dtype=dtype), value)
    return value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Nested lists, tuples and dicts with `function` of what is in them."""
    if isinstance(value, (list, tuple, dict)):
        values = value.values() if isinstance(value, dict) else value
        return like(value, [_mapped(function, part) for part in values])
    return function(value)
