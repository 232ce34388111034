"""Callbacks from functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triarch.callbacks.base import Callback


class LambdaCallback(Callback):
    """A callback made of functions: any hook's name may be an argument."""

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = [name for name in kwargs if name.startswith("on_") and not hasattr(Callback, name)]
        if unknown:
            raise TypeError(f"LambdaCallback knows no hook {', '.join(unknown)}; the hooks are methods of `Callback`.")
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        self.__dict__.update(kwargs, **{name: hook for name, hook in hooks.items() if hook is not None})
