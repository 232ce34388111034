"""Cross-entropies of one-hot labels, from probabilities or logits."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F

from triarch.losses.base import FAMILY, LabelSmoothingLoss, clipped, logits_of
from triarch.registry import register
from triarch.tensors import as_float_tensor, as_tensor


def log_probabilities(y_pred: torch.Tensor, from_logits: bool, axis: int) -> torch.Tensor:
    """Logarithms of probabilities, which are normalised and cut first, or of the softmax of logits."""
    if from_logits:
        return F.log_softmax(y_pred, axis)
    return clipped(y_pred / y_pred.sum(axis, keepdim=True)).log()


def _checked_axis(axis: Any) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise ValueError(f"axis must be an integer. Received: {axis!r}")
    return axis


def _one_hot_labels(
    y_true: Any, y_pred: torch.Tensor, label_smoothing: float, axis: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, smoothed, and predictions of equal shape."""
    y_true = as_tensor(y_true, y_pred.dtype, y_pred.device)
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "Categorical cross-entropy needs one-hot labels of the shape of the predictions. Received: "
            f"y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}. "
            "For class numbers use sparse_categorical_crossentropy."
        )
    if y_true.ndim and y_true.shape[axis] == 1:
        warnings.warn(
            "The categorical cross-entropy of a single class is always 0. For yes or no use binary_crossentropy. "
            f"Received: y_pred.shape={tuple(y_pred.shape)}",
            SyntaxWarning,
            stacklevel=3,
        )
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis]
    return y_true, y_pred


@register(FAMILY, "categorical_cross_entropy")
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor:
    """`-sum(y_true * log(y_pred))` along `axis`, labels one-hot or distributions.

    `label_smoothing` s mixes labels with the uniform distribution: `(1 - s) * y_true + s / classes`.
    """
    axis = _checked_axis(axis)
    logits = None if from_logits else logits_of(y_pred, "softmax", axis)
    scores = as_float_tensor(y_pred) if logits is None else logits
    y_true, scores = _one_hot_labels(y_true, scores, label_smoothing, axis)
    return -(y_true * log_probabilities(scores, from_logits or logits is not None, axis)).sum(axis)


@register(FAMILY)
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> torch.Tensor:
    """`-sum(alpha * (1 - y_pred)^gamma * y_true * log(y_pred))`: easy samples count less.

    `alpha` is a number or a weight for each class (https://arxiv.org/abs/1708.02002).
    """
    axis = _checked_axis(axis)
    logits = None if from_logits else logits_of(y_pred, "softmax", axis)
    scores = as_float_tensor(y_pred) if logits is None else logits
    y_true, scores = _one_hot_labels(y_true, scores, label_smoothing, axis)
    logs = log_probabilities(scores, from_logits or logits is not None, axis)
    alpha = torch.as_tensor(alpha, dtype=scores.dtype, device=scores.device)
    return -(alpha * (1.0 - logs.exp()) ** gamma * y_true * logs).sum(axis)


@register(FAMILY, "CategoricalCrossEntropy")
class CategoricalCrossentropy(LabelSmoothingLoss):
    """Cross-entropy of one-hot labels."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@register(FAMILY, "CategoricalFocalCrossEntropy")
class CategoricalFocalCrossentropy(LabelSmoothingLoss):
    """Cross-entropy of one-hot labels in which easy samples count less."""

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return categorical_focal_crossentropy(
            y_true, y_pred, self.alpha, self.gamma, self.from_logits, self.label_smoothing, self.axis
        )
