"""F scores: weighted harmonic means of precision and recall."""

from __future__ import annotations

from typing import Any

import torch

from triarch import config
from triarch.losses.alignment import align_weight, mask_for
from triarch.metrics.base import FAMILY, Metric
from triarch.registry import register
from triarch.tensors import as_tensor, kept_mask
from triarch.variable import Variable

_AVERAGES = (None, "micro", "macro", "weighted")
_TALLIES = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")


@register(FAMILY, "fbeta_score")
class FBetaScore(Metric):
    """`(1 + beta²) * precision * recall / (beta² * precision + recall)`; labels and predictions `(batch, classes)`.

    Args:
        average: None (one score a class), `"micro"` (over all counts), `"macro"` (mean over classes) or `"weighted"`
            (by the classes' frequency).
        beta: How much more recall weighs than precision.
        threshold: Above it a prediction is positive; by default the highest prediction of each sample is.
        name: The name in reports.
        dtype: The float type of the computation.
    """

    _direction = "up"
    true_positives: Variable
    false_positives: Variable
    false_negatives: Variable
    intermediate_weights: Variable

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if average not in _AVERAGES:
            raise ValueError(f"average must be one of {_AVERAGES}. Received: {average!r}")
        if not isinstance(beta, float) or beta <= 0:
            raise ValueError(f"beta must be a positive float. Received: {beta!r}")
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            raise ValueError(f"threshold must be a float in (0, 1] or None. Received: {threshold!r}")
        self.average = average
        self.beta = beta
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`."""
        mask = kept_mask(y_pred)
        y_pred = as_tensor(y_pred, self._torch_dtype, self._device)
        y_true = as_tensor(y_true, self._torch_dtype, y_pred.device)
        if y_pred.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__} needs labels and predictions of shape (batch, classes). "
                f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
            )
        if not self._variables:
            shape = () if self.average == "micro" else (y_pred.shape[1],)
            for tally in _TALLIES:
                setattr(self, tally, self.add_variable(shape, dtype=self.dtype, name=tally))
        if self.threshold is None:
            positive = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            positive = y_pred > self.threshold
        predicted = positive.to(y_true.dtype)
        counts = (predicted * y_true, predicted * (1 - y_true), (1 - predicted) * y_true, y_true)
        if sample_weight is not None:
            weight = torch.as_tensor(sample_weight, dtype=y_true.dtype, device=y_true.device)
            counts = tuple(count * align_weight(weight, count) for count in counts)
        if mask is not None:
            counts = tuple(count * align_weight(mask_for(y_pred, mask), count, "mask") for count in counts)
        for tally, count in zip(_TALLIES, counts, strict=True):
            getattr(self, tally).add_(count.sum() if self.average == "micro" else count.sum(0))

    def result(self) -> torch.Tensor:
        """The score, or one for each class without `average`; 0 before the first batch."""
        if not self._variables:
            return torch.zeros((), device=self._device)
        epsilon = config.epsilon()
        hits = self.true_positives.detach()
        precision = hits / (hits + self.false_positives.detach() + epsilon)
        recall = hits / (hits + self.false_negatives.detach() + epsilon)
        score = precision * recall / (self.beta**2 * precision + recall + epsilon) * (1 + self.beta**2)
        if self.average == "weighted":
            frequency = self.intermediate_weights.detach()
            return (score * (frequency / (frequency.sum() + epsilon))).sum()
        return score if self.average is None else score.mean()


@register(FAMILY)
class F1Score(FBetaScore):
    """The harmonic mean of precision and recall; labels and predictions `(batch, classes)` (see `FBetaScore`)."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)
