"""From Numba functions to object code.

A kernel is a function of a job (a record of addresses and sizes), the number of a thread and the number of threads; it
raises nothing and allocates nothing. Importing this module loads Numba, which takes half a second.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba import from_dtype, types
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from triarch.kernels.native.source import Source


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for cycles: a compiler makes many objects, and each search would go through all that torch has."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def object_code(source: Source) -> tuple[bytes, bytes]:
    """The name of the entry of a kernel, and its object file."""
    function = getattr(importlib.import_module(source.module), source.function)(*source.constants)
    arguments = (types.CPointer(from_dtype(source.job)), types.int64, types.int64)
    options = {"error_model": "numpy", "no_cpython_wrapper": True}
    with global_compiler_lock, _without_collection():
        # What `numba.cfunc` does, but for its call from Python.
        callback: Any = CFunc(function, (arguments, types.void), {}, options)
        result = callback._compile_uncached()
        result.library._ensure_finalized()
    return result.fndesc.llvm_cfunc_wrapper_name.encode(), result.library._get_compiled_object()
