"""The default steps: what `Model.train_step`, `test_step` and `predict_step` do with one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch.callbacks import LazyLogs
from triarch.training.batches import unpack_x_y_sample_weight


@dataclass(frozen=True)
class LearningPlan:
    """What every training step needs to know of a model, looked up once for a whole `fit`."""

    weights: Sequence[torch.Tensor]  # those that are learnt
    penalties: Sequence[tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]
    added: Sequence[list[torch.Tensor]]  # the lists in which layers collect their `add_loss` terms

    @classmethod
    def of(cls, model: Any) -> LearningPlan:
        """The plan for `model` as it stands now."""
        weights = model.trainable_weights
        return cls(
            weights=weights,
            penalties=[(weight, weight.regularizer) for weight in weights if getattr(weight, "regularizer", None)],
            added=[module._losses for module in model.modules() if hasattr(module, "_losses")],
        )

    def losses(self) -> list[torch.Tensor]:
        """The terms of this step beside the compiled loss."""
        terms = [term for collected in self.added for term in collected]
        return terms + [penalty(weight) for weight, penalty in self.penalties]

    def clear_losses(self) -> None:
        """Forget the terms that layers collected."""
        for collected in self.added:
            collected.clear()


def train_step(model: Any, data: Any) -> LazyLogs:
    """Forward, loss, backward, update, metrics."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    whole_step = model.whole_step
    if whole_step is not None and whole_step.learn((x, y, sample_weight)):
        return model.logs_so_far()
    y_pred = model(x, training=True)
    loss = model.loss_of(x, y, y_pred, sample_weight, training=True)
    if model.data_doubts is not None:
        check_loss(loss, model.data_doubts)
    model.track_loss(loss, x)
    weights = model.learning_plan.weights
    if not weights:
        raise ValueError(f"Model {model.name!r} has no trainable weights, so it cannot be fitted.")
    if not loss.requires_grad:
        raise ValueError(
            "The loss does not depend on the weights, so nothing can be learnt. A loss of one's own must be computed "
            f"from y_pred with torch's functions; NumPy's give no gradient. Received: {loss!r}"
        )
    for weight in weights:
        weight.grad = None
    model.optimizer.scale_loss(loss).backward()
    if model.data_doubts is not None:
        check_gradients([weight.grad for weight in weights], model.data_doubts)
    with torch.no_grad():
        model.optimizer.apply([weight.grad for weight in weights], weights)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def test_step(model: Any, data: Any) -> LazyLogs:
    """Forward, loss, metrics."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    whole_step = model.whole_step
    if whole_step is not None and whole_step.evaluate((x, y, sample_weight)):
        return model.logs_so_far()
    y_pred = model(x, training=False)
    loss = model.loss_of(x, y, y_pred, sample_weight, training=False)
    if model.data_doubts is not None:
        check_loss(loss, model.data_doubts)
    model.track_loss(loss, x)
    return model.compute_metrics(x, y, y_pred, sample_weight)


def check_loss(loss: torch.Tensor, doubts: str) -> None:
    """Raise ValueError where the loss is not finite, as the data are not: before a weight has learnt from it."""
    if not torch.isfinite(loss).all():
        raise ValueError(
            f"The loss is {loss.detach().sum().item()}: {doubts}; no weight could be learnt from them. Remove or "
            "replace these samples, or use a layer or a loss that leaves them out."
        )


def check_gradients(gradients: Sequence[torch.Tensor | None], doubts: str) -> None:
    """Raise ValueError where gradients are not finite, as the data are not."""
    if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise ValueError(
            f"The gradients are not finite, though the loss is: {doubts}. A loss that leaves them out has to put "
            "numbers in their place before it computes with them: `y_true = ops.where(known, y_true, 0.0)`."
        )


def predict_step(model: Any, data: Any) -> Any:
    """Forward."""
    x, _, _ = unpack_x_y_sample_weight(data)
    whole_step = model.whole_step
    outputs = None if whole_step is None else whole_step.predict(x)
    return model(x, training=False) if outputs is None else outputs


def concatenated(outputs: Sequence[Any]) -> Any:
    """Nested outputs of several batches as those of one."""
    return pytree.tree_map(lambda *parts: torch.cat(parts), *outputs)
