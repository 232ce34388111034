"""Loops inside loops: what a callback or a step starts inside a loop leaves the outer one as it was."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch.metrics import Metric
from triarch.variable import Variable

_P = ParamSpec("_P")
_T = TypeVar("_T")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.ndarray, np.generic)


class _Running(threading.local):
    """The models whose loops run in this thread, the innermost one last."""

    def __init__(self) -> None:
        self.models: list[Any] = []


_running = _Running()


def as_loop(method: Callable[Concatenate[Any, _P], _T]) -> Callable[Concatenate[Any, _P], _T]:
    """A method that is a loop over batches: inside another loop, it puts back what that one counted, and its state.

    Counted is what the metrics hold that the two models share; state are the attributes named in `loop_state`.
    """

    @functools.wraps(method)
    def run(self: Any, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        running = _running.models
        if running:
            with _putting_back(self, running):
                return method(self, *args, **kwargs)
        running.append(self)
        try:
            return method(self, *args, **kwargs)
        finally:
            running.pop()

    return run


@contextmanager
def _putting_back(model: Any, running: list[Any]) -> Iterator[None]:
    is_running = any(outer is model for outer in running)
    state = {name: getattr(model, name) for name in model.loop_state} if is_running else {}
    counted = {id(metric): (metric, _counts(metric)) for metric in _shared_metrics(model, running)}
    running.append(model)
    try:
        yield
    finally:
        running.pop()
        for name, value in state.items():
            setattr(model, name, value)
        for metric in _shared_metrics(model, running):
            if id(metric) in counted:
                counted[id(metric)][1]()
            else:  # made meanwhile
                metric.reset_state()


def _shared_metrics(model: Any, running: list[Any]) -> list[Metric]:
    """Those of `model` in which one of the running loops counts too, each single one."""
    theirs = {id(metric) for outer in running for metric in outer.metrics}
    shared = [metric for metric in model.metrics if id(metric) in theirs]
    return [single for metric in shared for single in getattr(metric, "metrics", [metric])]


def _counts(metric: Metric) -> Callable[[], None]:
    """A function that puts back what a metric has counted up to now: its variables, and numbers kept in Python."""
    variables = [(variable, variable.detach().clone()) for variable in metric.variables]
    holders = [(holder, {k: _copied(v) for k, v in vars(holder).items() if _is_data(v)}) for holder in _holders(metric)]

    def put_back() -> None:
        if len(metric.variables) > len(variables):  # some were made meanwhile
            metric.reset_state()
        with torch.no_grad():
            for variable, value in variables:
                variable.copy_(value)
        for holder, data in holders:
            vars(holder).update(data)

    return put_back


def _holders(metric: Metric) -> list[Metric]:
    """The metric, and those inside."""
    inner = [value for value in vars(metric).values() if isinstance(value, Metric)]
    return [metric, *(holder for value in inner for holder in _holders(value))]


def _is_data(value: Any) -> bool:
    """Whether this is nothing but numbers, texts, arrays and tensors, in whatever containers."""
    leaves = value if isinstance(value, set) else pytree.tree_leaves(value)
    return all(
        isinstance(leaf, (*_PLAIN, torch.Tensor, set)) and not isinstance(leaf, Variable) for leaf in leaves
    ) and not isinstance(value, Variable)


def _copied(value: Any) -> Any:
    if isinstance(value, set):
        return set(value)
    return pytree.tree_map(_copied_leaf, value)


def _copied_leaf(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.clone()
    return leaf.copy() if isinstance(leaf, (np.ndarray, set)) else leaf
