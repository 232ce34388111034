"""Intersection over union of regions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from triarch import config
from triarch.losses.alignment import align_weight, divide_no_nan, fitted, mask_for
from triarch.metrics.base import FAMILY, Metric
from triarch.registry import register
from triarch.tensors import as_tensor, keep_mask, kept_mask


@register(FAMILY, "iou")
class IoU(Metric):
    """The mean over `target_class_ids` of `tp / (tp + fp + fn)`, classes that never occur left out.

    Args:
        num_classes: The number of classes. Labels and predictions outside `[0, num_classes)` are not counted.
        target_class_ids: The classes that the mean is taken over.
        name: The name in reports.
        dtype: The type of the counts; whole numbers by default.
        ignore_class: A label that is not counted.
        sparse_y_true: Whether labels are class numbers rather than one-hot.
        sparse_y_pred: Whether predictions are class numbers rather than scores.
        axis: The axis of one-hot labels and of scores.
    """

    _direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(dtype or "int32", name)
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"target_class_ids must lie in [0, {num_classes}). Received: {list(target_class_ids)}")
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self.add_variable((num_classes, num_classes), dtype=self.dtype, name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch; weights are for each sample or each element."""
        mask = kept_mask(y_pred)
        y_true, y_pred = as_tensor(y_true, device=self._device), as_tensor(y_pred, device=self._device)
        y_true = (y_true if self.sparse_y_true else y_true.argmax(self.axis)).long()
        y_pred = (y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)).long()
        y_true, y_pred = fitted(y_true, y_pred)
        counted = (y_true >= 0) & (y_true < self.num_classes) & (y_pred >= 0) & (y_pred < self.num_classes)
        if self.ignore_class is not None:
            counted &= y_true != self.ignore_class
        weight = counted.to(self._torch_dtype)
        if sample_weight is not None:
            weight = weight * self._weights(sample_weight, y_true).to(self._torch_dtype)
        if mask is not None:
            weight = weight * align_weight(mask_for(y_pred, mask), weight, "mask")
        cells = (y_true * self.num_classes + y_pred).masked_fill(~counted, 0)
        self.total_cm.view(-1).index_add_(0, cells.reshape(-1), weight.reshape(-1))

    def _weights(self, sample_weight: Any, y_true: torch.Tensor) -> torch.Tensor:
        weight = as_tensor(sample_weight, device=y_true.device)
        if weight.is_floating_point() and not self.total_cm.is_floating_point():
            warnings.warn(
                f"{self.name} counts in {self.dtype}, so the fractions of its sample weights are lost; "
                "give the metric a float dtype.",
                stacklevel=4,
            )
        return align_weight(weight, y_true)

    def result(self) -> torch.Tensor:
        """The mean intersection over union."""
        matrix = self.total_cm.detach()
        hits = matrix.diagonal()
        unions = (matrix.sum(0) + matrix.sum(1) - hits)[self.target_class_ids].float()
        occurs = unions > 1e-9
        shares = divide_no_nan(hits[self.target_class_ids].float(), unions + config.epsilon())
        return shares.masked_fill(~occurs, 0.0).sum() / (occurs.sum() + config.epsilon())


@register(FAMILY, "binary_iou")
class BinaryIoU(IoU):
    """The mean IoU of the classes 0 and 1 (or one of them), where a prediction from `threshold` on means 1."""

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch: labels 0 and 1, predictions in `[0, 1]`."""
        mask = kept_mask(y_pred)
        y_pred = as_tensor(y_pred, device=self._device) >= self.threshold
        super().update_state(y_true, y_pred if mask is None else keep_mask(y_pred, mask), sample_weight)


@register(FAMILY, "mean_iou")
class MeanIoU(IoU):
    """The mean IoU of all classes that occur."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        classes = range(num_classes)
        super().__init__(num_classes, classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


@register(FAMILY, "one_hot_iou")
class OneHotIoU(IoU):
    """The mean IoU of some classes, labels one-hot and predictions scores (class numbers with `sparse_y_pred`)."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


@register(FAMILY, "one_hot_mean_iou")
class OneHotMeanIoU(MeanIoU):
    """The mean IoU of all classes that occur, labels one-hot and predictions scores (or class numbers)."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
