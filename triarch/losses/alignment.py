"""How labels, predictions, weights and masks meet: which shapes go together, and what weighs which of the values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from triarch.tensors import as_float_tensor, as_tensor, keep_logits, keep_mask, kept_logits, kept_mask

Function = Callable[..., torch.Tensor]


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
    """Labels and predictions as float tensors of one type and shape; a ValueError where the shapes do not go together.

    Labels have the shape of the predictions, or that without a last axis of 1, or that with one more.
    """
    y_pred = as_float_tensor(y_pred)
    y_true = as_tensor(y_true, y_pred.dtype, y_pred.device)
    return fitted(y_true, y_pred)


def fitted(y_true: torch.Tensor, y_pred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`match` for tensors, whose types stay. Labels take the predictions' shape; `(n,)` and `(n, 1)` are `(n, 1)`."""
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    if y_pred.shape == (*y_true.shape, 1):
        return y_true.unsqueeze(-1), y_pred
    if y_true.shape == (*y_pred.shape, 1):
        return (y_true, with_last_axis(y_pred)) if y_pred.ndim == 1 else (y_true.squeeze(-1), y_pred)
    raise ValueError(
        "y_true and y_pred must have the same shape, but for a last axis of 1. "
        f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
    )


def without_class_axis(labels: torch.Tensor, y_pred: torch.Tensor, what: str, axis: int = -1) -> torch.Tensor:
    """Class numbers for the predictions along `axis`, of the shape of the predictions without it.

    Raises:
        ValueError: They have another shape; `what` is said to need them.
    """
    wanted = list(y_pred.shape)
    del wanted[axis]
    if labels.ndim == y_pred.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    if list(labels.shape) != wanted:
        hint = " For one-hot labels use categorical losses and metrics." if labels.shape == y_pred.shape else ""
        raise ValueError(
            f"{what} needs one class number for each prediction, so labels of shape {tuple(wanted)} for predictions of "
            f"shape {tuple(y_pred.shape)}. Received: y_true.shape={tuple(labels.shape)}.{hint}"
        )
    return labels


def with_last_axis(y_pred: torch.Tensor) -> torch.Tensor:
    """Predictions, and the logits that they carry, with one more axis of 1."""
    outputs, logits = y_pred.unsqueeze(-1), kept_logits(y_pred)
    return outputs if logits is None else keep_logits(outputs, logits.unsqueeze(-1), y_pred._activation)  # type: ignore[attr-defined]


def as_columns(y_true: Any, y_pred: torch.Tensor) -> tuple[Any, torch.Tensor]:
    """One number a sample, `(batch,)`, as `(batch, 1)`, with the mask and the logits that predictions carry."""
    column, mask = with_last_axis(y_pred), kept_mask(y_pred)
    if mask is not None:
        keep_mask(column, mask)
    return y_true.unsqueeze(-1) if isinstance(y_true, torch.Tensor) and y_true.ndim == 1 else y_true, column


