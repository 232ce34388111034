"""Who looks on: tracers that record operations, and hooks and modes that want to see each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

# Those that torch calls for modules of every kind; the dicts stay, what is in them changes.
GLOBAL_HOOKS: tuple[dict[int, Any], ...] = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


def is_recorded() -> bool:
    """Whether `torch.compile`, `torch.export` or `torch.jit.trace` makes a graph that is to take other sizes, too."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def is_traced(tensor: torch.Tensor) -> bool:
    """Whether somebody looks at operations, or there are no numbers: all is left to torch's own operations then.

    So it is while `torch.compile`, `torch.export` and `torch.jit.trace` run, under `torch.func`'s transformations,
    forward-mode derivatives and modes that see every operation, and on torch's `meta` device.
    """
    return (
        is_recorded()
        or tensor.device.type == "meta"
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or has_modes()
    )


# Asked for in every step: without the way to them.
_is_profiled = torch._C._autograd._profiler_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_has_function_modes = torch._C._is_torch_function_mode_enabled
_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks


def has_modes() -> bool:
    """Whether modes see every operation."""
    if _dispatch_modes():
        return True
    if not _has_function_modes():
        return False
    return not all(type(mode) is DeviceContext for mode in _get_current_function_mode_stack())  # a default device


def is_watched() -> bool:
    """Whether operations are looked at one by one; hooks are not asked for."""
    return _is_profiled() or bool(_dispatch_modes()) or (_has_function_modes() and has_modes())


def are_gradients_watched() -> bool:
    """Whether gradients are checked, or what is kept for them is looked at."""
    return torch.is_anomaly_enabled() or _saved_tensors_hooks(False) is not None


def listeners_of(module: torch.nn.Module) -> list[dict[int, Any]]:
    """The hooks of a module, which want it to be called; the dicts stay, what is in them changes."""
    return [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks]


def is_overridden(thing: object) -> bool:
    """Whether an object has a method of its own that computes, as after `layer.call = function`."""
    return not _COMPUTING.isdisjoint(vars(thing))


_COMPUTING = frozenset(
    {"call", "forward", "step", "project", "recur", "update_state", "apply", "next_update", "update_step", "rule"}
)


class Hooks:
    """How often a hook was set on a variable, for those that would otherwise look at all of them again."""

    count = 0


hooks = Hooks()


def sizes_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape as numbers: while `torch.jit.trace` runs, those of its example, which it would make tensors of."""
    state = None if torch.compiler.is_compiling() else torch._C._get_tracing_state()
    if state is None:
        return tuple(tensor.shape)
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        return tuple(tensor.shape)
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def planner(find: Any) -> Callable[..., Any]:
    """A function that keeps what it has found; without its cache where sizes are symbols, which no cache can keep."""
    found: Callable[..., Any] = find.__wrapped__ if torch.compiler.is_compiling() else find
    return found
