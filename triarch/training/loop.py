"""The loops: epochs of training, one pass of evaluation, one pass of prediction.

They know nothing of models: they run a function on batches and tell callbacks. The function takes a list of batches
(more than one where `steps_per_execution` says so).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch.callbacks import CallbackList
from triarch.tensors import as_array
from triarch.training.batches import Batch

Step = Callable[[list[Batch]], Any]
Logs = dict[str, float]


class Trainee(Protocol):
    """What a loop needs of the thing that it trains."""

    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool

    def mode(self, training: bool) -> AbstractContextManager[None]: ...
    def reset_metrics(self) -> None: ...
    def report(self, last_logs: Any) -> Logs: ...
    def finish_training(self) -> None: ...


def run_training(
    trainee: Trainee,
    step: Step,
    next_epoch: Callable[[], Iterator[Batch]],
    callbacks: CallbackList,
    epochs: range,
    steps_per_epoch: int | None = None,
    steps_per_execution: int = 1,
    validate: Callable[[], Logs] | None = None,
    validate_at: Callable[[int], bool] = lambda epoch: True,
) -> None:
    """Train for these epochs; the callbacks' History keeps what was reported."""
    trainee.stop_training = False
    callbacks.on_train_begin()
    logs: Logs = {}
    for epoch in epochs:
        trainee.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        last_logs, done = None, 0
        with trainee.mode(True), torch.enable_grad():  # a hook of `evaluate` may train
            for group in _grouped(next_epoch(), steps_per_execution):
                callbacks.on_train_batch_begin(done)
                last_logs = step(group)
                callbacks.on_train_batch_end(done + len(group) - 1, last_logs)
                done += len(group)
                if trainee.stop_training:
                    break
        if done == 0 and epoch > epochs.start:
            warnings.warn(
                f"The data gave no batch in epoch {epoch + 1}, where training ends. A generator can be gone through "
                "only once: make it endless, and say how long an epoch is by `steps_per_epoch`.",
                stacklevel=3,
            )
            break
        _check_enough(done, steps_per_epoch, stopped=trainee.stop_training)
        logs = trainee.report(last_logs)
        if validate is not None and validate_at(epoch):
            logs |= {f"val_{name}": value for name, value in validate().items()}
            logs = dict(sorted(logs.items()))
        callbacks.on_epoch_end(epoch, logs)
        if trainee.stop_training or (steps_per_epoch is not None and done < steps_per_epoch):
            break
    trainee.finish_training()
    callbacks.on_train_end(logs)


def run_evaluation(
    trainee: Trainee,
    step: Step,
    next_epoch: Callable[[], Iterator[Batch]],
    callbacks: CallbackList,
    steps: int | None = None,
    steps_per_execution: int = 1,
) -> Logs:
    """One pass over the data without learning."""
    trainee.stop_evaluating = False
    callbacks.on_test_begin()
    trainee.reset_metrics()
    last_logs, done = None, 0
    with trainee.mode(False), torch.no_grad():
        for group in _grouped(next_epoch(), steps_per_execution):
            callbacks.on_test_batch_begin(done)
            last_logs = step(group)
            callbacks.on_test_batch_end(done + len(group) - 1, last_logs)
            done += len(group)
            if trainee.stop_evaluating:
                break
    _check_enough(done, steps, stopped=trainee.stop_evaluating)
    logs = trainee.report(last_logs)
    callbacks.on_test_end(logs)
    return logs


def run_prediction(
    trainee: Trainee,
    step: Step,
    next_epoch: Callable[[], Iterator[Batch]],
    callbacks: CallbackList,
    steps: int | None = None,
    steps_per_execution: int = 1,
) -> Any:
    """The outputs for all the data, joined along the batch axis, as arrays."""
    trainee.stop_predicting = False
    callbacks.on_predict_begin()
    outputs: list[Any] = []
    done = 0
    with trainee.mode(False), torch.no_grad():
        for group in _grouped(next_epoch(), steps_per_execution):
            callbacks.on_predict_batch_begin(done)
            found = step(group)
            outputs.append(as_array(found) if type(found) is torch.Tensor else pytree.tree_map(as_array, found))
            callbacks.on_predict_batch_end(done + len(group) - 1, {"outputs": outputs[-1]})
            done += len(group)
            if trainee.stop_predicting:
                break
    callbacks.on_predict_end()
    _check_enough(done, steps, stopped=trainee.stop_predicting)
    return joined(outputs)


def joined(outputs: list[Any]) -> Any:
    """A list of (nested) arrays -> one (nested) array, joined along the first axis."""
    return pytree.tree_map(lambda *parts: np.concatenate(parts), *outputs)


def _grouped(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    if size == 1:
        for batch in batches:
            yield [batch]
        return
    while group := list(islice(batches, size)):
        yield group


def _check_enough(done: int, steps: int | None, stopped: bool) -> None:
    if done == 0:
        raise ValueError(
            "The data gave no batch with samples in it: they are empty, or a generator that was gone through before; "
            "make a new one."
        )
    if steps is not None and done < steps and not stopped:
        warnings.warn(
            f"The data ran out after {done} of {steps} steps. They must give steps_per_epoch × epochs batches; "
            "repeat them, or ask for fewer steps.",
            stacklevel=3,
        )
