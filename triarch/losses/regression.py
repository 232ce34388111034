"""Losses for numbers: the mean over the last axis of some distance between label and prediction."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from triarch import config
from triarch.losses.alignment import elementwise, match, over_regions
from triarch.losses.base import FAMILY, FunctionLoss, Loss
from triarch.registry import register


@register(FAMILY, "mse", "MSE")
@elementwise
def mean_squared_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean((y_true - y_pred)²)` over the last axis."""
    y_true, y_pred = match(y_true, y_pred)
    return (y_true - y_pred).square().mean(-1)


@register(FAMILY, "mae", "MAE")
@elementwise
def mean_absolute_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(|y_true - y_pred|)` over the last axis."""
    y_true, y_pred = match(y_true, y_pred)
    return (y_true - y_pred).abs().mean(-1)


@register(FAMILY, "mape", "MAPE")
@elementwise
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`100 * mean(|y_true - y_pred| / |y_true|)` over the last axis."""
    y_true, y_pred = match(y_true, y_pred)
    return 100.0 * ((y_true - y_pred) / y_true.abs().clamp(min=config.epsilon())).abs().mean(-1)


@register(FAMILY, "msle", "MSLE")
@elementwise
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean((log(y_true + 1) - log(y_pred + 1))²)` over the last axis; negative numbers count as 0."""
    y_true, y_pred = match(y_true, y_pred)
    epsilon = config.epsilon()
    return ((y_pred.clamp(min=epsilon) + 1).log() - (y_true.clamp(min=epsilon) + 1).log()).square().mean(-1)


@register(FAMILY)
@elementwise
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> torch.Tensor:
    """The mean of `error² / 2` where `|error| <= delta`, and of its tangent `delta * |error| - delta² / 2` beyond."""
    y_true, y_pred = match(y_true, y_pred)
    return F.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)


@register(FAMILY, "logcosh")
@elementwise
def log_cosh(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(log(cosh(y_pred - y_true)))` over the last axis."""
    y_true, y_pred = match(y_true, y_pred)
    error = y_pred - y_true
    return (error + F.softplus(-2.0 * error) - math.log(2.0)).mean(-1)


@register(FAMILY)
@over_regions
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """Minus the cosine of the angle between label and prediction: -1 for the same direction, 1 for opposite ones."""
    y_true, y_pred = match(y_true, y_pred)
    epsilon = config.epsilon()
    return -(F.normalize(y_true, dim=axis, eps=epsilon) * F.normalize(y_pred, dim=axis, eps=epsilon)).sum(axis)


@register(FAMILY)
class MeanSquaredError(FunctionLoss):
    """The mean of squared errors."""

    formula = staticmethod(mean_squared_error)


@register(FAMILY)
class MeanAbsoluteError(FunctionLoss):
    """The mean of absolute errors."""

    formula = staticmethod(mean_absolute_error)


@register(FAMILY)
class MeanAbsolutePercentageError(FunctionLoss):
    """The mean of absolute errors in percent of the labels."""

    formula = staticmethod(mean_absolute_percentage_error)


@register(FAMILY)
class MeanSquaredLogarithmicError(FunctionLoss):
    """The mean of squared differences of logarithms."""

    formula = staticmethod(mean_squared_logarithmic_error)


@register(FAMILY)
class LogCosh(FunctionLoss):
    """The mean of `log(cosh(error))`: squared for small errors, absolute for large ones."""

    formula = staticmethod(log_cosh)


@register(FAMILY)
class Huber(Loss):
    """Squared error up to `delta`, absolute error beyond."""

    formula = staticmethod(huber)
    left_out_defaults: ClassVar = {"delta": 1.0}

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = delta

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return huber(y_true, y_pred, self.delta)


@register(FAMILY)
class CosineSimilarity(Loss):
    """Minus the cosine between label and prediction along `axis`."""

    formula = staticmethod(cosine_similarity)
    left_out_defaults: ClassVar = {"axis": -1}

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return cosine_similarity(y_true, y_pred, self.axis)
