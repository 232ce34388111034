"""Predictions outside of loops, one batch after the other, by whole steps."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from triarch.kernels import expecting, method_in_use
from triarch.layers.tracking import changes
from triarch.training.whole_step import WholeStep


class RepeatedPrediction:
    """Predictions of a model outside of loops, one batch after the other.

    A model that was asked so often will be asked as often again: so much can be spent on its first prediction, its
    second, its fourth and so on. Layers that have changed since then are looked at anew.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._calls, self._next = 0, 1
        self._step: WholeStep | None = None
        self._seen: list[_Snapshot] = []
        self._changes = -1  # of layers' attributes, when they were looked at last

    def predict(self, x: Any) -> np.ndarray[Any, Any] | None:
        """The outputs; None where it cannot be done by whole steps."""
        self._calls += 1
        step = self._step
        if step is not None and self._calls < self._next and self._is_unchanged():
            return step.predict_array(x) if method_in_use() == "auto" else None
        self._next = max(self._next, 2 * self._calls)
        step, before = WholeStep(self._model), changes.count
        with expecting(self._calls):
            outputs = step.predict_array(x)
        layers = {id(layer): layer for layer in (self._model, *step.layers)}.values()
        self._seen = [_Snapshot(own) for layer in layers for own in (vars(layer), layer._parameters)]
        self._step, self._changes = step, before
        return outputs

    def _is_unchanged(self) -> bool:
        """Whether the layers are what they were."""
        now = changes.count
        if now != self._changes and not all(map(_Snapshot.still_holds, self._seen)):
            return False
        self._changes = now
        return True


class _Snapshot:
    """What users may have changed among attributes since then; states go on by themselves."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        names = [name for name in attributes if not name.startswith("_") and name not in ("states", "training")]
        self._now, self._count = attributes, len(attributes)
        self._get: Any = operator.itemgetter(*names, names[0]) if names else lambda own: ()  # always a tuple
        self._before = self._get(attributes)

    def still_holds(self) -> bool:
        """Whether all is as it was."""
        now = self._now
        try:
            return len(now) == self._count and all(map(operator.is_, self._get(now), self._before))
        except KeyError:
            return False
