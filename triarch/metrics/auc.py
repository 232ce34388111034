"""The area under the ROC or precision-recall curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from triarch import config
from triarch.losses.alignment import divide_no_nan
from triarch.metrics.base import FAMILY
from triarch.metrics.confusion import ConfusionMetric, evenly_spaced
from triarch.registry import register
from triarch.tensors import as_tensor, keep_mask, kept_mask

_CURVES = ("ROC", "PR", "PRGAIN")
_METHODS = ("interpolation", "majoring", "minoring")


@register(FAMILY)
class AUC(ConfusionMetric):
    """The area under a curve, approximated by a sum over thresholds.

    Args:
        num_thresholds: How many thresholds from 0 to 1.
        curve: `"ROC"`, `"PR"` (precision over recall) or `"PRGAIN"`.
        summation_method: `"interpolation"` (trapezoids; for PR the interpolation of Davis & Goadrich, 2006),
            `"minoring"` (a lower bound) or `"majoring"` (an upper bound).
        name: The name in reports.
        dtype: The float type of the computation.
        thresholds: Thresholds between 0 and 1, in place of `num_thresholds`.
        multi_label: Whether each column has a curve of its own, whose areas are averaged.
        num_labels: The number of columns with `multi_label`, where it shall be known before the first batch.
        label_weights: The weight of each column.
        from_logits: Whether predictions are logits, to be put through a sigmoid.
    """

    _direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if str(curve).upper() not in _CURVES:
            raise ValueError(f"curve must be one of {_CURVES}. Received: {curve!r}")
        if str(summation_method).lower() not in _METHODS:
            raise ValueError(f"summation_method must be one of {_METHODS}. Received: {summation_method!r}")
        if num_labels and not multi_label:
            raise ValueError(f"num_labels is for multi_label=True only. Received: num_labels={num_labels}")
        if thresholds is None:
            if num_thresholds <= 1:
                raise ValueError(f"num_thresholds must be an integer above 1. Received: {num_thresholds!r}")
            inner, evenly = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)], True
        else:
            inner = sorted(thresholds)
            evenly = evenly_spaced([0.0, *inner, 1.0])
        epsilon = config.epsilon()  # the outer thresholds have every prediction between them
        super().__init__(dtype, name, [-epsilon, *inner, 1.0 + epsilon], evenly)
        self.num_thresholds = len(inner) + 2
        self.curve = str(curve).upper()
        self.summation_method = str(summation_method).lower()
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = from_logits
        self._from_thresholds = thresholds is not None
        self._weights = None if label_weights is None else torch.tensor(self.label_weights, device=self._device)
        if num_labels or not multi_label:
            self._add_tallies(*([num_labels] if num_labels else []))

    @property
    def thresholds(self) -> list[float]:
        """All thresholds, the outer ones included."""
        return list(self._limits)

    def to(self, device: torch.device) -> None:
        """Move the state."""
        super().to(device)
        self._weights = None if self._weights is None else self._weights.to(device)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`, of the same shape."""
        mask = kept_mask(y_pred)
        y_pred = as_tensor(y_pred, self._torch_dtype, self._device)
        if self.multi_label and y_pred.ndim != 2:
            raise ValueError(
                "multi_label=True needs predictions of shape (batch, labels). "
                f"Received: y_pred.shape={tuple(y_pred.shape)}"
            )
        if not self._variables:
            self._add_tallies(y_pred.shape[1])
        if self.from_logits:
            y_pred = torch.sigmoid(y_pred)
        if mask is not None:
            y_pred = keep_mask(y_pred.view_as(y_pred), mask)
        weights = None if self.multi_label else self._weights
        self._count(y_true, y_pred, sample_weight, label_weights=weights, by_label=self.multi_label)

    def result(self) -> torch.Tensor:
        """The area, averaged over labels with `multi_label`; 0 before the first batch."""
        if not self._variables:
            return torch.zeros((), device=self._device)
        tp, fp = self.true_positives.detach(), self.false_positives.detach()
        tn, fn = self.true_negatives.detach(), self.false_negatives.detach()
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._average(_interpolated_pr_areas(tp, fp, fn))
        if self.curve == "ROC":
            x, y = divide_no_nan(fp, fp + tn), divide_no_nan(tp, tp + fn)
        elif self.curve == "PR":
            x, y = divide_no_nan(tp, tp + fn), divide_no_nan(tp, tp + fp)
        else:
            scale = divide_no_nan(tp + fn, tn + fp)
            x = (1.0 - scale * divide_no_nan(fn, tp)).masked_fill(tp == 0, 0.0).clamp(min=0.0)
            y = (1.0 - scale * divide_no_nan(fp, tp)).masked_fill(tp == 0, 1.0)
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2
        else:
            heights = (torch.minimum if self.summation_method == "minoring" else torch.maximum)(y[:-1], y[1:])
        return self._average((x[:-1] - x[1:]) * heights)

    def _average(self, areas: torch.Tensor) -> torch.Tensor:
        if not self.multi_label:
            return areas.sum()
        by_label = areas.sum(0)
        if self._weights is None:
            return by_label.mean()
        return divide_no_nan((by_label * self._weights).sum(), self._weights.sum())

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._arguments():
            if name != "thresholds":
                yield name, value
            elif self._from_thresholds:
                yield name, value[1:-1]


def _interpolated_pr_areas(tp: torch.Tensor, fp: torch.Tensor, fn: torch.Tensor) -> torch.Tensor:
    """Areas under the precision-recall curve between thresholds, true positives interpolated (Davis & Goadrich)."""
    positive = tp + fp
    step = tp[:-1] - tp[1:]
    slope = divide_no_nan(step, (positive[:-1] - positive[1:]).clamp(min=0))
    intercept = tp[1:] - slope * positive[1:]
    both = (positive[:-1] > 0) & (positive[1:] > 0)
    ratio = torch.where(both, divide_no_nan(positive[:-1], positive[1:].clamp(min=0)), 1.0)
    return divide_no_nan(slope * (step + intercept * ratio.log()), (tp[1:] + fn[1:]).clamp(min=0))
