"""Means of the losses, of cosines and of correlations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from triarch import config, losses
from triarch.losses.alignment import mask_for, match, over_regions
from triarch.metrics.base import FAMILY, FUNCTIONS, FunctionMetric, Mean, MeanMetricWrapper
from triarch.registry import register
from triarch.tensors import kept_mask


@register(FUNCTIONS)
def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """Pearson's correlation of labels and predictions along `axis`."""
    y_true, y_pred = match(y_true, y_pred)
    true, pred = (x - x.mean(axis, keepdim=True) for x in (y_true, y_pred))
    true, pred = (x / x.std(axis, correction=0, keepdim=True) for x in (true, pred))
    return (true * pred).mean(axis)


@register(FUNCTIONS)
def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    """Lin's concordance correlation of labels and predictions along `axis`: agreement, not only proportionality."""
    y_true, y_pred = match(y_true, y_pred)
    true_mean, pred_mean = y_true.mean(axis, keepdim=True), y_pred.mean(axis, keepdim=True)
    covariance = (y_true - pred_mean) * (y_pred - pred_mean)
    variances = y_true.var(axis, correction=0, keepdim=True) + y_pred.var(axis, correction=0, keepdim=True)
    return (2 * covariance / (variances + (true_mean - pred_mean).square() + config.epsilon())).mean(axis)


@over_regions
def _cosine(y_true: Any, y_pred: Any, axis: int = -1) -> torch.Tensor:
    return -losses.cosine_similarity(y_true, y_pred, axis)


@register(FAMILY, "mse", "MSE")
class MeanSquaredError(FunctionMetric):
    """The mean of squared errors."""

    _direction = "down"
    function = staticmethod(losses.mean_squared_error)


@register(FAMILY, "mae", "MAE")
class MeanAbsoluteError(FunctionMetric):
    """The mean of absolute errors."""

    _direction = "down"
    function = staticmethod(losses.mean_absolute_error)


@register(FAMILY, "mape", "MAPE")
class MeanAbsolutePercentageError(FunctionMetric):
    """The mean of absolute errors in percent of the labels."""

    _direction = "down"
    function = staticmethod(losses.mean_absolute_percentage_error)


@register(FAMILY, "msle", "MSLE")
class MeanSquaredLogarithmicError(FunctionMetric):
    """The mean of squared differences of logarithms."""

    _direction = "down"
    function = staticmethod(losses.mean_squared_logarithmic_error)


@register(FAMILY)
class Hinge(FunctionMetric):
    """The mean hinge loss."""

    _direction = "down"
    function = staticmethod(losses.hinge)


@register(FAMILY)
class SquaredHinge(FunctionMetric):
    """The mean squared hinge loss."""

    _direction = "down"
    function = staticmethod(losses.squared_hinge)


@register(FAMILY)
class CategoricalHinge(FunctionMetric):
    """The mean hinge loss of one-hot labels."""

    _direction = "down"
    function = staticmethod(losses.categorical_hinge)


@register(FAMILY, "kld", "KLD")
class KLDivergence(FunctionMetric):
    """The mean Kullback-Leibler divergence of the predicted distributions from the labels."""

    _direction = "down"
    function = staticmethod(losses.kl_divergence)


@register(FAMILY)
class Poisson(FunctionMetric):
    """The mean negative log likelihood of counts under a Poisson distribution."""

    _direction = "down"
    function = staticmethod(losses.poisson)


@register(FAMILY)
class LogCoshError(MeanMetricWrapper):
    """The mean of `log(cosh(error))`."""

    _direction = "down"

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.log_cosh, name, dtype)


@register(FAMILY, "rmse", "RMSE")
class RootMeanSquaredError(Mean):
    """The square root of the mean of squared errors over everything seen."""

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Take in a batch."""
        mask = kept_mask(y_pred)
        true, pred = match(y_true, y_pred)
        mask = None if mask is None else mask_for(pred, mask)
        self._count_in((pred - true).square(), sample_weight, mask)

    def result(self) -> torch.Tensor:
        """The root of the mean."""
        return super().result().sqrt()


@register(FAMILY)
class CosineSimilarity(MeanMetricWrapper):
    """The mean cosine of the angle between label and prediction along `axis`: 1 for the same direction."""

    _direction = "up"

    def __init__(self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(_cosine, name, dtype, axis=axis)
        self.axis = axis

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._arguments():
            if name != "axis" or value != -1:  # Keras does not write it, but reads it
                yield name, value


@register(FAMILY)
class PearsonCorrelation(MeanMetricWrapper):
    """The mean of Pearson's correlation along `axis`."""

    _direction = "up"

    def __init__(self, name: str | None = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


@register(FAMILY)
class ConcordanceCorrelation(MeanMetricWrapper):
    """The mean of Lin's concordance correlation along `axis`."""

    _direction = "up"

    def __init__(self, name: str | None = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)
        self.axis = axis


@register(FAMILY, "bce", "BCE", "BinaryCrossEntropy", "binary_cross_entropy")
class BinaryCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of yes-or-no labels."""

    _direction = "down"

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing


@register(FAMILY, "CategoricalCrossEntropy", "categorical_cross_entropy")
class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of one-hot labels."""

    _direction = "down"

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@register(FAMILY, "SparseCategoricalCrossEntropy", "sparse_categorical_cross_entropy")
class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of labels that are class numbers."""

    _direction = "down"

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis
