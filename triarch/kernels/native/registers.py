"""The registers of this processor: what a tile of a matrix product holds."""

from __future__ import annotations

from functools import cache

import torch

VECTORS = 2  # of columns in a tile


@cache
def vector_bytes() -> int:
    """The width of a vector register; 16 where torch knows of none that is wider."""
    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 16)


def lanes(dtype: torch.dtype) -> int:
    """How many numbers of this type a vector holds."""
    return vector_bytes() // dtype.itemsize


def columns(dtype: torch.dtype) -> int:
    """How many columns a tile has for numbers of this type."""
    return VECTORS * lanes(dtype)


ROWS = 12 if vector_bytes() == 64 else 6
