"""Counts of true and false positives and negatives at thresholds, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from triarch import config
from triarch.losses.alignment import align_weight, divide_no_nan, fitted, mask_for
from triarch.metrics.base import FAMILY, Metric
from triarch.registry import register
from triarch.tensors import as_tensor, kept_mask
from triarch.variable import Variable

NEVER = -1e10  # below every prediction: what top-k leaves out, and the threshold that lets the rest through


def evenly_spaced(thresholds: Sequence[float]) -> bool:
    """Whether these are three or more equal steps from 0 to 1, so that a prediction's place can be computed."""
    count = len(thresholds)
    return count >= 3 and np.allclose(thresholds, np.linspace(0, 1, count), atol=config.epsilon())


class ConfusionMetric(Metric):
    """A metric whose state are counts at each threshold: its `tallies`, variables of these names.

    Predictions above a threshold are positive. `class_id` looks at one class only, `top_k` at the k highest
    predictions of each sample.
    """

    tallies: ClassVar[tuple[str, ...]] = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    true_positives: Variable
    false_positives: Variable
    true_negatives: Variable
    false_negatives: Variable

    def __init__(self, dtype: Any, name: str | None, limits: Sequence[float], evenly: bool) -> None:
        super().__init__(dtype, name)
        self._limits = [float(limit) for limit in limits]
        self._evenly = evenly
        self._limit_tensor = torch.tensor(self._limits, dtype=self._torch_dtype, device=self._device)

    def _add_tallies(self, *labels: int) -> None:
        for tally in self.tallies:
            setattr(self, tally, self.add_variable((len(self._limits), *labels), name=tally))

    def to(self, device: torch.device) -> None:
        """Move the state."""
        super().to(device)
        self._limit_tensor = self._limit_tensor.to(device)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`, of the same shape."""
        self._count(y_true, y_pred, sample_weight)

    def _count(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any,
        top_k: int | None = None,
        class_id: int | None = None,
        label_weights: torch.Tensor | None = None,
        by_label: bool = False,
    ) -> None:
        mask = kept_mask(y_pred)
        y_pred = as_tensor(y_pred, self._torch_dtype, self._device)
        y_true, y_pred = fitted(as_tensor(y_true, device=self._device).bool().to(y_pred.dtype), y_pred)
        if top_k is not None:
            best = y_pred.topk(min(top_k, y_pred.shape[-1]), -1).indices
            y_pred = torch.full_like(y_pred, NEVER).scatter(-1, best, y_pred.gather(-1, best))
        if class_id is not None:
            if y_pred.ndim == 1 or class_id >= y_pred.shape[-1]:
                raise ValueError(
                    "class_id needs predictions of shape (batch, classes), and a class that they have. "
                    f"Received: class_id={class_id}, y_pred.shape={tuple(y_pred.shape)}"
                )
            y_true, y_pred = y_true[..., class_id, None], y_pred[..., class_id, None]

        weight = torch.ones_like(y_pred) if label_weights is None else label_weights.expand(y_pred.shape)
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight, dtype=y_pred.dtype, device=y_pred.device)
            weight = weight * align_weight(sample_weight, y_pred)
        if mask is not None:
            weight = weight * align_weight(mask_for(y_pred, mask), y_pred, "mask")
        columns = y_pred.shape[-1] if by_label else 1
        positive, y_pred = (y_true * weight).reshape(-1, columns), y_pred.reshape(-1, columns)
        negative = weight.reshape(-1, columns) - positive

        hits, false_alarms = self._above(y_pred, positive), self._above(y_pred, negative)  # (thresholds, columns)
        for tally in self.tallies:
            variable: Variable = getattr(self, tally)
            if tally == "true_positives":
                count = hits
            elif tally == "false_positives":
                count = false_alarms
            elif tally == "false_negatives":
                count = positive.sum(0) - hits
            else:
                count = negative.sum(0) - false_alarms
            variable.add_(count.reshape(variable.shape))

    def _above(self, y_pred: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The weight of the predictions above each threshold, `(thresholds, columns)`."""
        count = len(self._limits)
        if not self._evenly:
            above = y_pred > self._limit_tensor.reshape(-1, 1, 1)
            return (above * weight).sum(1)
        # Prediction p lies above the thresholds 0 ... ceil(p * (count - 1)) - 1.
        places = (y_pred.clamp(0.0, 1.0) * (count - 1)).ceil().long()
        places = places.clamp(1 if self._limits[0] < 0 else 0, count - 1)
        histogram = weight.new_zeros(count + 1, weight.shape[1]).scatter_add_(0, places, weight)
        return histogram.flip(0).cumsum(0).flip(0)[1:]


def _as_list(thresholds: Any, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    listed = list(thresholds) if isinstance(thresholds, (list, tuple, np.ndarray)) else [thresholds]
    wrong = [limit for limit in listed if limit is None or not 0 <= limit <= 1]
    if wrong:
        raise ValueError(f"thresholds must lie in [0, 1]. Received: {wrong}")
    return listed


class _Tally(ConfusionMetric):
    """One of the four counts at one or more thresholds (0.5 by default)."""

    _direction: ClassVar[str | None] = None

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        limits = _as_list(thresholds, 0.5)
        super().__init__(dtype, name, limits, evenly_spaced(limits))
        self.thresholds = thresholds
        self._add_tallies()

    @property
    def accumulator(self) -> Variable:
        """The count at each threshold."""
        return getattr(self, self.tallies[0])

    def result(self) -> torch.Tensor:
        """The count, or one for each threshold."""
        count = self.accumulator.detach()
        return count[0] if len(self._limits) == 1 else count.clone()


@register(FAMILY)
class TruePositives(_Tally):
    """How many labels 1 are predicted above the threshold."""

    tallies = ("true_positives",)


@register(FAMILY)
class FalsePositives(_Tally):
    """How many labels 0 are predicted above the threshold."""

    tallies = ("false_positives",)


@register(FAMILY)
class TrueNegatives(_Tally):
    """How many labels 0 are not predicted above the threshold."""

    tallies = ("true_negatives",)


@register(FAMILY)
class FalseNegatives(_Tally):
    """How many labels 1 are not predicted above the threshold."""

    tallies = ("false_negatives",)


class _Share(ConfusionMetric):
    """True positives as a share of themselves and the second tally."""

    _direction = "up"

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        limits = _as_list(thresholds, 0.5 if top_k is None else NEVER)
        super().__init__(dtype, name, limits, evenly_spaced(limits))
        self.thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self._add_tallies()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`, of the same shape."""
        self._count(y_true, y_pred, sample_weight, self.top_k, self.class_id)

    def result(self) -> torch.Tensor:
        """The share, or one for each threshold; 0 where nothing was counted."""
        first, second = (getattr(self, tally).detach() for tally in self.tallies)
        share = divide_no_nan(first, first + second)
        return share[0] if len(self._limits) == 1 else share


@register(FAMILY)
class Precision(_Share):
    """How many of the predicted positives are right: `tp / (tp + fp)`."""

    tallies = ("true_positives", "false_positives")


@register(FAMILY)
class Recall(_Share):
    """How many of the positives are found: `tp / (tp + fn)`."""

    tallies = ("true_positives", "false_negatives")
