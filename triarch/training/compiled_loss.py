"""The loss of `compile`, laid out for the outputs that a model really has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from triarch import losses
from triarch.losses import Loss, LossFunctionWrapper
from triarch.losses.alignment import as_columns, is_own, mask_for, match
from triarch.metrics import Mean, Metric
from triarch.tensors import kept_mask
from triarch.training.naming import by_shape, check_names, numbered, object_name
from triarch.training.outputs import (
    flat,
    flat_settings,
    in_order_of,
    is_nested,
    matched,
    named_outputs,
    output_keys,
    per_output,
    report_prefixes,
    sole,
    target_of,
)

_ELEMENTWISE = (  # torch's losses that would spread labels of another shape over the predictions
    torch.nn.BCELoss,
    torch.nn.BCEWithLogitsLoss,
    torch.nn.HuberLoss,
    torch.nn.KLDivLoss,
    torch.nn.L1Loss,
    torch.nn.MSELoss,
    torch.nn.PoissonNLLLoss,
    torch.nn.SmoothL1Loss,
    torch.nn.SoftMarginLoss,
)


class TorchLoss(Loss):
    """One of `torch.nn`'s losses, which take predictions first and reduce by themselves."""

    integer_labels = True

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(reduction="mean")
        self.module = self.formula = module

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """The module's loss."""
        if isinstance(self.module, _ELEMENTWISE):
            y_true, y_pred = match(y_true, y_pred)
            return self.module(y_pred, y_true)
        if y_true.is_floating_point() or y_true.shape == y_pred.shape:
            return self.module(y_pred, y_true.to(y_pred.dtype))
        return self.module(y_pred, y_true.long().squeeze(-1) if y_true.ndim == y_pred.ndim else y_true.long())

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The module's loss, of what a mask leaves of the batch; weights need a module that does not reduce."""
        reduces = getattr(self.module, "reduction", "none") != "none"
        if sample_weight is not None and reduces:
            raise ValueError(
                f"Sample and class weights need a torch loss made with reduction='none'. Received: {self.module!r}"
            )
        mask = kept_mask(y_pred)
        if mask is not None and reduces:
            counts = mask_for(y_pred, mask)
            counts = counts.expand(y_pred.shape[: counts.ndim])
            if y_true.shape[: counts.ndim] != counts.shape:
                raise ValueError(
                    "Labels must have the first axes of predictions that carry a mask. "
                    f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
                )
            if not counts.any():
                return y_pred.sum() * 0.0
            y_true, y_pred = y_true[counts], y_pred[counts]
        return super().__call__(y_true, y_pred, sample_weight)


class ColumnLoss(Loss):
    """A loss for predictions of one number a sample, `(batch,)`, each of which is a sample and not a class."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.name, loss.reduction, loss.dtype)
        self.loss = loss

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of labels and predictions as `(batch, 1)`."""
        return self.loss(*as_columns(y_true, y_pred), sample_weight)


def make_loss(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Loss:
    """A loss from whatever names or is one; a plain function is averaged over the batch."""
    loss = losses.get(by_shape(identifier, y_true, y_pred))
    if isinstance(loss, torch.nn.modules.loss._Loss):
        return TorchLoss(loss)
    if not isinstance(loss, Loss):
        name = identifier if isinstance(identifier, str) else object_name(loss)
        loss = LossFunctionWrapper(loss, name=name)
    has_row = getattr(y_pred, "ndim", None) == 1 and is_own(type(loss)) and is_own(loss.formula or type(loss))
    return ColumnLoss(loss) if has_row else loss


class CompiledLoss:
    """The sum of the outputs' weighted losses; with several outputs also a running mean of each (`metrics`)."""

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: Sequence[str] | None = None) -> None:
        self._loss = loss
        self._weights = loss_weights
        for weight in pytree.tree_leaves(loss_weights):
            if not isinstance(weight, (int, float, type(None))):
                raise ValueError(f"loss_weights must be numbers; metrics go to `metrics=`. Received: {loss_weights!r}")
        self._output_names = output_keys(output_names)
        self._single: Any = None  # the one loss of a model with one output, which is the common case
        self._terms: list[tuple[str, Any, float, Mean | None]] | None = None
        check_names(loss, ("crossentropy", "ce"), losses.get)

    @property
    def sole(self) -> Loss | None:
        """The one loss of a model with one output; None before the first batch, and where there is more to it."""
        return self._single

    @property
    def metrics(self) -> list[Metric]:
        """The running means of the single outputs' losses."""
        return [tracker for *_, tracker in self._terms or () if tracker is not None]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch, a scalar."""
        if y_true is None:
            raise ValueError("The compiled loss needs targets, but the data have no y. Received: y=None")
        if self._single is not None and isinstance(y_pred, torch.Tensor):
            return self._single(sole(y_true), y_pred, sole(sample_weight))
        if is_nested(y_pred):
            if self._terms is None:
                self._loss, self._weights = flat_settings(self._loss, y_pred), flat_settings(self._weights, y_pred)
            y_true, y_pred, sample_weight = flat(y_true), flat(y_pred), flat(sample_weight)
        if self._terms is None:
            self._lay_out(y_true, y_pred)
            return self(y_true, y_pred, sample_weight)
        predictions = named_outputs(y_pred, self._output_names)
        targets = matched(y_true, list(predictions), [name for name, *_ in self._terms])
        weights = per_output(sample_weight, list(predictions), "sample_weight", shared=True)
        total: Any = 0.0
        for name, loss, weight, tracker in self._terms:
            value = loss(target_of(targets, name), predictions[name], weights[name])
            if tracker is not None:
                tracker.update_state(value.detach(), sample_weight=len(predictions[name]))
            total = total + (value if weight == 1 else weight * value)
        return total

    def _lay_out(self, y_true: Any, y_pred: Any) -> None:
        predictions = named_outputs(y_pred, self._output_names)
        outputs = list(predictions)
        is_shared = not isinstance(self._loss, (dict, list, tuple))
        chosen = per_output(self._loss, outputs, "loss", shared=is_shared)
        weights = per_output(1.0 if self._weights is None else self._weights, outputs, "loss_weights", shared=True)
        prefixes = dict(zip(outputs, report_prefixes(y_pred, self._output_names), strict=True))
        used = [name for name in in_order_of(self._loss, outputs) if chosen[name] is not None]
        if not used:
            raise ValueError("No loss was given for any output of the model: set `loss` in `compile`.")
        targets = matched(y_true, outputs, used)
        made = {name: make_loss(chosen[name], target_of(targets, name), predictions[name]) for name in used}
        reporting = [name for name in outputs if name in made]  # numbers go by the order of the outputs
        labels = dict(
            zip(reporting, numbered([f"{prefixes[name] or made[name].name}_loss" for name in reporting]), strict=True)
        )
        self._terms = [
            (
                name,
                made[name],
                1.0 if weights[name] is None else float(weights[name]),
                Mean(name=labels[name]) if len(used) > 1 else None,
            )
            for name in used
        ]
        if not isinstance(y_pred, (dict, list, tuple)) and self._terms[0][2] == 1:
            self._single = self._terms[0][1]
