"""How often predictions are right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from triarch import config
from triarch.losses.alignment import match, without_axis, without_class_axis
from triarch.metrics.base import FAMILY, FUNCTIONS, FunctionMetric, MeanMetricWrapper
from triarch.registry import register
from triarch.tensors import as_float_tensor, as_tensor, torch_dtype


def _as_floats(hits: torch.Tensor) -> torch.Tensor:
    return hits.to(torch_dtype(config.floatx()))


@without_axis
def _equal(y_true: Any, y_pred: Any) -> torch.Tensor:
    y_true, y_pred = match(y_true, as_tensor(y_pred))
    return y_true == y_pred


@without_axis
def _binary_hits(y_true: Any, y_pred: Any, threshold: float = 0.5) -> torch.Tensor:
    y_true, y_pred = match(y_true, y_pred)
    return (y_pred > threshold) == y_true


def _categorical_hits(y_true: Any, y_pred: Any) -> torch.Tensor:
    y_true, y_pred = _one_hot_pair(y_true, as_tensor(y_pred))
    return y_true.argmax(-1) == y_pred.argmax(-1)


def _one_hot_pair(y_true: Any, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and predictions of the same shape, the last axis that of the classes."""
    y_true = as_tensor(y_true, device=y_pred.device)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "Categorical accuracy needs one-hot labels of the shape of the predictions. Received: "
            f"y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}. "
            "For class numbers use sparse categorical accuracy."
        )
    return y_true, y_pred


def _sparse_hits(y_true: Any, y_pred: Any) -> torch.Tensor:
    y_pred = as_tensor(y_pred)
    y_true = without_class_axis(as_tensor(y_true, device=y_pred.device), y_pred, "Sparse accuracy")
    hits = y_true == y_pred.argmax(-1)
    return hits.squeeze(-1) if hits.ndim > 1 and hits.shape[-1] == 1 else hits


def _top_k_hits(labels: torch.Tensor, y_pred: torch.Tensor, k: int) -> torch.Tensor:
    classes = y_pred.shape[-1]
    lowest = y_pred.topk(min(k, classes), -1).values[..., -1]
    is_class = (labels >= 0) & (labels < classes)
    found = y_pred.gather(-1, labels.clamp(0, classes - 1).unsqueeze(-1)).squeeze(-1)
    return (found >= lowest) & is_class


def _categorical_top_k_hits(y_true: Any, y_pred: Any, k: int = 5) -> torch.Tensor:
    y_true, y_pred = _one_hot_pair(y_true, as_float_tensor(y_pred))
    return _top_k_hits(y_true.argmax(-1), y_pred, k)


def _sparse_top_k_hits(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> torch.Tensor:
    y_pred = as_tensor(y_pred)
    y_true = without_class_axis(as_tensor(y_true, device=y_pred.device), y_pred, "Sparse top-k accuracy")
    if from_sorted_ids:
        return (y_true.unsqueeze(-1) == y_pred[..., :k]).any(-1)
    return _top_k_hits(y_true.long(), as_float_tensor(y_pred), k)


@register(FUNCTIONS)
@without_axis
def accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where label and prediction are the same number, else 0."""
    return _as_floats(_equal(y_true, y_pred))


@register(FUNCTIONS)
@without_axis
def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> torch.Tensor:
    """1 where a label, 1 or 0, agrees with `y_pred > threshold`, else 0."""
    return _as_floats(_binary_hits(y_true, y_pred, threshold))


@register(FUNCTIONS)
def categorical_accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where the highest prediction is at the one of a one-hot label, else 0."""
    return _as_floats(_categorical_hits(y_true, y_pred))


@register(FUNCTIONS)
def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> torch.Tensor:
    """1 where the highest prediction is at the label, a class number, else 0."""
    return _as_floats(_sparse_hits(y_true, y_pred))


@register(FUNCTIONS)
def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> torch.Tensor:
    """1 where the one of a one-hot label is among the `k` highest predictions, else 0."""
    return _as_floats(_categorical_top_k_hits(y_true, y_pred, k))


@register(FUNCTIONS)
def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> torch.Tensor:
    """1 where the label, a class number, is among the `k` highest predictions, else 0.

    With `from_sorted_ids`, predictions are class numbers, the most probable first.
    """
    return _as_floats(_sparse_top_k_hits(y_true, y_pred, k, from_sorted_ids))


@register(FAMILY, "acc")
class Accuracy(FunctionMetric):
    """How often label and prediction are the same number."""

    _direction = "up"
    function = staticmethod(_equal)


@register(FAMILY)
class CategoricalAccuracy(FunctionMetric):
    """How often the highest prediction is at the one of a one-hot label."""

    _direction = "up"
    function = staticmethod(_categorical_hits)


@register(FAMILY)
class SparseCategoricalAccuracy(FunctionMetric):
    """How often the highest prediction is at the label, a class number."""

    _direction = "up"
    function = staticmethod(_sparse_hits)


@register(FAMILY)
class BinaryAccuracy(MeanMetricWrapper):
    """How often a label, 1 or 0, agrees with `y_pred > threshold`."""

    _direction = "up"

    def __init__(self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(_binary_hits, name, dtype, threshold=threshold)
        self.threshold = threshold


@register(FAMILY)
class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the one of a one-hot label is among the `k` highest predictions."""

    _direction = "up"

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(_categorical_top_k_hits, name, dtype, k=k)
        self.k = k


@register(FAMILY)
class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the label, a class number, is among the `k` highest predictions.

    With `from_sorted_ids`, predictions are class numbers, the most probable first.
    """

    _direction = "up"

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(_sparse_top_k_hits, name, dtype, k=k, from_sorted_ids=from_sorted_ids)
        self.k = k
        self.from_sorted_ids = from_sorted_ids

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._arguments():
            if name != "from_sorted_ids" or value:
                yield name, value
