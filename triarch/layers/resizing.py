"""Margins added and cut off, and places repeated or interpolated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from triarch.config import standardize_data_format
from triarch.kernels.windows import axis_names, joined_shape, split_shape
from triarch.layers.arguments import describe, is_integer, require_axes, standardize_tuple
from triarch.layers.base import Layer
from triarch.registry import register

Pairs = tuple[tuple[int, int], ...]


class _Resizing(Layer):
    """A layer that changes the spatial sizes."""

    rank: ClassVar[int]
    data_format: str

    def _resized(self, size: int, axis: int) -> int:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape with other spatial sizes."""
        require_axes(self, input_shape, axis_names(self.rank, self.data_format))
        sizes, channels = split_shape(input_shape, self.rank, self.data_format)
        resized = [None if size is None else self._resized(size, axis) for axis, size in enumerate(sizes)]
        if any(size is not None and size <= 0 for size in resized):
            raise ValueError(f"{describe(self)} leaves nothing of the input. Received: shape {tuple(input_shape)}")
        return joined_shape(input_shape[0], resized, channels, self.data_format)

    def _first_axis(self) -> int:
        return 1 if self.data_format == "channels_last" else 2


def _pairs(value: Any, rank: int, name: str) -> Pairs:
    """One number, one for each axis, or a pair for each axis."""
    entries = (value,) * rank if is_integer(value) else tuple(value) if isinstance(value, Iterable) else ()
    if rank == 1 and len(entries) == 2 and all(is_integer(entry) for entry in entries):
        entries = (entries,)
    pairs = tuple((entry, entry) if is_integer(entry) else tuple(entry) for entry in entries)
    if len(pairs) != rank or not all(len(pair) == 2 and all(is_integer(n) and n >= 0 for n in pair) for pair in pairs):
        raise ValueError(
            f"`{name}` is a number, one for each of {rank} axes, or a pair (before, after) for each. "
            f"Received: {name}={value!r}"
        )
    return pairs


class _ZeroPadding(_Resizing):
    padding: Any
    _margins: Pairs

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        self.compute_output_shape(inputs.shape)
        innermost_first = [count for pair in reversed(self._margins) for count in pair]
        return F.pad(inputs, ([0, 0] if self.data_format == "channels_last" else []) + innermost_first)

    def _resized(self, size: int, axis: int) -> int:
        return size + sum(self._margins[axis])


class _Cropping(_Resizing):
    cropping: Any
    _margins: Pairs

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        self.compute_output_shape(inputs.shape)
        for axis, (before, after) in enumerate(self._margins, self._first_axis()):
            inputs = inputs.narrow(axis, before, inputs.shape[axis] - before - after)
        return inputs

    def _resized(self, size: int, axis: int) -> int:
        return size - sum(self._margins[axis])


class _UpSampling(_Resizing):
    size: Any
    _times: tuple[int, ...]

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        self.compute_output_shape(inputs.shape)
        for axis, times in enumerate(self._times, self._first_axis()):
            if times > 1:
                inputs = inputs.repeat_interleave(times, axis)
        return inputs

    def _resized(self, size: int, axis: int) -> int:
        return size * self._times[axis]


@register("keras.layers")
class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after series `(batch, length, channels)`: one number, or (before, after)."""

    rank = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self._margins = _pairs(padding, 1, "padding")
        self.padding = self._margins[0]


@register("keras.layers")
class ZeroPadding2D(_ZeroPadding):
    """Zeros around images `(batch, height, width, channels)`."""

    rank = 2

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.padding = self._margins = _pairs(padding, 2, "padding")


@register("keras.layers")
class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes `(batch, depth, height, width, channels)`."""

    rank = 3

    def __init__(self, padding: Any = (1, 1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.padding = self._margins = _pairs(padding, 3, "padding")


@register("keras.layers")
class Cropping1D(_Cropping):
    """Series `(batch, length, channels)` without so many places at both ends: one number, or (before, after)."""

    rank = 1
    data_format = "channels_last"

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._margins = _pairs(cropping, 1, "cropping")
        self.cropping = self._margins[0]


@register("keras.layers")
class Cropping2D(_Cropping):
    """Images `(batch, height, width, channels)` without their margins."""

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.cropping = self._margins = _pairs(cropping, 2, "cropping")


@register("keras.layers")
class Cropping3D(_Cropping):
    """Volumes `(batch, depth, height, width, channels)` without their margins."""

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.cropping = self._margins = _pairs(cropping, 3, "cropping")


@register("keras.layers")
class UpSampling1D(_UpSampling):
    """Every step of series `(batch, length, channels)`, so many times."""

    rank = 1
    data_format = "channels_last"

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._times = standardize_tuple(size, 1, "size")
        self.size = self._times[0]


_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@register("keras.layers")
class UpSampling2D(_UpSampling):
    """Images `(batch, height, width, channels)` so many times as high and wide.

    Args:
        interpolation: `"nearest"` repeats pixels, `"bilinear"` and `"bicubic"` compute those between.
    """

    computes_in_floats = True

    rank = 2

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size = self._times = standardize_tuple(size, 2, "size")
        self.data_format = standardize_data_format(data_format)
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(f"`interpolation` must be one of {_INTERPOLATIONS}. Received: {interpolation!r}")
        self.interpolation = interpolation

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.interpolation == "nearest":
            return super().call(inputs)
        sizes, _ = split_shape(self.compute_output_shape(inputs.shape), 2, self.data_format)
        is_last = self.data_format == "channels_last"
        images = inputs.permute(0, 3, 1, 2) if is_last else inputs
        outputs = F.interpolate(images, sizes, mode=self.interpolation, align_corners=False)  # type: ignore[arg-type]
        return outputs.permute(0, 2, 3, 1) if is_last else outputs


@register("keras.layers")
class UpSampling3D(_UpSampling):
    """Volumes `(batch, depth, height, width, channels)` so many times as deep, high and wide."""

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = self._times = standardize_tuple(size, 3, "size")
        self.data_format = standardize_data_format(data_format)
