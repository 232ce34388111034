"""Tensors in the order of their axes that stand for tensors in another order of memory.

Kernels of convolutions lie in memory as they are computed with. Files as those of `safetensors` take memory as it is,
in the order of the axes, while torch's users expect of `state_dict` that it shows the weights and that they change with
it. A mirror gives both: each function of torch that it is given to finds it up to date, and what was written to it,
or to a part of it, is written to the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

# What asks for the form of a tensor, not for its numbers.
_FORMS = {
    torch.Tensor.shape.__get__,  # type: ignore[attr-defined]
    torch.Tensor.dtype.__get__,  # type: ignore[attr-defined]
    torch.Tensor.device.__get__,  # type: ignore[attr-defined]
    torch.Tensor.layout.__get__,  # type: ignore[attr-defined]
    torch.Tensor.ndim.__get__,  # type: ignore[attr-defined]
    torch.Tensor.size,
    torch.Tensor.dim,
    torch.Tensor.numel,
    torch.Tensor.nelement,
    torch.Tensor.stride,
    torch.Tensor.is_contiguous,
}


class Mirror(torch.Tensor):
    """A contiguous tensor that shows, and writes through to, one in another order of memory."""

    _shown: torch.Tensor
    _whole: Mirror | None  # of which this is a part

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Mirror:
        """A mirror of a tensor without gradient."""
        mirror = torch.Tensor._make_subclass(cls, tensor.contiguous())
        mirror._shown, mirror._whole = tensor, None
        return mirror

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Mirror)]
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            if function in _FORMS:
                return function(*args, **(kwargs or {}))
            wholes = {id(mirror): mirror for mirror in map(_whole_of, given)}
            for whole in wholes.values():
                torch.Tensor.copy_(whole, whole._shown)
        with torch._C.DisableTorchFunctionSubclass():
            versions = [mirror._version for mirror in given]
            outcome = function(*args, **(kwargs or {}))
            if versions != [mirror._version for mirror in given]:
                with torch.no_grad():
                    for whole in wholes.values():
                        whole._shown.copy_(whole)
            return pytree.tree_map(lambda leaf: _part(leaf, wholes), outcome)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        memo[id(self)] = self.clone()
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.clone().__reduce_ex__(protocol)


def _whole_of(mirror: Mirror) -> Mirror:
    return mirror if mirror._whole is None else mirror._whole


def _part(outcome: Any, wholes: dict[int, Mirror]) -> Any:
    """What a function gave: a part of a mirror's memory is a mirror as well, and is not written to by NumPy."""
    if isinstance(outcome, np.ndarray):
        view = outcome.view()
        view.flags.writeable = False
        return view
    if not isinstance(outcome, torch.Tensor) or id(outcome) in wholes or isinstance(outcome, Mirror):
        return outcome
    for whole in wholes.values():
        if outcome.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr():
            part = torch.Tensor._make_subclass(Mirror, outcome)
            part._whole = whole
            return part
    return outcome