def divide_no_nan(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """`numerator / denominator`, and 0 where the denominator is 0."""
    zero = denominator == 0
    return (numerator / denominator.masked_fill(zero, 1)).masked_fill(zero, 0)


# Weights and masks: for each sample, each step, or each element.


def align_weight(weight: torch.Tensor, values: torch.Tensor, name: str = "sample_weight") -> torch.Tensor:
    """`weight` with axes of size 1 at its end, so that it weighs the first axes of `values`."""
    if weight.shape == values.shape or weight.ndim == 0:
        return weight
    given = weight
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        weight = weight.squeeze(-1)
    if weight.ndim < values.ndim:
        weight = weight.reshape(*weight.shape, *[1] * (values.ndim - weight.ndim))
    fits = weight.ndim == values.ndim and all(
        a == b or (a == 1 and axis > 0) for axis, (a, b) in enumerate(zip(weight.shape, values.shape, strict=True))
    )
    if not fits:
        hint = " One number for the whole batch cannot be weighed by sample." if not values.ndim else ""
        raise ValueError(
            f"{name} must have the shape of the values that it weighs, {tuple(values.shape)}, or of their first axes. "
            f"Received: {name}.shape={tuple(given.shape)}.{hint}"
        )
    return weight


def product(first: torch.Tensor, second: torch.Tensor | None) -> torch.Tensor:
    """Weights of samples, steps or elements times others; None is 1 everywhere."""
    if second is None:
        return first
    first, second = squeeze_or_expand_to_same_rank(first, second)
    if first.ndim < second.ndim:
        first, second = second, first
    return first * align_weight(second, first)


def apply_mask(sample_weight: Any, mask: torch.Tensor | None, dtype: torch.dtype, reduction: str | None) -> Any:
    """Weights that leave out what `mask` does; for means, what stays gets heavier, so that the mean is over it."""
    if mask is None:
        return sample_weight
    weight = mask.to(dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        weight = weight * divide_no_nan(torch.full_like(valid := weight.sum(), mask.numel()), valid)
    return weight if sample_weight is None else product(weight, as_tensor(sample_weight, dtype))


def mask_for(y_pred: Any, mask: torch.Tensor) -> torch.Tensor:
    """The mask that predictions carry, of as many axes as it needs.

    Raises:
        ValueError: It is of another shape than the predictions' first axes.
    """
    while 1 < mask.ndim >= y_pred.ndim and mask.shape[-1] == 1:
        mask = mask.squeeze(-1)
    if mask.ndim > y_pred.ndim or any(a not in (b, 1) for a, b in zip(mask.shape, y_pred.shape, strict=False)):
        raise ValueError(
            "The mask that predictions carry must have the shape of their first axes. "
            f"Received: a mask of shape {tuple(mask.shape)}, predictions of shape {tuple(y_pred.shape)}"
        )
    return mask.bool()


def without_masked_labels(y_true: Any, mask: torch.Tensor) -> Any:
    """Labels with 0 where nothing counts, as what stands there may be no label at all."""
    y_true = as_tensor(y_true, device=mask.device)
    if y_true.ndim < mask.ndim or any(a not in (b, 1) for a, b in zip(mask.shape, y_true.shape, strict=False)):
        return y_true
    return y_true.masked_fill(~align_weight(mask, y_true, "mask"), 0)


def without_masked_predictions(y_pred: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Predictions, and the logits that they carry, with 1 where nothing counts, as there may be no value."""
    masked_out = ~align_weight(mask, y_pred, "mask")
    filled, logits = y_pred.masked_fill(masked_out, 1), kept_logits(y_pred)
    return filled if logits is None else keep_logits(filled, logits.masked_fill(masked_out, 1), y_pred._activation)  # type: ignore[attr-defined]


# Losses, and metrics that are such functions.


def is_own(thing: Any) -> bool:
    """Whether a function or class is this package's, so that its labels and axes are known."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == __name__.partition(".")[0]


def elementwise(function: Function) -> Function:
    """Mark a function as the mean over the last axis of what it gives for each element."""
    function.is_elementwise = True  # type: ignore[attr-defined]
    return function


def without_axis(function: Function) -> Function:
    """Mark a function as one that gives a value for each element."""
    function.has_no_axis = True  # type: ignore[attr-defined]
    return function


def over_regions(function: Function) -> Function:
    """Mark a function as made of sums of products along an `axis`, so that zeros leave out what does not count."""
    function.is_over_regions = True  # type: ignore[attr-defined]
    return function


def reading_mask(function: Function) -> Function:
    """Mark a function as one that heeds the mask of predictions by itself."""
    function.reads_mask = True  # type: ignore[attr-defined]
    return function


def is_by_element(marks: Any, axis: Any, y_pred: Any, *parts: torch.Tensor | None) -> bool:
    """Whether a weight or mask tells apart what an elementwise function takes the mean of."""
    if not isinstance(y_pred, torch.Tensor) or axis != -1 or not getattr(marks, "is_elementwise", False):
        return False
    return any(
        part is not None and part.ndim == y_pred.ndim and (part.ndim == 1 or part.shape[-1] > 1) for part in parts
    )


def by_element(y_true: Any, y_pred: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and predictions for an elementwise function that shall give a value for each element."""
    y_true, y_pred = match(y_true, y_pred)
    return y_true.unsqueeze(-1), with_last_axis(y_pred)


def masked_values(
    function: Function, marks: Any, y_true: Any, y_pred: Any, mask: torch.Tensor, axis: Any = -1
) -> tuple[Any, torch.Tensor | None]:
    """What `function(y_true, y_pred)` gives without what `mask` leaves out, and which of its values count.

    Args:
        function: Gives values for the first axes of predictions.
        marks: The function or class that bears the marks of `function`.
        y_true: The labels.
        y_pred: The predictions.
        mask: Which of them count (see `mask_for`).
        axis: The axis or axes that the function goes through; None for all.
    """
    if not is_own(marks):
        values = function(y_true, y_pred)
    elif getattr(marks, "reads_mask", False):
        return function(y_true, keep_mask(y_pred, mask)), None
    elif getattr(marks, "is_over_regions", False):
        y_true, y_pred = match(y_true, y_pred)
        counts = align_weight(mask, y_pred, "mask")
        values = function(y_true.masked_fill(~counts, 0), y_pred.masked_fill(~counts, 0))
        return values, counts.expand(y_pred.shape).any(axis) if values.ndim else None
    elif isinstance(axis, int) and axis % y_pred.ndim < mask.ndim and not hasattr(marks, "has_no_axis"):
        raise ValueError(
            f"Predictions carry a mask of shape {tuple(mask.shape)}, so they cannot be gone through along axis={axis}. "
            f"Received: predictions of shape {tuple(y_pred.shape)}"
        )
    else:
        values = function(without_masked_labels(y_true, mask), without_masked_predictions(y_pred, mask))
    values = as_tensor(values)
    if not values.ndim:
        warnings.warn(
            f"{getattr(marks, '__name__', marks)!r} gives one number for the whole batch, so what the mask of the "
            "predictions leaves out is its own affair. Let it give a value for each step.",
            stacklevel=5,
        )
        return values, None
    align_weight(mask, values, "the mask of the predictions")
    return values, mask
