"""Several tensors into one: sums, products, extremes, concatenation, dot products."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from triarch.layers.arguments import describe, is_integer
from triarch.layers.base import Layer
from triarch.layers.masks import behind, of_first_axes
from triarch.registry import register


class _Merge(Layer):
    """A layer of a list of tensors; shapes must be equal, or stretch to a common one.

    A step of a series counts in the output's mask where it counts in any of the inputs; one without a mask counts
    everywhere.
    """

    supports_masking = True
    makes_mask = False
    least = 1  # inputs

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)

    def call(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._merge(_aligned(inputs))

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The common shape."""
        shapes = self._shapes(input_shape)
        return functools.reduce(self._common, shapes[1:], tuple(shapes[0]))

    def _shapes(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        is_list = isinstance(input_shape, (list, tuple)) and all(
            isinstance(entry, (list, tuple)) for entry in input_shape
        )
        if not is_list or len(input_shape) < self.least:
            raise ValueError(
                f"{describe(self)} takes a list of at least {self.least} tensors. Received: shape {input_shape}"
            )
        batches = {shape[0] for shape in input_shape if shape} - {None}
        if len(batches) > 1:
            raise ValueError(f"{describe(self)} takes batches of one size. Received: shapes {input_shape}")
        return [tuple(shape) for shape in input_shape]

    def _common(self, first: Sequence[int | None], second: Sequence[int | None]) -> tuple[int | None, ...]:
        if len(first) < len(second):
            first, second = second, first
        missing = len(first) - len(second)
        second = (*second[:1], *first[1 : missing + 1], *second[1:])
        common = []
        for one, other in zip(first[1:], second[1:], strict=True):
            if None not in (one, other) and 1 not in (one, other) and one != other:
                raise ValueError(
                    f"{describe(self)} takes tensors whose shapes are equal or stretch to one. "
                    f"Received: shapes {tuple(first)} and {tuple(second)}"
                )
            common.append(other if one == 1 else one if other == 1 else None if None in (one, other) else one)
        return (first[0] if second[0] is None else second[0], *common)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where any of the inputs counts; None unless all have masks."""
        if mask is None or any(part is None for part in mask):
            return None
        return functools.reduce(torch.logical_or, _aligned_masks(inputs, mask))


def _aligned_masks(inputs: Sequence[Any], masks: Sequence[Any], ndim: int = 0) -> list[Any]:
    """Masks with the new axes of their inputs, and then as many as the longest of them has, or `ndim`."""
    most = max(part.ndim for part in inputs)
    made = [
        own[(slice(None), *(None,) * (most - part.ndim))] if own is not None and part.ndim < most else own
        for part, own in zip(inputs, masks, strict=True)
    ]
    ndim = max([ndim, *(own.ndim for own in made if own is not None)])
    return [None if own is None else behind(own, ndim) for own in made]


def _aligned(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """With new axes after the batch's where others have more."""
    ndim = max(part.ndim for part in inputs)
    return [part[(slice(None), *(None,) * (ndim - part.ndim))] if part.ndim < ndim else part for part in inputs]


@register("keras.layers")
class Add(_Merge):
    """The sum of tensors."""

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return functools.reduce(torch.add, inputs)


@register("keras.layers")
class Subtract(_Merge):
    """The first of two tensors minus the second."""

    least = 2

    def compute_output_shape(self, input_shape: Any) -> Any:
        if len(self._shapes(input_shape)) != 2:
            raise ValueError(f"{describe(self)} takes 2 tensors. Received: shapes {input_shape}")
        return super().compute_output_shape(input_shape)

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.subtract(*inputs)


@register("keras.layers")
class Average(_Merge):
    """The mean of tensors."""

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return functools.reduce(torch.add, inputs) / len(inputs)


class _MaskedMerge(_Merge):
    """A merge to which a step outside a mask contributes nothing."""

    def call(self, inputs: Sequence[torch.Tensor], mask: Any = None) -> torch.Tensor:
        parts = _aligned(inputs)
        if mask is None or all(part is None for part in mask):
            return self._merge(parts)
        return self._merge_masked(parts, _aligned_masks(inputs, mask, parts[0].ndim))

    def _merge_masked(self, inputs: list[torch.Tensor], masks: list[torch.Tensor | None]) -> torch.Tensor:
        raise NotImplementedError


@register("keras.layers")
class Multiply(_MaskedMerge):
    """The product of tensors; steps outside a mask count as 1, and where all are outside, the product is 0."""

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return functools.reduce(torch.mul, inputs)

    def _merge_masked(self, inputs: list[torch.Tensor], masks: list[torch.Tensor | None]) -> torch.Tensor:
        ones = [
            part if mask is None else torch.where(mask, part, 1.0) for part, mask in zip(inputs, masks, strict=True)
        ]
        product = self._merge([part.to(inputs[0].dtype) for part in ones])
        known = [mask for mask in masks if mask is not None]
        return (
            product if len(known) < len(masks) else torch.where(functools.reduce(torch.logical_or, known), product, 0.0)
        )


class _Extreme(_MaskedMerge):
    def _choose(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _merge(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return functools.reduce(self._choose, inputs)

    def _merge_masked(self, inputs: list[torch.Tensor], masks: list[torch.Tensor | None]) -> torch.Tensor:
        output, known = inputs[0], masks[0]
        for part, mask in zip(inputs[1:], masks[1:], strict=True):
            inside = part if mask is None else torch.where(mask, part, output)
            output = output if known is None else torch.where(known, output, inside)
            output = self._choose(output, inside)
            known = None if known is None or mask is None else torch.logical_or(known, mask)
        return output


@register("keras.layers")
class Maximum(_Extreme):
    """The largest of each place's numbers, among the steps inside the masks."""

    def _choose(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.maximum(first, second)


@register("keras.layers")
class Minimum(_Extreme):
    """The smallest of each place's numbers, among the steps inside the masks."""

    def _choose(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.minimum(first, second)


@register("keras.layers")
class Concatenate(_Merge):
    """Tensors one after the other along an axis; the other sizes are equal."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(inputs), self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The common shape, with the sum of the sizes along the axis."""
        shapes = self._shapes(input_shape)
        ndim = len(shapes[0])
        if any(len(shape) != ndim for shape in shapes) or not -ndim <= self.axis < ndim:
            raise ValueError(
                f"{describe(self)} takes tensors with the same number of axes, axis {self.axis} among them. "
                f"Received: shapes {shapes}"
            )
        axis = self.axis % ndim
        common: list[int | None] = []
        for place, sizes in enumerate(zip(*shapes, strict=True)):
            known = {size for size in sizes if size is not None}
            if place == axis:
                common.append(None if None in sizes else sum(sizes))
                continue
            if len(known) > 1:
                raise ValueError(
                    f"{describe(self)} takes tensors whose sizes are equal but for axis {self.axis}. "
                    f"Received: shapes {shapes}"
                )
            common.append(known.pop() if known else None)
        return tuple(common)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The masks joined as the inputs are; an input without a mask counts everywhere."""
        if mask is None or all(part is None for part in mask):
            return None
        ndim, most = inputs[0].ndim, max(own.ndim for own in mask if own is not None)
        axis, rank = self.axis % ndim, min(most, ndim - 1)
        nowhere = [of_first_axes(torch.zeros_like(part, dtype=torch.bool), rank) for part in inputs]
        whole = [
            ~none if own is None else torch.logical_or(behind(of_first_axes(own, rank), rank), none)
            for own, none in zip(mask, nowhere, strict=True)
        ]
        return torch.cat(whole, axis) if axis < rank else functools.reduce(torch.logical_or, whole)


@register("keras.layers")
class Dot(_Merge):
    """Sums of products over an axis of each of two batches, sample by sample.

    Args:
        axes: One axis for both, or a pair; not the batch's.
        normalize: Whether to divide each sample by its norm along the axis: the sums are cosines then.
    """

    least = 2

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        pair = (axes, axes) if is_integer(axes) else tuple(axes) if isinstance(axes, (list, tuple)) else ()
        if len(pair) != 2 or not all(is_integer(axis) for axis in pair) or 0 in pair:
            raise ValueError(f"`axes` is an axis of the samples, or a pair of them. Received: axes={axes!r}")
        self.axes = axes
        self.normalize = normalize

    def _pair(self, shapes: Sequence[Sequence[Any]]) -> tuple[int, int]:
        axes = (self.axes, self.axes) if is_integer(self.axes) else self.axes
        first, second = (axis % len(shape) for axis, shape in zip(axes, shapes, strict=True))
        return first, second

    def call(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        first, second = inputs
        axes = self._pair([first.shape, second.shape])
        if self.normalize:
            first, second = (
                F.normalize(part, dim=axis, eps=1e-6) for part, axis in zip((first, second), axes, strict=True)
            )
        batch, size = len(first), first.shape[axes[0]]
        rows, columns = first.movedim(axes[0], -1), second.movedim(axes[1], 1)
        products = torch.bmm(rows.reshape(batch, -1, size), columns.reshape(batch, size, -1))
        return products.reshape(batch, *((*rows.shape[1:-1], *columns.shape[2:]) or (1,)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The axes of both but those that are summed over."""
        shapes = self._shapes(input_shape)
        if len(shapes) != 2 or min(map(len, shapes)) < 2:
            raise ValueError(f"{describe(self)} takes 2 batches. Received: shapes {shapes}")
        axes = self._pair(shapes)
        sizes = [shape[axis] for shape, axis in zip(shapes, axes, strict=True)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"{describe(self)} sums over axes of one size, {axes[0]} and {axes[1]}. Received: shapes {shapes}"
            )
        rest = [size for place, size in enumerate(shapes[0]) if place not in (0, axes[0])]
        rest += [size for place, size in enumerate(shapes[1]) if place not in (0, axes[1])]
        return (shapes[0][0], *(rest or [1]))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: what is summed over is gone."""


def _function(layer: type[_Merge], name: str) -> Callable[..., Any]:
    def merge(inputs: Any, **kwargs: Any) -> Any:
        return layer(**kwargs)(inputs)

    merge.__name__ = merge.__qualname__ = name
    merge.__doc__ = f"`{layer.__name__}(**kwargs)(inputs)`."
    return merge


add = _function(Add, "add")
subtract = _function(Subtract, "subtract")
multiply = _function(Multiply, "multiply")
average = _function(Average, "average")
maximum = _function(Maximum, "maximum")
minimum = _function(Minimum, "minimum")


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes, **kwargs)(inputs)
