"""Memory that kernels work in, kept between calls: fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_free: list[Tensor] = []  # of bytes; taking one out and putting one back are atomic


@contextmanager
def workspace(count: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """At least `count` numbers of any value, for as long as the block lasts."""
    size = count * dtype.itemsize
    try:
        memory = _free.pop()
    except IndexError:
        memory = torch.empty(0, dtype=torch.uint8)
    if memory.numel() < size:
        memory = torch.empty(size, dtype=torch.uint8)
    try:
        yield memory[:size].view(dtype)
    finally:
        _free.append(memory)
