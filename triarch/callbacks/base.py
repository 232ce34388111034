"""`Callback`: what may listen to training."""

from __future__ import annotations

from typing import Any


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
