"""Initializers whose variance follows from the number of inputs and outputs (fan)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from triarch import random
from triarch.initializers.base import FAMILY, RandomInitializer, Shape
from triarch.registry import register

Axes = Sequence[int] | None


def compute_fans(shape: Shape, input_axes: Axes = None, output_axes: Axes = None) -> tuple[int, int]:
    """How many inputs an output of this kernel has, and how many outputs an input.

    Without axes, the last axis is the outputs', the one before it the inputs', and the rest a receptive field.
    """
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


_STDDEV_OF_TRUNCATED_NORMAL = 0.87962566103423978  # of the standard normal cut off at -2 and 2


@register(FAMILY)
class VarianceScaling(RandomInitializer):
    """Numbers with variance `scale / fan`, so that signals keep their size from layer to layer.

    Args:
        scale: A positive number.
        mode: The fan: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"` (also `"normal"`), `"untruncated_normal"` or `"uniform"`.
        seed: See `RandomInitializer`.
        input_axes: The axes of the kernel that count for `fan_in`, where they are not the usual ones.
        output_axes: The same for `fan_out`.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed)
        if scale <= 0:
            raise ValueError(f"scale must be a positive number. Received: {scale!r}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg'. Received: {mode!r}")
        distribution = "truncated_normal" if distribution.lower() == "normal" else distribution.lower()
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                "distribution must be 'uniform', 'truncated_normal' (or 'normal') or 'untruncated_normal'. "
                f"Received: {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, stddev, dtype, self.seed)
        return random.truncated_normal(shape, 0.0, stddev / _STDDEV_OF_TRUNCATED_NORMAL, dtype, self.seed)


class _NamedScaling(VarianceScaling):
    """A `VarianceScaling` whose scale, mode and distribution are the class's `rule`."""

    rule: ClassVar[tuple[float, str, str]]

    def __init__(self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None) -> None:
        super().__init__(*self.rule, seed, input_axes, output_axes)


@register(FAMILY)
class GlorotUniform(_NamedScaling):
    """Uniform in ±√(6 / (fan_in + fan_out)) (Glorot & Bengio, 2010)."""

    rule = (1.0, "fan_avg", "uniform")


@register(FAMILY)
class GlorotNormal(_NamedScaling):
    """Truncated normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio, 2010)."""

    rule = (1.0, "fan_avg", "truncated_normal")


@register(FAMILY)
class LecunUniform(_NamedScaling):
    """Uniform in ±√(3 / fan_in) (LeCun et al., 1998)."""

    rule = (1.0, "fan_in", "uniform")


@register(FAMILY)
class LecunNormal(_NamedScaling):
    """Truncated normal, variance 1 / fan_in (LeCun et al., 1998)."""

    rule = (1.0, "fan_in", "truncated_normal")


@register(FAMILY)
class HeUniform(_NamedScaling):
    """Uniform in ±√(6 / fan_in) (https://arxiv.org/abs/1502.01852)."""

    rule = (2.0, "fan_in", "uniform")


@register(FAMILY)
class HeNormal(_NamedScaling):
    """Truncated normal, variance 2 / fan_in (https://arxiv.org/abs/1502.01852)."""

    rule = (2.0, "fan_in", "truncated_normal")
