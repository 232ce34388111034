"""Losses whose unit is a region, a batch of embeddings or a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from triarch import config
from triarch.losses.alignment import match, over_regions, reading_mask, without_class_axis
from triarch.losses.base import FAMILY, FunctionLoss, Loss
from triarch.registry import register
from triarch.tensors import as_float_tensor, as_tensor, keep_mask, kept_mask

Axis = int | Sequence[int] | None


@register(FAMILY)
@over_regions
def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> torch.Tensor:
    """`1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred))`, sums over `axis`, by default over everything."""
    y_true, y_pred = match(y_true, y_pred)
    overlap = (y_true * y_pred).sum(axis)
    return 1 - 2.0 * overlap / (y_true.sum(axis) + y_pred.sum(axis) + config.epsilon())


@register(FAMILY)
@over_regions
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> torch.Tensor:
    """`1 - o / (o + alpha * m + beta * f)`: o overlap, m missed and f false parts (https://arxiv.org/abs/1706.05721)."""
    y_true, y_pred = match(y_true, y_pred)
    overlap = (y_true * y_pred).sum(axis)
    missed = ((1 - y_pred) * y_true).sum(axis)
    false = (y_pred * (1 - y_true)).sum(axis)
    return 1 - overlap / (overlap + missed * alpha + false * beta + config.epsilon())


@register(FAMILY)
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> torch.Tensor:
    """The circle loss of each embedding against the others of the batch (https://arxiv.org/abs/2002.10857).

    Args:
        y_true: Class numbers `(batch,)`.
        y_pred: Embeddings of length 1, `(batch, features)`.
        ref_labels: Class numbers of `ref_embeddings`; by default the batch itself is the reference.
        ref_embeddings: Embeddings to compare with.
        remove_diagonal: Whether embedding i is not compared with reference i.
        gamma: The scale of the similarities.
        margin: How far classes are kept apart.
    """
    y_pred = as_float_tensor(y_pred)
    labels = without_class_axis(as_tensor(y_true, torch.int64), y_pred, "The circle loss").unsqueeze(-1)
    references = y_pred if ref_embeddings is None else as_float_tensor(ref_embeddings)
    reference_labels = labels if ref_labels is None else as_tensor(ref_labels, torch.int64).reshape(-1, 1)

    distances = (1 - y_pred @ references.T).clamp(min=0)
    same = labels == reference_labels.T
    different = ~same
    if remove_diagonal:
        same = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device)
    attraction = -gamma * (margin + distances).clamp(min=0) * (margin - distances)
    repulsion = gamma * (1 + margin - distances).clamp(min=0) * (1 - margin - distances)
    lowest = torch.finfo(distances.dtype).min  # finite, so that an embedding without partners has a gradient of 0
    pulls = attraction.masked_fill(~same, lowest).logsumexp(1)
    pushes = repulsion.masked_fill(~different, lowest).logsumexp(1)
    losses = F.softplus(pulls + pushes)
    keep_mask(losses, losses > 0)
    return losses


@register(FAMILY)
@reading_mask
def ctc(y_true: Any, y_pred: Any) -> torch.Tensor:
    """Connectionist temporal classification: label sequences `(batch, labels)` against logits `(batch, time, classes)`.

    Class 0 is the blank and pads the labels. Steps that a mask of the logits leaves out are taken out of the series.
    """
    y_pred = as_float_tensor(y_pred)
    y_true = as_tensor(y_true, torch.int64)
    if y_true.ndim != 2 or y_pred.ndim != 3 or len(y_true) != len(y_pred):
        raise ValueError(
            "CTC needs labels (batch, max_length) and logits (batch, time, classes). "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
        )
    batch, time, _ = y_pred.shape
    mask = kept_mask(y_pred)
    if mask is None:
        times = torch.full((batch,), time, dtype=torch.int64, device=y_pred.device)
    else:
        times = mask.sum(-1)
        order = mask.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
        y_pred = y_pred.gather(1, order.unsqueeze(-1).expand(y_pred.shape))
        y_true = y_true * (times > 0).unsqueeze(-1)
    log_probabilities = F.log_softmax(y_pred, -1).transpose(0, 1)
    losses = F.ctc_loss(log_probabilities, y_true, times, (y_true != 0).sum(-1), reduction="none")
    return losses if mask is None else keep_mask(losses, times > 0)


@register(FAMILY)
class CTC(FunctionLoss):
    """The CTC loss of label sequences that need no alignment."""

    integer_labels = True
    formula = staticmethod(ctc)


@register(FAMILY)
class Dice(Loss):
    """One minus the Dice coefficient of regions."""

    formula = staticmethod(dice)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: Axis = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss over `axis`."""
        return dice(y_true, y_pred, self.axis)


@register(FAMILY)
class Tversky(Loss):
    """One minus the Tversky index of regions, in which missed and false parts weigh `alpha` and `beta`."""

    formula = staticmethod(tversky)

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: Axis = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha = alpha
        self.beta = beta
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss over `axis`."""
        return tversky(y_true, y_pred, self.alpha, self.beta, self.axis)


@register(FAMILY)
class Circle(Loss):
    """The circle loss between the embeddings of a batch; those without any loss are left out of means."""

    integer_labels = True

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.gamma = gamma
        self.margin = margin
        self.remove_diagonal = remove_diagonal

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each embedding."""
        return circle(y_true, y_pred, gamma=self.gamma, margin=self.margin, remove_diagonal=self.remove_diagonal)
