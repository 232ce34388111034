"""`Callback`: what may listen to training; and the logs that it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch


class LazyLogs(MutableMapping[str, Any]):
    """The values of a batch, fetched when first looked at: fetching makes the host wait for the device.

    Always true, so that `logs or {}` fetches nothing. A step of one's own may add values to them.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._values: dict[str, Any] | None = None
        self.changed = False  # whether somebody added or removed values

    def _fetched(self) -> dict[str, Any]:
        if self._values is None:
            self._values = dict(self._fetch())
        return self._values

    def __getitem__(self, name: str) -> Any:
        return self._fetched()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._fetched()[name] = value
        self.changed = True

    def __delitem__(self, name: str) -> None:
        del self._fetched()[name]
        self.changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetched())

    def __len__(self) -> int:
        return len(self._fetched())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        """The values as a dict."""
        return dict(self)


def lazy_logs(logs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Logs for a batch hook; where a step of the user's own gave tensors, these become numbers when looked at."""
    if logs is None:
        return {}
    if isinstance(logs, LazyLogs) and not logs.changed:
        return LazyLogs(logs.copy)  # what a callback adds is no part of what the step reported
    return LazyLogs(lambda: {name: _plain(value) for name, value in flattened(logs)})


def flattened(logs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values sorted by name; a value that is a dict, of a metric with several results, gives its own."""
    for name in sorted(logs):
        if isinstance(logs[name], dict):
            yield from flattened(logs[name])
        else:
            yield name, logs[name]


def _plain(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and value.ndim == 0:
        return value.item()
    return value


class Callback:
    """Base class of callbacks: override the hooks that you need.

    `self.model` is the model, `self.params` has `epochs`, `steps` and `verbose`. Logs of epoch hooks are a dict of
    floats that callbacks may add to; those of batch hooks are read-only and, as looking at them makes the host wait for
    the device, best left alone in most steps.
    """

    params: dict[str, Any] | None = None
    _model: Any = None

    def __init__(self) -> None:
        """Nothing needs to be set here; own classes may leave this call out."""

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first, with `epochs`, `steps` and `verbose`."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called first, with the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return self._model

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Another name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Another name of `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before an epoch of training; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch and its validation, whose values have the prefix `val_`."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a training step; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a training step; `logs` has the means since the start of the epoch."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of `evaluate`, or of the validation in `fit`."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of `evaluate`, or of the validation in `fit`."""

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of `predict`; `logs["outputs"]` are its outputs."""

    def on_train_begin(self, logs: Any = None) -> None:
        """At the start of `fit`."""

    def on_train_end(self, logs: Any = None) -> None:
        """At the end of `fit`; `logs` are those of the last epoch."""

    def on_test_begin(self, logs: Any = None) -> None:
        """At the start of `evaluate` or of a validation."""

    def on_test_end(self, logs: Any = None) -> None:
        """At the end of `evaluate` or of a validation."""

    def on_predict_begin(self, logs: Any = None) -> None:
        """At the start of `predict`."""

    def on_predict_end(self, logs: Any = None) -> None:
        """At the end of `predict`."""
