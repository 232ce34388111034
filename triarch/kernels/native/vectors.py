"""Vectors of numbers as LLVM knows them, for intrinsics that emit what no loop can say; only compilers import this.

A pointer is typed: `at("float32", address)` reads and writes 32-bit floats, and is moved by `shifted`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from triarch.kernels.native.registers import lanes, vector_bytes

INTEGER = ir.IntType(64)

# The decorator of functions that write their code themselves; arguments that are constants come as literal types.
emitting: Any = intrinsic(prefer_literal=True)

# For functions that only kernels call: nothing is made that would let Python or C call them.
_UNCALLED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inlined: Any = njit(error_model="numpy", **_UNCALLED)


def lanes_of(dtype: str) -> int:
    """How many numbers of the type that is named a vector holds."""
    return lanes(getattr(torch, dtype))


def size_of(dtype: str) -> int:
    """How many bytes a number of the type that is named takes."""
    return getattr(torch, dtype).itemsize


@emitting
def at(typing_context, dtype, address):
    """A pointer to numbers of the type that is named, from an address."""

    def emit(context, builder, signature, arguments):
        return builder.inttoptr(arguments[1], context.get_value_type(signature.return_type))

    return types.CPointer(getattr(types, dtype.literal_value))(dtype, address), emit


@emitting
def shifted(typing_context, pointer, count):
    """The pointer, `count` numbers further."""

    def emit(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), emit


class Emitter:
    """Writes vector instructions for one type of numbers into a function that is being compiled."""

    def __init__(self, builder: ir.IRBuilder, dtype: types.Float) -> None:
        self.builder = builder
        self.size = dtype.bitwidth // 8
        self.lanes = vector_bytes() // self.size
        self.real = {4: ir.FloatType(), 8: ir.DoubleType()}[self.size]
        self.type = ir.VectorType(self.real, self.lanes)
        name = f"llvm.fma.v{self.lanes}f{dtype.bitwidth}"
        self._fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.type, [self.type] * 3), name)

    def moved(self, pointer: Any, count: Any) -> Any:
        """The pointer, `count` numbers further: an integer known now, or one of the running program."""
        return self.builder.gep(pointer, [INTEGER(count) if isinstance(count, int) else count])

    def load(self, pointer: Any) -> Any:
        """The vector that begins at the pointer."""
        return self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()), align=self.size)

    def store(self, vector: Any, pointer: Any) -> None:
        """Write the vector where the pointer points to."""
        self.builder.store(vector, self.builder.bitcast(pointer, self.type.as_pointer()), align=self.size)

    def fetch(self, pointer: Any, is_written: bool = False) -> Any:
        """Let the processor bring what lies at the pointer into its cache."""
        arguments = [ir.IntType(32)] * 3
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(ir.VoidType(), [byte, *arguments]), "llvm.prefetch.p0i8"
        )
        constants = [ir.IntType(32)(value) for value in (int(is_written), 3, 1)]
        self.builder.call(function, [self.builder.bitcast(pointer, byte), *constants])

    def constant(self, value: float) -> Any:
        """The same number in every lane."""
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def spread(self, scalar: Any) -> Any:
        """A number of the running program in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, everywhere)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """`x * y + z`, rounded once."""
        return self.builder.call(self._fma, (x, y, z))

    def weighted_sum(self, weights: Sequence[float], vectors: Sequence[Any]) -> Any:
        """`Σ weights[i] * vectors[i]`, beginning with a weight of ±1 where there is one."""
        terms = [(weight, vector) for weight, vector in zip(weights, vectors, strict=True) if weight]
        if not terms:
            return self.constant(0.0)
        terms.sort(key=lambda term: (abs(term[0]) != 1, term[0] < 0))
        (weight, total), *others = terms
        is_negative = weight == -1
        if is_negative:  # the sum with signs turned, and then turned once
            others = [(-factor, vector) for factor, vector in others]
        elif weight != 1:
            total = self.builder.fmul(total, self.constant(weight))
        for factor, vector in others:
            if factor == 1:
                total = self.builder.fadd(total, vector)
            elif factor == -1:
                total = self.builder.fsub(total, vector)
            else:
                total = self.multiply_add(vector, self.constant(factor), total)
        return self.builder.fneg(total) if is_negative else total

    def loop(self, rounds: Any, start: Sequence[Any], step: Callable[..., Sequence[Any]]) -> list[Any]:
        """What `step` makes of the values that it is given, `rounds` times over, from `start` on."""
        builder, before = self.builder, self.builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        first = [INTEGER(0), *start]
        carried = [builder.phi(value.type) for value in first]
        for phi, value in zip(carried, first, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", carried[0], rounds), body, after)
        builder.position_at_end(body)
        following = [builder.add(carried[0], INTEGER(1)), *step(*carried[1:])]
        for phi, value in zip(carried, following, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return carried[1:]

    def transposed(self, vectors: Sequence[Any]) -> list[Any]:
        """`lanes` vectors as the rows of a square -> its columns."""
        rows, width = list(vectors), 1
        while width < self.lanes:
            for first in range(self.lanes):
                if first & width:
                    continue
                upper, lower = rows[first], rows[first + width]
                rows[first] = self._mixed(upper, lower, width, 0)
                rows[first + width] = self._mixed(upper, lower, width, width)
            width *= 2
        return rows

    def _mixed(self, upper: Any, lower: Any, width: int, offset: int) -> Any:
        """Blocks of `width` lanes: one of `upper`, one of `lower`, from every pair of blocks the one at `offset`."""
        lanes = [(lane & ~width) + offset + (self.lanes if lane & width else 0) for lane in range(self.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes)
        return self.builder.shuffle_vector(upper, lower, mask)
