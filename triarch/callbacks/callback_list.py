"""`CallbackList`: tells every callback what happens, and does nothing for hooks that nobody overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from triarch.callbacks.base import Callback
from triarch.callbacks.history import History
from triarch.callbacks.logs import lazy_logs
from triarch.callbacks.progress import ProgbarLogger

_PHASES = ("train", "test", "predict")
_NUMBERED = ("on_epoch_begin", "on_epoch_end")
_BATCH = ("on_batch_begin", "on_batch_end", *(f"on_{phase}_batch_{at}" for phase in _PHASES for at in ("begin", "end")))
_WHOLE = tuple(f"on_{phase}_{at}" for phase in _PHASES for at in ("begin", "end"))
_OTHER_NAME = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


class CallbackList(Callback):
    """Many callbacks as one.

    Which hooks are overridden is looked up at construction, so an unused hook costs nothing to speak of.

    Args:
        callbacks: A callback, or a (nested) list of them.
        add_history: Add a `History` unless there is one.
        add_progbar: Add a `ProgbarLogger` unless there is one.
        params: `epochs`, `steps` and `verbose`, for the callbacks.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        self.callbacks: list[Callback] = list(_flat(callbacks))
        self._history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self._history is None and add_history:
            self._history = History()
            self.callbacks.append(self._history)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._hooks: dict[str, tuple[Callable[..., None], ...]] = {
            name: tuple(hook for callback in self.callbacks if (hook := _overridden(callback, name)))
            for name in (*_NUMBERED, *_BATCH, *_WHOLE)
        }
        self.set_model(model)
        self.set_params(params)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model: Any) -> None:
        if model is None:
            return
        self._model = model
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            callback.set_model(model)


def _flat(callbacks: Any) -> Iterable[Callback]:
    if callbacks is None:
        return
    if isinstance(callbacks, (list, tuple)):
        for callback in callbacks:
            yield from _flat(callback)
    elif isinstance(callbacks, Callback):
        yield callbacks
    else:
        raise TypeError(
            "callbacks must be `Callback` objects (instances, not classes) or a list of them. "
            f"Received: {callbacks!r} of type {type(callbacks).__name__}"
        )


def _overridden(callback: Callback, name: str) -> Callable[..., None] | None:
    """The callback's own hook, or None where it is the empty one of the base class."""
    hook = getattr(callback, name)
    if getattr(hook, "__func__", None) is not getattr(Callback, name):
        return hook
    return _overridden(callback, _OTHER_NAME[name]) if name in _OTHER_NAME else None


def _tell_epoch(name: str) -> Callable[..., None]:
    def tell(self: CallbackList, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        for hook in self._hooks[name]:
            hook(epoch, logs)

    return tell


def _tell_batch(name: str) -> Callable[..., None]:
    def tell(self: CallbackList, batch: int, logs: Any = None) -> None:
        if hooks := self._hooks[name]:
            logs = lazy_logs(logs)
            for hook in hooks:
                hook(batch, logs=logs)

    return tell


def _tell_whole(name: str) -> Callable[..., None]:
    def tell(self: CallbackList, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        for hook in self._hooks[name]:
            hook(logs)

    return tell


for _names, _make in ((_NUMBERED, _tell_epoch), (_BATCH, _tell_batch), (_WHOLE, _tell_whole)):
    for _name in _names:
        setattr(CallbackList, _name, _make(_name))
