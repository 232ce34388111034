"""Gradient clipping over lists of tensors; the lists given stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import torch

from triarch.optimizers.plan import Tensors


def clip_by_norm(grads: Tensors, limit: float) -> Tensors:
    """Each gradient scaled down to a norm of at most `limit`."""
    norms = torch._foreach_norm(grads)
    torch._foreach_clamp_min_(norms, limit)
    clipped = torch._foreach_mul(grads, limit)
    torch._foreach_div_(clipped, norms)
    return list(clipped)


def clip_by_global_norm(grads: Tensors, limit: float) -> Tensors:
    """All gradients scaled down together, so that the norm of the whole is at most `limit`."""
    scale = limit / torch.nn.utils.get_total_norm(grads).clamp_min(limit)
    return list(torch._foreach_mul(grads, scale))


def clip_by_value(grads: Tensors, limit: float) -> Tensors:
    """Each element brought into `[-limit, limit]`."""
    clipped = torch._foreach_clamp_max(grads, limit)
    torch._foreach_clamp_min_(clipped, -limit)
    return list(clipped)


CLIPPINGS = {"clipnorm": clip_by_norm, "clipvalue": clip_by_value, "global_clipnorm": clip_by_global_norm}


def choose_clipping(limits: dict[str, Any]) -> Callable[[Tensors], Tensors] | None:
    """The function that clips as the one limit that is not None asks, or None.

    Raises:
        ValueError: more than one limit, or one that is not a number greater than 0.
    """
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if len(given) > 1:
        raise ValueError(f"Only one of {', '.join(CLIPPINGS)} can be set. Received: {given}")
    for name, limit in given.items():
        if isinstance(limit, bool) or not isinstance(limit, Real) or not float(limit) > 0:
            raise ValueError(f"{name} must be a number greater than 0, or None for no clipping. Received: {limit!r}")
        return partial(CLIPPINGS[name], limit=float(limit))
    return None


class ClippingLimit:
    """An attribute of an optimizer such as `clipnorm`: setting it chooses the optimizer's `clip` anew."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        return self if optimizer is None else vars(optimizer)[self._name]

    def __set__(self, optimizer: Any, limit: float | None) -> None:
        limits = {name: vars(optimizer).get(name) for name in CLIPPINGS} | {self._name: limit}
        optimizer.clip = choose_clipping(limits)
        vars(optimizer)[self._name] = limit
