"""Masks: which places of a tensor's first axes count, and how layers bring those of several axes and tensors together.

A mask `(batch, steps)` of a tensor `(batch, steps, height, ...)` holds for all that lies inside a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from triarch.tensors import keep_mask, kept_mask


def carrying(value: Any, mask: Any) -> Any:
    """`value`, nested as `mask` is, as tensors that carry the mask, without a mark on those that the caller holds."""
    if isinstance(mask, dict):
        return {key: carrying(part, mask.get(key)) for key, part in value.items()}
    if isinstance(mask, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            return carrying(value, mask[0]) if mask else value
        return type(value)([carrying(part, own) for part, own in zip(value, mask, strict=True)])
    return value if mask is None or kept_mask(value) is mask else keep_mask(value.view_as(value), mask)


def behind(mask: Any, ndim: int) -> Any:
    """The mask with axes of size 1 behind its own, `ndim` in all, so that it stretches over a tensor's places."""
    missing = ndim - mask.ndim
    return mask[(..., *(None,) * missing)] if missing > 0 else mask


def of_first_axes(mask: Any, count: int) -> Any:
    """The mask of not more than the first `count` axes: a place of them counts where anything inside it does."""
    return mask.flatten(count).any(-1) if mask.ndim > count else mask


def of_steps(mask: torch.Tensor, sizes: Sequence[int], owner: str) -> torch.Tensor:
    """A mask of batch and steps, perhaps with more axes behind; one of whole series holds for all their steps.

    Raises:
        ValueError: It has other sizes; the message names its `owner`.
    """
    if mask.ndim == 1 and len(mask) == sizes[0]:
        return mask.unsqueeze(1).expand(*sizes)
    if tuple(mask.shape[:2]) != tuple(sizes):
        raise ValueError(
            f"{owner} takes a mask of shape (batch, steps), here {tuple(sizes)}. "
            f"Received: a mask of shape {tuple(mask.shape)}"
        )
    return mask


def fits(mask: torch.Tensor, shape: torch.Size) -> bool:
    """Whether a mask is one of the first axes of tensors of this shape."""
    return mask.shape == shape[: mask.ndim]


def masked_mean(numbers: torch.Tensor, mask: torch.Tensor, axes: Sequence[int], keepdim: bool = True) -> torch.Tensor:
    """The mean over axes of the numbers inside a mask that stretches over them; 0 where there are none.

    It has at least single precision, as half precision overflows in sums.
    """
    inside = mask.bool()
    dtype = torch.float32 if numbers.dtype in (torch.float16, torch.bfloat16) else numbers.dtype
    total = torch.where(inside, numbers, 0.0).sum(tuple(axes), keepdim, dtype=dtype)
    count = inside.expand(numbers.shape).sum(tuple(axes), keepdim, dtype=dtype)
    return total / count.clamp(min=1)


def reaches(mask: torch.Tensor | None, axes: Sequence[int]) -> bool:
    """Whether a mask leaves anything out of sums over axes, numbered from 0."""
    return mask is not None and min(axes) < mask.ndim


def mean_inside(numbers: torch.Tensor, mask: torch.Tensor | None, axes: Sequence[int]) -> torch.Tensor:
    """The mean over axes, which stay with size 1, of what counts by a mask of the first axes."""
    if mask is None or not reaches(mask, axes):
        return numbers.mean(tuple(axes), keepdim=True)
    return masked_mean(numbers, behind(mask, numbers.ndim), axes)


def warn_of_loss(described: str) -> None:
    """Say, in Keras's words, that a mask ends here."""
    warnings.warn(
        f"{described} was passed an input with a mask attached to it. However, this layer does not support masking and "
        "will therefore destroy the mask information. Downstream layers will not see the mask.",
        stacklevel=2,
    )


class Unmasking:
    """A module of torch between layers: what it gives carries no mask, whatever it takes."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __call__(self, inputs: Any) -> Any:
        """What the module gives."""
        outputs = self.module(inputs)
        if kept_mask(inputs) is not None and kept_mask(outputs) is None:
            warn_of_loss(f"The module {type(self.module).__name__}")
        return outputs
