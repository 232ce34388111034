"""Number types of a layer: its policy, and the casts that follow from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch import mixed_precision
from triarch.layers.masks import carrying
from triarch.layers.tracking import names_of_weight_containers
from triarch.tensors import kept_mask, torch_dtype
from triarch.variable import Variable


class PolicyHolder(torch.nn.Module):
    """The part of `Layer` that knows number types; an interface, never made by itself."""

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

    @contextmanager
    def _cast_weights(self) -> Iterator[None]:
        """Inside this context the layer's own weights, those in lists and dicts too, have the compute type.

        The attributes themselves are exchanged meanwhile, so two threads must not call one layer of a mixed policy at
        the same time.
        """
        kept = {name: vars(self)[name] for name in ("_parameters", *names_of_weight_containers(self))}
        cast_weight = functools.partial(_cast_weight, dtype=self._compute_torch_dtype)
        vars(self).update({name: _mapped(cast_weight, holder) for name, holder in kept.items()})
        try:
            yield
        finally:
            vars(self).update(kept)

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


def _cast_weight(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Variable) and value.autocast else value


def _mapped(function: Callable[[Any], Any], values: Any) -> Any:
    if type(values) is dict:
        return {name: _mapped(function, value) for name, value in values.items()}
    if isinstance(values, (list, tuple, dict)):
        return pytree.tree_map(function, values)
    return function(values)
