"""Cross-entropies of labels that are class numbers."""

from __future__ import annotations

from typing import Any, ClassVar, TypeGuard

import torch
import torch.nn.functional as F

from triarch.losses.alignment import without_class_axis
from triarch.losses.base import FAMILY, Loss, logits_of
from triarch.losses.categorical import log_probabilities
from triarch.registry import register
from triarch.tensors import as_float_tensor, as_tensor, keep_mask, kept_mask

_NAME = "Sparse categorical cross-entropy"
_NO_LABEL = torch.iinfo(torch.int64).min  # torch's own default, -100, would hide a wrong label


@register(FAMILY, "sparse_categorical_cross_entropy")
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> torch.Tensor:
    """`-log(y_pred[y_true])` along `axis`, labels class numbers of shape `(...)` or `(..., 1)`.

    Samples labelled `ignore_class` have loss 0 and are masked out of means. A label outside `[0, classes)` is a
    ValueError on the CPU and a device-side assertion on CUDA, where looking at it would stall the device.
    """
    logits = None if from_logits else logits_of(y_pred, "softmax", axis)
    scores = as_float_tensor(y_pred) if logits is None else logits
    labels = _as_class_numbers(y_true, scores.device)
    labels = without_class_axis(labels, scores, _NAME, axis)
    if axis not in (-1, scores.ndim - 1):
        scores = scores.movedim(axis, -1)
    flat, classes = labels.reshape(-1), scores.shape[-1]
    scores = scores.reshape(-1, classes)
    ignored = _NO_LABEL if ignore_class is None else ignore_class
    try:
        if from_logits or logits is not None:
            losses = F.cross_entropy(scores, flat, reduction="none", ignore_index=ignored)
        else:
            losses = F.nll_loss(log_probabilities(scores, False, -1), flat, reduction="none", ignore_index=ignored)
    except IndexError:
        raise _label_error(flat, classes, ignore_class) from None
    losses = losses.reshape(labels.shape)
    if ignore_class is not None:
        keep_mask(losses, labels != ignore_class)
    return losses


def _as_class_numbers(labels: Any, device: torch.device) -> torch.Tensor:
    labels = as_tensor(labels, device=device)
    if labels.is_floating_point() and not labels.is_cuda:
        are_whole = labels.frac() == 0  # which NaN and infinity are not
        if not are_whole.all():
            raise ValueError(f"Class numbers are integers. Received: {labels[~are_whole][0].item()}")
    return labels.long()


def _are_class_numbers(labels: Any) -> bool:
    return isinstance(labels, torch.Tensor) and labels.ndim == 1 and labels.shape[0] > 0


def _are_rows(scores: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(scores, torch.Tensor) and scores.ndim == 2


def _label_error(labels: torch.Tensor, classes: int, ignore_class: int | None = None) -> ValueError:
    wrong = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        wrong &= labels != ignore_class
    found = sorted(set(labels[wrong].tolist()))
    return ValueError(
        f"Class numbers must lie in [0, {classes}), as the predictions have {classes} classes. "
        f"Received: {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}. "
        "Number the classes from 0, or give the last layer more units."
    )


def check_labels(labels: torch.Tensor, classes: int, ignore_class: int | None = None) -> None:
    """A ValueError where a label lies outside `[0, classes)`. It reads the labels, so it waits for a device."""
    wrong = (labels < 0) | (labels >= classes)
    if ignore_class is not None:
        wrong &= labels != ignore_class
    if wrong.any():
        raise _label_error(labels, classes, ignore_class)


@register(FAMILY)
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> torch.Tensor:
    """`(1 - p^q) / q`, p the probability given to the label, a class number (https://arxiv.org/abs/1805.07836)."""
    y_pred = as_float_tensor(y_pred)
    labels = without_class_axis(_as_class_numbers(y_true, y_pred.device), y_pred, "Generalized cross-entropy")
    if not labels.is_cuda:
        check_labels(labels, y_pred.shape[-1])
    return (1.0 - y_pred.gather(-1, labels.unsqueeze(-1)).squeeze(-1) ** q) / q


@register(FAMILY, "SparseCategoricalCrossEntropy")
class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy of labels that are class numbers.

    On CUDA the range of the labels is checked at the first call; later calls do not wait for the device.
    """

    integer_labels = True
    left_out_defaults: ClassVar = {"axis": -1}

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis
        self._fused_reduction = {"sum": "sum", "none": "none", None: "none"}.get(reduction, "mean")
        self._can_be_fused = ignore_class is None and axis in (-1, 1)
        self._labels_checked = False

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> torch.Tensor:
        """The reduced loss (see `Loss`); unweighted logits `(batch, classes)` go through one fused operation."""
        is_plain = self._can_be_fused and sample_weight is None and kept_mask(y_pred) is None
        logits = y_pred if self.from_logits else logits_of(y_pred, "softmax", self.axis)
        if not (is_plain and _are_class_numbers(y_true) and _are_rows(logits)):
            return super().__call__(y_true, y_pred, sample_weight)
        without_class_axis(y_true, logits, _NAME)
        self._check_labels_once(y_true, logits.shape[1])
        if logits.dtype is not self._torch_dtype:
            logits = logits.to(self._torch_dtype)
        try:
            return F.cross_entropy(
                logits,
                _as_class_numbers(y_true, logits.device),
                reduction=self._fused_reduction,
                ignore_index=_NO_LABEL,
            )
        except IndexError:
            raise _label_error(y_true, logits.shape[1]) from None

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        y_true = as_tensor(y_true, device=y_pred.device)
        self._check_labels_once(y_true, y_pred.shape[self.axis])
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)

    def _check_labels_once(self, labels: torch.Tensor, classes: int) -> None:
        if labels.is_cuda and not self._labels_checked and not torch.cuda.is_current_stream_capturing():
            check_labels(labels, classes, self.ignore_class)
            self._labels_checked = True


@register(FAMILY)
class CategoricalGeneralizedCrossEntropy(Loss):
    """A cross-entropy that tolerates wrong labels: near the absolute error for `q` near 1, near the usual for 0."""

    integer_labels = True

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ValueError(f"q must lie between 0 and 1. Received: {q!r}")
        super().__init__(name, reduction, dtype)
        self.q = q

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return categorical_generalized_cross_entropy(y_true, y_pred, self.q)
