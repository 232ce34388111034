"""What all losses share: how predictions meet labels, and how element losses become one number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from triarch import config, mixed_precision, registry
from triarch.registry import register
from triarch.serialization import Configurable, deserialize_keras_object, resolve
from triarch.tensors import as_float_tensor, as_tensor, keep_logits, kept_logits, kept_mask, torch_dtype

FAMILY = "keras.losses"

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_REDUCTIONS = (*_MEANS, "sum", "none", None)


def standardize_reduction(reduction: str | None) -> str | None:
    """`reduction` itself, checked."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {_REDUCTIONS}. Received: {reduction!r}")
    return reduction


def squeeze_or_expand_to_same_rank(
    x1: torch.Tensor, x2: torch.Tensor, expand_rank_1: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the ranks equal where they differ by a last axis of size 1: `(n,)` and `(n, 1)` become `(n, 1)` twice."""
    if x1.ndim == x2.ndim + 1 and x1.shape[-1] == 1:
        return (x1, x2.unsqueeze(-1)) if x2.ndim == 1 and expand_rank_1 else (x1.squeeze(-1), x2)
    if x2.ndim == x1.ndim + 1 and x2.shape[-1] == 1:
        return (x1.unsqueeze(-1), x2) if x1.ndim == 1 and expand_rank_1 else (x1, x2.squeeze(-1))
    return x1, x2


def match(y_true: Any, y_pred: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and predictions as float tensors of one type and rank; a ValueError where the shapes do not fit."""
    y_pred = as_float_tensor(y_pred)
    y_true = as_tensor(y_true, y_pred.dtype, y_pred.device)
    if y_true.shape != y_pred.shape:
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        sizes = zip(reversed(y_true.shape), reversed(y_pred.shape), strict=False)
        if any(a != b and 1 not in (a, b) for a, b in sizes):
            raise ValueError(
                "y_true and y_pred must have the same shape. "
                f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
            )
    return y_true, y_pred


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


def divide_no_nan(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """`numerator / denominator`, and 0 where the denominator is 0."""
    zero = denominator == 0
    return (numerator / denominator.masked_fill(zero, 1)).masked_fill(zero, 0)


def apply_mask(sample_weight: Any, mask: torch.Tensor | None, dtype: torch.dtype, reduction: str | None) -> Any:
    """Weights that leave out what `mask` does; for means, what stays gets heavier, so that the mean is over it."""
    if mask is None:
        return sample_weight
    weight = mask.to(dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        weight = weight * divide_no_nan(torch.full_like(valid := weight.sum(), mask.numel()), valid)
    if sample_weight is None:
        return weight
    weight, sample_weight = squeeze_or_expand_to_same_rank(weight, as_tensor(sample_weight, dtype))
    return align_weight(sample_weight, weight) * weight


def align_weight(weight: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`weight` with axes of size 1 at its end, so that it weighs the first axes of `values`."""
    if weight.shape == values.shape or weight.ndim == 0:
        return weight
    if weight.ndim < values.ndim:
        weight = weight.reshape(*weight.shape, *[1] * (values.ndim - weight.ndim))
    if weight.ndim != values.ndim or any(
        a != b and 1 not in (a, b) for a, b in zip(weight.shape, values.shape, strict=True)
    ):
        raise ValueError(
            "sample_weight must have the shape of the losses or of their first axes, "
            f"{tuple(values.shape)}. Received: sample_weight.shape={tuple(weight.shape)}"
        )
    return weight


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
        return divide_no_nan(values.sum(), weight.sum())
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

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> torch.Tensor:
        """The reduced loss.

        `sample_weight` is a number or has the shape of the losses or of their first axes. A mask that `y_pred` carries
        leaves elements out.
        """
        mask = kept_mask(y_pred)
        y_true = y_true if self.integer_labels else self._cast(y_true)
        losses = as_tensor(self.call(y_true, self._cast(y_pred)), self._torch_dtype)
        own_mask = kept_mask(losses)
        if own_mask is not None:
            mask = own_mask if mask is None else mask & own_mask
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight, dtype=self._torch_dtype, device=losses.device)
        return reduce_weighted_values(losses, sample_weight, mask, self.reduction)

    def _cast(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.dtype is self._torch_dtype:
                return value
            out = value.to(self._torch_dtype)
            logits = kept_logits(value)
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
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """`fn` of labels and predictions of the same rank."""
        if isinstance(y_true, torch.Tensor) and isinstance(y_pred, torch.Tensor) and y_true.ndim != y_pred.ndim:
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
    """A loss that is one of this package's functions without further arguments, the class's `function`."""

    function: ClassVar[Callable[..., torch.Tensor]]

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(name or type(self).function.__name__, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> torch.Tensor:
        """The loss of each sample."""
        return type(self).function(y_true, y_pred)


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
