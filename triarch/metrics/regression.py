"""The coefficient of determination."""

from __future__ import annotations

from typing import Any

import torch

from triarch.losses.alignment import align_weight, mask_for, match
from triarch.metrics.base import FAMILY, Metric
from triarch.registry import register
from triarch.tensors import as_tensor, kept_mask
from triarch.variable import Variable

_AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


@register(FAMILY)
class R2Score(Metric):
    """R², the part of the labels' variance that the predictions explain; labels and predictions `(batch, outputs)`.

    Args:
        class_aggregation: `"uniform_average"` of the outputs, `"variance_weighted_average"`, or None for one R² each.
        num_regressors: The number of independent inputs, for the adjusted R²; with fewer samples than that plus 2 the
            plain R² is given.
        name: The name in reports.
        dtype: The float type of the computation.
    """

    _direction = "up"
    squared_sum: Variable
    sum: Variable
    total_mse: Variable
    count: Variable

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if class_aggregation not in _AGGREGATIONS:
            raise ValueError(f"class_aggregation must be one of {_AGGREGATIONS}. Received: {class_aggregation!r}")
        if num_regressors < 0:
            raise ValueError(f"num_regressors must not be negative. Received: {num_regressors!r}")
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self.add_variable((), name="num_samples")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch. A mask that `y_pred` carries leaves samples or single numbers out."""
        mask = kept_mask(y_pred)
        y_true, y_pred = match(y_true, as_tensor(y_pred, self._torch_dtype, self._device))
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                "R2Score needs labels and predictions of shape (batch, outputs). "
                f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
            )
        if len(self._variables) == 1:
            outputs = (y_true.shape[1],)
            self.squared_sum = self.add_variable(outputs, name="squared_sum")
            self.sum = self.add_variable(outputs, name="sum")
            self.total_mse = self.add_variable(outputs, name="residual")
            self.count = self.add_variable(outputs, name="count")
        weight = torch.as_tensor(
            1 if sample_weight is None else sample_weight, dtype=y_true.dtype, device=y_true.device
        )
        weight = align_weight(weight, y_true).expand(y_true.shape)
        counts = None if mask is None else align_weight(mask_for(y_pred, mask), y_true, "mask").expand(y_true.shape)
        if counts is not None:
            weight, y_true, y_pred = (part.masked_fill(~counts, 0) for part in (weight, y_true, y_pred))
        weighted = y_true * weight
        self.sum.add_(weighted.sum(0))
        self.squared_sum.add_((y_true * weighted).sum(0))
        self.total_mse.add_(((y_true - y_pred).square() * weight).sum(0))
        self.count.add_(weight.sum(0))
        self.num_samples.add_(y_true.numel() if counts is None else counts.sum())

    def result(self) -> torch.Tensor:
        """R² over everything seen; nan before the first batch."""
        if len(self._variables) == 1:
            return torch.full((), torch.nan, device=self._device)
        total = self.squared_sum.detach() - self.sum.detach() ** 2 / self.count.detach()
        scores = 1 - self.total_mse.detach() / total
        scores = scores.masked_fill(scores.isinf(), 0.0)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = (total * scores).sum() / total.sum()
        if self.num_regressors:
            freedom = self.num_samples.detach() - self.num_regressors - 1
            adjusted = 1 - (1 - scores) * (self.num_samples.detach() - 1) / freedom
            scores = torch.where(freedom > 0, adjusted, scores)
        return scores
