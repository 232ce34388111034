"""What comes out of a function whose inputs have unknown sizes: two runs, with different sizes in their places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from triarch.graph.structures import leaves, map_structure

Shape = tuple[int | None, ...]

TRIALS = (0, 1)
_BATCHES, _SIZES = (2, 3), (48, 64)  # none of them 1, which would be stretched to fit other sizes


def trial_sizes(shape: Sequence[int | None], trial: int) -> tuple[int, ...]:
    """`shape` with this trial's sizes for the unknown ones; the first axis is the batch's."""
    unknown = (_BATCHES[trial], *(_SIZES[trial],) * len(shape))
    return tuple(size if entry is None else entry for size, entry in zip(unknown, shape, strict=False))


def in_common(first: Any, second: Any, make: Callable[[Shape, torch.dtype], Any]) -> Any:
    """The structure of both runs' outputs, with `make(shape, type)` for each tensor; sizes that differ are unknown.

    Raises:
        ValueError: An output is no tensor, or its axes depend on the sizes.
    """
    others = iter(leaves(second))

    def compare(one: Any) -> Any:
        other = next(others, None)
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor) or one.ndim != other.ndim:
            raise ValueError(f"gives no tensor whose number of axes is known. Received: {one!r} and {other!r}")
        shape = tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True))
        return make(shape, one.dtype)

    return map_structure(compare, first)
