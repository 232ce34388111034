"""The best rate that can be had while another rate stays above a bound, over all thresholds."""

from __future__ import annotations

from typing import Any

import torch

from triarch.losses.alignment import divide_no_nan
from triarch.metrics.base import FAMILY
from triarch.metrics.confusion import ConfusionMetric
from triarch.registry import register
from triarch.variable import Variable


class _BestUnderConstraint(ConfusionMetric):
    """The best of one rate over all thresholds at which another rate is at least `value`."""

    _direction = "up"

    def __init__(
        self, value: float, kind: str, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any
    ) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"{kind} must lie in [0, 1]. Received: {value!r}")
        if num_thresholds <= 0:
            raise ValueError(f"num_thresholds must be a positive integer. Received: {num_thresholds!r}")
        limits = [0.5] if num_thresholds == 1 else [i / (num_thresholds - 1) for i in range(num_thresholds)]
        super().__init__(dtype, name, limits, num_thresholds > 1)
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        self._value = value
        self._add_tallies()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`, of the same shape."""
        self._count(y_true, y_pred, sample_weight, class_id=self.class_id)

    def _rate(self, hits: Variable, misses: Variable) -> torch.Tensor:
        return divide_no_nan(hits.detach(), hits.detach() + misses.detach())

    def _best(self, wanted: torch.Tensor, constrained: torch.Tensor) -> torch.Tensor:
        return wanted.masked_fill(constrained < self._value, 0).amax().clamp(min=0)


@register(FAMILY)
class SensitivityAtSpecificity(_BestUnderConstraint):
    """The highest `tp / (tp + fn)` at a threshold where `tn / (tn + fp)` is at least `specificity`."""

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, "specificity", num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def result(self) -> torch.Tensor:
        """The best sensitivity."""
        specificity = self._rate(self.true_negatives, self.false_positives)
        return self._best(self._rate(self.true_positives, self.false_negatives), specificity)


@register(FAMILY)
class SpecificityAtSensitivity(_BestUnderConstraint):
    """The highest `tn / (tn + fp)` at a threshold where `tp / (tp + fn)` is at least `sensitivity`."""

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, "sensitivity", num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> torch.Tensor:
        """The best specificity."""
        specificity = self._rate(self.true_negatives, self.false_positives)
        return self._best(specificity, self._rate(self.true_positives, self.false_negatives))


@register(FAMILY)
class PrecisionAtRecall(_BestUnderConstraint):
    """The highest precision at a threshold where the recall is at least `recall`."""

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, "recall", num_thresholds, class_id, name, dtype)
        self.recall = recall

    def result(self) -> torch.Tensor:
        """The best precision."""
        recall = self._rate(self.true_positives, self.false_negatives)
        return self._best(self._rate(self.true_positives, self.false_positives), recall)


@register(FAMILY)
class RecallAtPrecision(_BestUnderConstraint):
    """The highest recall at a threshold where the precision is at least `precision`."""

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, "precision", num_thresholds, class_id, name, dtype)
        self.precision = precision

    def result(self) -> torch.Tensor:
        """The best recall."""
        recall = self._rate(self.true_positives, self.false_negatives)
        return self._best(recall, self._rate(self.true_positives, self.false_positives))
