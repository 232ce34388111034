"""What all losses share: how predictions meet labels, and how element losses become one number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from triarch import config, mixed_precision, registry
from triarch.losses.alignment import (
    align_weight,
    apply_mask,
    by_element,
    divide_no_nan,
    is_by_element,
    is_own,
    mask_for,
    masked_values,
    squeeze_or_expand_to_same_rank,
)
from triarch.registry import register
from triarch.serialization import Configurable, deserialize_keras_object, resolve
from triarch.tensors import as_tensor, keep_logits, keep_mask, kept_logits, kept_mask, torch_dtype

FAMILY = "keras.losses"

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_REDUCTIONS = (*_MEANS, "sum", "none", None)


def standardize_reduction(reduction: str | None) -> str | None:
    """`reduction` itself, checked."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {_REDUCTIONS}. Received: {reduction!r}")
    return reduction


def logits_of(y_pred: Any, activation: str, axis: int = -1) -> torch.Tensor | None:
    """The logits that predictions carry, where they are those of `activation` along `axis`.

    `log(softmax(x))` keeps its digits where `softmax(x)` has rounded to 0 or 1, so losses start from `x` if they can.
    """
    logits = kept_logits(y_pred)
    if logits is None or getattr(y_pred, "_activation", activation) != activation:
        return None
    return logits if activation == "sigmoid" or axis in (-1, logits.ndim - 1) else None


def clipped(probabilities: torch.Tensor) -> torch.Tensor:
    """Probabilities cut to `[epsilon, 1 - epsilon]`, so that their logarithms are finite."""
    return probabilities.clamp(config.epsilon(), 1.0 - config.epsilon())


def reduce_weighted_values(
    values: torch.Tensor,
    sample_weight: Any = None,
    mask: torch.Tensor | None = None,
    reduction: str | None = "sum_over_batch_size",
) -> torch.Tensor:
    """Element losses times their weights, summed or averaged by `reduction`."""
    weight = apply_mask(sample_weight, mask, values.dtype, reduction)
    if weight is not None:
        values, weight = squeeze_or_expand_to_same_rank(values, as_tensor(weight, values.dtype))
        weight = align_weight(weight, values)
        values = values * weight
    if reduction in ("none", None) or values.ndim == 0 or values.shape == (0,):
        return values
    if reduction == "mean_with_sample_weight" and weight is not None:
        return divide_no_nan(values.sum(), weight.expand(values.shape).sum())
    return values.sum() if reduction == "sum" or values.numel() == 0 else values.mean()


