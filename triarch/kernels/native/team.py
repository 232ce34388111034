"""Runs a kernel on several threads at once: on torch's own, so that going from torch to a kernel and back is free.

torch's parallel loops run in OpenMP's team of threads, which wait awake for a while after each of them. A kernel that
enters the same team (GNU OpenMP's `GOMP_parallel`) finds them ready within microseconds; a pool beside it would have to
wake its threads on processors on which torch's still spin.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from triarch.convolution.threads import split_work
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_home = os.getpid()  # a forked child has this number, but none of the team's threads

CALL = np.dtype([(name, np.int64) for name in ("kernel", "job", "threads", "number_of_thread", "size_of_team")])

MEMBER = Source("triarch.kernels.native.member", "member", (), CALL)


class _OpenMP(NamedTuple):
    """The library that torch has loaded, and the addresses that a call names."""

    parallel: Callable[..., None]
    member: int
    number_of_thread: int
    size_of_team: int


@cache
def _openmp() -> _OpenMP | None:
    """None where torch runs on another library than GNU's."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "GOMP_parallel"):
        return None
    library.GOMP_parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    library.GOMP_parallel.restype = None
    questions = (library.omp_get_thread_num, library.omp_get_num_threads)
    number, size = (ctypes.cast(question, ctypes.c_void_p).value or 0 for question in questions)
    return _OpenMP(library.GOMP_parallel, compiled(MEMBER), number, size)


def alone(kernel: int, job: np.ndarray[Any, Any]) -> Callable[[], None]:
    """A function that calls the kernel with this job, which must live as long, on the thread that calls it."""
    return partial(_KERNEL(kernel), job.ctypes.data, 0, 1)


def prepared(kernel: int, job: np.ndarray[Any, Any], threads: int) -> Callable[[], None]:
    """A function that calls `kernel(job, part, threads)` for every part in `range(threads)` at once, and waits for all.

    For one thread of the program at a time; the job must live as long.
    """
    if threads == 1:
        return alone(kernel, job)
    call, openmp = np.zeros(1, CALL), _openmp()
    if openmp is not None:
        call[0] = (kernel, job.ctypes.data, threads, openmp.number_of_thread, openmp.size_of_team)
    enter = None if openmp is None else partial(openmp.parallel, openmp.member, call.ctypes.data, threads, 0)
    function, address = _KERNEL(kernel), job.ctypes.data

    def work(first: int, last: int) -> None:
        for part in range(first, last):
            function(address, part, threads)

    def start() -> None:
        if enter is None or os.getpid() != _home:
            split_work(work, threads, seconds=1.0)
        else:
            enter()

    start.call = call  # type: ignore[attr-defined] # lives as long as the function
    return start
