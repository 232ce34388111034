"""Masks: which places of a tensor's first axes count, and how layers bring those of several axes and tensors together.

A mask `(batch, steps)` of a tensor `(batch, steps, height, ...)` holds for all that lies inside a step.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from triarch.graph import leaves, map_structure
from triarch.layers.weights import WeightHolder
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


class MaskHolder(WeightHolder):
    """The part of `Layer` that knows masks; an interface, never made by itself."""

    _call_parameters: tuple[str, ...]
    supports_masking = False  # whether masks of the inputs go on to the outputs, as `compute_mask` says
    makes_mask = False  # whether the outputs get a mask though the inputs have none

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Which steps of the outputs count, where `mask` says it of the inputs'; the same ones unless overridden."""
        return mask

    _mask_parameters: tuple[str, ...] = ()  # `query_mask` and the like, for each of several inputs
    _mask_place: int | None = None  # of the argument `mask`
    _refuses_mask = False  # whether there is no such argument

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            parameters = inspect.signature(vars(cls)["call"]).parameters
            names = tuple(parameters)[1:]
            cls._mask_parameters = tuple(name for name in names if name.endswith("_mask"))
            cls._mask_place = names.index("mask") if "mask" in names else None
            takes_any = any(own.kind is inspect.Parameter.VAR_KEYWORD for own in parameters.values())
            cls._refuses_mask = not takes_any and cls._mask_place is None
        # A class that says only what masks its outputs have says so of inputs without masks, too.
        for name in ("supports_masking", "makes_mask"):
            first = next(base for base in cls.__mro__ if not {name, "compute_mask"}.isdisjoint(vars(base)))
            if name not in vars(first):
                setattr(cls, name, True)

    def _check_takes_mask(self, mask: Any) -> None:
        if self._refuses_mask:
            raise TypeError(
                f"Layer {self.name!r} ({type(self).__name__}) takes no mask: its `call` has no argument `mask`. "
                f"Received: mask={mask!r}"
            )

    def _first_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The first input, whose mask is the call's."""
        return args[0] if args else kwargs.get(self._call_parameters[0]) if self._call_parameters else None

    def symbolic_masks(self, *args: Any, **kwargs: Any) -> Any:
        """The symbolic masks of what a call on symbolic tensors gives."""
        inputs = self._first_of(args, kwargs)
        return self.compute_mask(inputs, self._fill_masks(inputs, args, kwargs)) if self.supports_masking else None

    def _fill_masks(self, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The mask of the first input, given or carried; what is carried becomes the arguments that were left out."""
        for name in self._mask_parameters:
            owner = name.removesuffix("_mask")
            place = self._call_parameters.index(owner) if owner in self._call_parameters else len(args)
            value = args[place] if place < len(args) else kwargs.get(owner)
            if value is not None and kwargs.get(name) is None and self._call_parameters.index(name) >= len(args):
                kwargs[name] = map_structure(kept_mask, value)
        carried = map_structure(kept_mask, inputs)
        if all(mask is None for mask in leaves(carried)):
            carried = None
        own = self._mask_place
        if own is None:
            return carried
        if own < len(args):
            return carried if args[own] is None else args[own]
        given = kwargs.get("mask")
        if isinstance(given, (list, tuple)) and isinstance(next(iter(leaves(given)), None), (bool, int, float)):
            given = torch.as_tensor(given, device=self.device)
        if given is not None or carried is not None:
            kwargs["mask"] = carried if given is None else given
        return kwargs.get("mask")

    def _hand_on(self, inputs: Any, mask: Any, outputs: Any) -> Any:
        """The outputs; those without a mask carry from now on the one that `compute_mask` makes of the inputs'."""
        if self.supports_masking:
            masks = iter(leaves(self.compute_mask(inputs, mask)))
            given = {id(leaf) for leaf in leaves(inputs)}

            def handed(output: Any) -> Any:
                own = next(masks, None)
                if own is None or kept_mask(output) is not None:
                    return output
                return carrying(output, own) if id(output) in given else keep_mask(output, own)

            return map_structure(handed, outputs)
        if all(kept_mask(output) is None for output in leaves(outputs)) and any(
            getattr(own, "ndim", 0) > 1 for own in leaves(mask)
        ):  # a mask of whole samples means nothing to what happens inside them
            warn_of_loss(f"Layer {self.name!r} (of type {type(self).__name__})")
        return outputs
