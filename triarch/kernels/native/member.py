"""What each thread of OpenMP's team runs: it asks for its number and calls the kernel for its parts of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import carray, types

from triarch.kernels.native.vectors import INTEGER, emitting


@emitting
def _call_number(typing_context, address):
    """The result of a C function `int f(void)`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.IntType(32), []).as_pointer())
        return builder.sext(builder.call(function, []), INTEGER)

    return types.int64(types.int64), emit


@emitting
def _call_kernel(typing_context, address, job, thread, threads):
    """Call a kernel, `void f(int64 job, int64 thread, int64 threads)`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kernel = ir.FunctionType(ir.VoidType(), [INTEGER] * 3).as_pointer()
        builder.call(builder.inttoptr(arguments[0], kernel), arguments[1:])
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), emit


def member() -> Callable[..., None]:
    """The kernel with the job `CALL`; OpenMP passes the address of the call alone."""

    def kernel(calls: Any, thread: int, threads: int) -> None:
        call = carray(calls, 1)[0]
        team = _call_number(call.size_of_team)  # may be smaller than what was asked for
        part = _call_number(call.number_of_thread)
        while part < call.threads:
            _call_kernel(call.kernel, call.job, part, call.threads)
            part += team

    return kernel
