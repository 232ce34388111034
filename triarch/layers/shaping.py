"""Layers that give the same numbers another shape."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch

from triarch.config import standardize_data_format
from triarch.layers.arguments import describe, is_integer, named_in_errors, require_axes, standardize_tuple
from triarch.layers.base import Layer
from triarch.registry import register
from triarch.watching import is_recorded

Shape = tuple[Any, ...]  # sizes, None where unknown


@register("keras.layers")
class Flatten(Layer):
    """Each sample as one row of numbers, channels last whatever the `data_format` of the input."""

    casts_inputs = False

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self._channels_first = self.data_format == "channels_first"

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._channels_first and inputs.ndim > 2:
            inputs = inputs.movedim(1, -1)
        if inputs.ndim == 2:
            return inputs.view_as(inputs)  # a tensor of its own: it has no mask
        return inputs.flatten(1) if inputs.ndim > 1 else inputs.unsqueeze(1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, numbers a sample)`."""
        if not input_shape:
            raise ValueError(f"{describe(self)} expects at least a batch axis. Received: shape {tuple(input_shape)}")
        sizes = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))


@register("keras.layers")
class Reshape(Layer):
    """Each sample in another shape; one entry of `target_shape` may be -1, to take what is left."""

    casts_inputs = False

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = tuple(target_shape)
        if not all(is_integer(size) and size >= -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(
                f"`target_shape` is a tuple of sizes, of which one may be -1. Received: target_shape={sizes}"
            )
        self.target_shape = tuple(int(size) for size in sizes)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if is_recorded():
            return inputs.reshape(inputs.shape[0], *self.target_shape)  # -1 stays open
        with named_in_errors(self):
            sizes = _resolve(self.target_shape, inputs.shape[1:])
        return inputs.reshape(inputs.shape[0], *sizes)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The batch axis and `target_shape`, -1 replaced where the input's sizes are known."""
        with named_in_errors(self):
            return (input_shape[0], *_resolve(self.target_shape, tuple(input_shape[1:])))


@lru_cache(maxsize=4096)
def _resolve(target: tuple[int, ...], sizes: Shape) -> Shape:
    if None in sizes:
        return tuple(None if size == -1 else size for size in target)
    count = math.prod(sizes)
    known = math.prod(size for size in target if size != -1)
    fits = known and count % known == 0 if -1 in target else count == known
    if not fits:
        raise ValueError(
            f"cannot give {count} numbers a sample the target shape {target}. Received: shape {(None, *sizes)}"
        )
    return tuple(count // known if size == -1 else size for size in target)


@register("keras.layers")
class Permute(Layer):
    """The axes of each sample in another order: `dims` are the input's axes (from 1 on) in the order of the output."""

    casts_inputs = False

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(int(axis) for axis in dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"`dims` must hold the numbers from 1 to their count, each once. Received: dims={dims!r}")

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim != len(self.dims) + 1:
            self.compute_output_shape(inputs.shape)
        return inputs.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_axes(self, input_shape, ("batch", *(f"axis {axis}" for axis in range(1, len(self.dims) + 1))))
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))


@register("keras.layers")
class RepeatVector(Layer):
    """Each sample `n` times over: `(batch, features)` -> `(batch, n, features)`."""

    casts_inputs = False

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = standardize_tuple(n, 1, "n")[0]

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim != 2:
            self.compute_output_shape(inputs.shape)
        return inputs.unsqueeze(1).repeat(1, self.n, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_axes(self, input_shape, ("batch", "features"))
        return (input_shape[0], self.n, input_shape[1])
