"""The registers of this processor: what a tile of a matrix product holds."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
import torch

VECTORS = 2  # of columns in a tile


@cache
def vector_bytes() -> int:
    """The width of a vector register."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


def lanes(dtype: torch.dtype) -> int:
    """How many numbers of this type a vector holds."""
    return vector_bytes() // dtype.itemsize


def columns(dtype: torch.dtype) -> int:
    """How many columns a tile has for numbers of this type."""
    return VECTORS * lanes(dtype)


ROWS = 12 if vector_bytes() == 64 else 6
