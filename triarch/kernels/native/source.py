"""Kernels by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Source(NamedTuple):
    """A kernel: `module.function(*constants)` gives its Python function, when it has to be compiled."""

    module: str
    function: str
    constants: tuple[Any, ...]
    job: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.module.split('.')[-2]}.{self.function}({', '.join(map(str, self.constants))})"