@register(FAMILY)
class Loss(Configurable):
    """Base of losses: a subclass defines `call(y_true, y_pred)`, which gives a loss for each sample (or element).

    Args:
        name: The name in reports.
        reduction: How element losses become one number: `"sum_over_batch_size"` or `"mean"` (over all elements),
            `"mean_with_sample_weight"` (weighted sum over sum of weights), `"sum"`, `"none"` or None.
        dtype: The float type of the computation; `config.floatx()` by default.
    """

    integer_labels: ClassVar[bool] = False  # whether `call` wants `y_true` as it came
    formula: Any = None  # the function behind `call`, whose marks say how it goes with weights and masks
    left_out_defaults: ClassVar[Mapping[str, Any]] = {}  # arguments that Keras does not save: saved where they differ

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or registry.unique_name(registry.to_snake_case(type(self).__name__))
        self.reduction = standardize_reduction(reduction)
        self.dtype: str = mixed_precision.get(dtype or config.floatx()).compute_dtype
        self._dtype_given = dtype is not None
        self._torch_dtype: torch.dtype = torch_dtype(self.dtype)  # type: ignore[assignment]

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} must define `call(self, y_true, y_pred)`.")

    @property
    def axes(self) -> Any:
        """The axis or axes that `call` goes through; None for all of them."""
        return getattr(self, "axis", -1)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> torch.Tensor:
        """The reduced loss.

        `sample_weight` is a number or has the shape of the losses or of their first axes; where losses are means over
        the last axis of the predictions, it may have the predictions' shape as well. A mask that `y_pred` carries
        leaves elements out.
        """
        mask = kept_mask(y_pred)
        y_true = y_true if self.integer_labels else self._cast(y_true)
        y_pred = self._cast(y_pred)
        if mask is None and sample_weight is None:
            losses = as_tensor(self.call(y_true, y_pred), self._torch_dtype)
            return reduce_weighted_values(losses, None, kept_mask(losses), self.reduction)
        weight = None
        if sample_weight is not None:
            device = y_pred.device if isinstance(y_pred, torch.Tensor) else None
            weight = torch.as_tensor(sample_weight, dtype=self._torch_dtype, device=device)
        mask = None if mask is None else mask_for(y_pred, mask)
        if is_by_element(self.formula, self.axes, y_pred, weight, mask):
            return self._reduced_elements(y_true, y_pred, weight, mask)
        return reduce_weighted_values(*self._counted(y_true, y_pred, weight, mask), self.reduction)

    def _counted(
        self, y_true: Any, y_pred: Any, weight: torch.Tensor | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """The losses, their weights, and which of them count."""
        if mask is None:
            losses = self.call(y_true, y_pred)
        else:
            losses, mask = masked_values(self.call, self.formula or type(self), y_true, y_pred, mask, self.axes)
        losses = as_tensor(losses, self._torch_dtype)
        own_mask = kept_mask(losses)
        if mask is not None and own_mask is not None:
            mask = mask & own_mask
        return losses, weight, own_mask if mask is None else mask

    def _reduced_elements(
        self, y_true: Any, y_pred: Any, weight: torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The reduced loss where weights or a mask tell apart what a loss is the mean of."""
        parts = self._counted(*by_element(y_true, y_pred), weight, mask)
        if self.reduction in _MEANS or y_pred.ndim == 1:
            return reduce_weighted_values(*parts, self.reduction)
        return reduce_weighted_values(reduce_weighted_values(*parts, "none").mean(-1), reduction=self.reduction)

    def _cast(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.dtype is self._torch_dtype:
                return value
            out = value.to(self._torch_dtype)
            logits, mask = kept_logits(value), kept_mask(value)
            if mask is not None:
                keep_mask(out, mask)
            if logits is None:
                return out
            return keep_logits(out, logits.to(self._torch_dtype), getattr(value, "_activation", None))
        if isinstance(value, Mapping):
            return {key: self._cast(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)) and any(isinstance(v, (torch.Tensor, np.ndarray, Mapping)) for v in value):
            return [self._cast(part) for part in value]
        return as_tensor(value, self._torch_dtype)

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._arguments():
            if name == "dtype":
                wanted = self._dtype_given
            else:
                wanted = name not in self.left_out_defaults or value != self.left_out_defaults[name]
            if wanted:
                yield name, value


@register(FAMILY)
class LossFunctionWrapper(Loss):
    """A function `fn(y_true, y_pred, **kwargs)` that gives a loss for each sample, as a loss object."""

    def __init__(
        self,
        fn: Callable[..., torch.Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.fn = self.formula = fn
        self._fn_kwargs = kwargs

    def _counted(
        self, y_true: Any, y_pred: Any, weight: torch.Tensor | None, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """As of every loss; where steps are told apart, labels of one's own function get the predictions' shape."""
        ranks = [part.ndim for part in (weight, mask) if part is not None]
        are_tensors = isinstance(y_true, torch.Tensor) and isinstance(y_pred, torch.Tensor)
        if are_tensors and y_pred.shape == (*y_true.shape, 1) and max(ranks, default=0) > 1:
            y_true = y_true.unsqueeze(-1)
        return super()._counted(y_true, y_pred, weight, mask)

    @property
    def axes(self) -> Any:
        """The axis that `fn` was given."""
        return self._fn_kwargs.get("axis", -1)

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """`fn` of labels and predictions; a function of one's own gets them in the same rank."""
        are_tensors = isinstance(y_true, torch.Tensor) and isinstance(y_pred, torch.Tensor)
        if are_tensors and y_true.ndim != y_pred.ndim and not is_own(self.fn):
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from super()._arguments()
        yield from self._fn_kwargs.items()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Make the loss that `get_config` described."""
        arguments = deserialize_keras_object(dict(config))
        return cls(**{**arguments, "fn": resolve(FAMILY, arguments["fn"])})


class FunctionLoss(Loss):
    """A loss that is one of this package's functions without further arguments, the class's `formula`."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name or type(self).formula.__name__, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return type(self).formula(y_true, y_pred)


class LabelSmoothingLoss(Loss):
    """What the cross-entropies of labels in the predictions' shape share."""

    def __init__(
        self,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis
