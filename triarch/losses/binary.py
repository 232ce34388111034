"""Cross-entropies of yes-or-no labels, from probabilities or logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from triarch.losses.alignment import elementwise, match
from triarch.losses.base import FAMILY, LabelSmoothingLoss, clipped, logits_of
from triarch.registry import register


def _binary_pair(
    y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Labels, smoothed, with logits (True) or probabilities (False) of equal shape."""
    logits = y_pred if from_logits else logits_of(y_pred, "sigmoid")
    y_true, scores = match(y_true, y_pred if logits is None else logits)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return y_true, scores, logits is not None


def _binary_elements(y_true: torch.Tensor, scores: torch.Tensor, from_logits: bool) -> torch.Tensor:
    if from_logits:
        return F.binary_cross_entropy_with_logits(scores, y_true, reduction="none")
    return F.binary_cross_entropy(clipped(scores), y_true, reduction="none")


@register(FAMILY, "bce", "BCE", "binary_cross_entropy")
@elementwise
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> torch.Tensor:
    """The mean along `axis` of `-y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred)`, labels in `[0, 1]`.

    `label_smoothing` s moves labels towards a half: `(1 - s) * y_true + s / 2`.
    """
    return _binary_elements(*_binary_pair(y_true, y_pred, from_logits, label_smoothing)).mean(axis)


@register(FAMILY)
@elementwise
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> torch.Tensor:
    """Binary cross-entropy times `(1 - p)^gamma`, p the probability given to the label: easy samples count less.

    With `apply_class_balancing`, label 1 weighs `alpha` and label 0 `1 - alpha` (https://arxiv.org/abs/1708.02002).
    """
    y_true, scores, are_logits = _binary_pair(y_true, y_pred, from_logits, label_smoothing)
    losses = _binary_elements(y_true, scores, are_logits)
    positive = torch.sigmoid(scores) if are_logits else scores
    given = y_true * positive + (1.0 - y_true) * (1.0 - positive)
    losses = (1.0 - given) ** gamma * losses
    if apply_class_balancing:
        losses = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * losses
    return losses.mean(axis)


@register(FAMILY, "BinaryCrossEntropy")
class BinaryCrossentropy(LabelSmoothingLoss):
    """Cross-entropy of yes-or-no labels, 1 or 0."""

    formula = staticmethod(binary_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


@register(FAMILY, "BinaryFocalCrossEntropy")
class BinaryFocalCrossentropy(LabelSmoothingLoss):
    """Cross-entropy of yes-or-no labels in which easy samples count less."""

    formula = staticmethod(binary_focal_crossentropy)

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return binary_focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )
