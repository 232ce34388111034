"""Numbers of tokens as vectors of 0 and 1, or of counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triarch import config
from triarch.tensors import torch_dtype


def encode(numbers: torch.Tensor, output_mode: str, depth: int) -> torch.Tensor:
    """Numbers below `depth` as `output_mode` says.

    Args:
        output_mode: `"int"`, the numbers as they are; `"one_hot"`, a vector for each number; or, for the numbers along
            the last axis together, `"multi_hot"` or `"count"`.
    """
    floats = torch_dtype(config.floatx())
    if output_mode == "int":
        return numbers
    if output_mode == "one_hot":
        if numbers.ndim > 1 and numbers.shape[-1] == 1:
            numbers = numbers[..., 0]
        return torch.nn.functional.one_hot(numbers, depth).to(floats)
    numbers = numbers.unsqueeze(0) if numbers.ndim == 0 else numbers
    counts = torch.zeros(*numbers.shape[:-1], depth, dtype=floats, device=numbers.device)
    counts.scatter_add_(-1, numbers, torch.ones_like(numbers, dtype=counts.dtype))
    return counts.clamp(max=1) if output_mode == "multi_hot" else counts


def encoded_shape(shape: Sequence[int | None], output_mode: str, depth: int) -> tuple[int | None, ...]:
    """The shape of what `encode` makes of numbers of this shape."""
    if output_mode == "int":
        return tuple(shape)
    if output_mode == "one_hot":
        return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), depth)
    return (*(shape[:-1] or (1,) * (len(shape) == 0)), depth)
