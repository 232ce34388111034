"""Series of their own lengths, one after the other without the steps that do not count."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Packing(NamedTuple):
    """Where the steps of series lie.

    Args:
        order: The series, the longest first.
        offsets: Where each series begins.
        lengths: Its steps that count.
        steps: The steps of all series together.
        places: Of these steps among all places `batch * length`, a row after the other; None where every step counts.
        addresses: Of order, offsets and lengths.
        rank: `(batch, length)`: how many steps of the series count up to each place, that place with them; or None.
    """

    order: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    steps: int
    addresses: tuple[int, ...]
    places: Tensor | None = None
    rank: Tensor | None = None


def pack(batch: int, length: int, mask: Tensor | None) -> Packing:
    """The steps of a batch of series that count: all of them, or where a mask `(batch, length)` is true."""
    if mask is None:
        return _whole(batch, length)
    rank = mask.cumsum(1)
    lengths = rank[:, -1].cpu().numpy() if length else np.zeros(batch, np.int64)
    offsets, lengths = np.cumsum(lengths) - lengths, np.ascontiguousarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    places = mask.flatten().nonzero().squeeze(1)
    return Packing(order, offsets, lengths, len(places), _addresses(order, offsets, lengths), places, rank)


def _addresses(*arrays: np.ndarray[Any, Any]) -> tuple[int, ...]:
    return tuple(array.ctypes.data for array in arrays)


@lru_cache(maxsize=256)
def _whole(batch: int, length: int) -> Packing:
    series = np.arange(batch, dtype=np.int64)
    offsets, lengths = series * length, np.full(batch, length, np.int64)
    return Packing(series, offsets, lengths, batch * length, _addresses(series, offsets, lengths))


def unpack(packing: Packing, outputs: Tensor, mask: Tensor, goes_backwards: bool, zero_for_mask: bool) -> Tensor:
    """Outputs `(steps, units)` of packed series at all places, `(batch, length, units)`, in the order of time.

    A place that does not count has the output of the step that was taken before it, zeros where there is none; or, with
    `zero_for_mask`, zeros.
    """
    assert packing.rank is not None
    offsets, lengths = (
        torch.from_numpy(numbers).to(mask.device).unsqueeze(1) for numbers in (packing.offsets, packing.lengths)
    )
    within = packing.rank - mask.long() if goes_backwards else packing.rank - 1  # the step that was taken last
    has_one = mask if zero_for_mask else (within < lengths) & (within >= 0)
    nothing = outputs.new_zeros(1, outputs.shape[1])
    rows = torch.where(has_one, offsets + within, packing.steps)
    return torch.cat([outputs, nothing]).index_select(0, rows.flatten()).unflatten(0, mask.shape)
