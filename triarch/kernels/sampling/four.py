"""Vectors of four numbers: as many channels of a pixel, for intrinsics that emit what no loop can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.native.vectors import Emitter

INDEX = ir.IntType(32)


def lanes(numbers: Sequence[int]) -> ir.Constant:
    """Which lanes a shuffle takes."""
    return ir.Constant(ir.VectorType(INDEX, len(numbers)), list(numbers))


class Four:
    """Writes instructions on vectors of four numbers."""

    def __init__(self, builder: ir.IRBuilder, dtype: types.Float) -> None:
        self.builder, self.emitter = builder, Emitter(builder, dtype)
        self.type = ir.VectorType(self.emitter.real, 4)
        self.zeros = ir.Constant(self.type, [0.0] * 4)

    def load_some(self, count: int, pointer: Any) -> Any:
        """So many numbers at the pointer, and zeros."""
        vector = self.zeros
        for number in range(count):
            own = self.builder.load(self.emitter.moved(pointer, number))
            vector = self.builder.insert_element(vector, own, INDEX(number))
        return vector

    def store_some(self, count: int, vector: Any, pointer: Any) -> None:
        """Write so many of the numbers to the pointer."""
        for number in range(count):
            own = self.builder.extract_element(vector, INDEX(number))
            self.builder.store(own, self.emitter.moved(pointer, number))

    def load(self, pointer: Any) -> Any:
        """The four numbers at the pointer."""
        return self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()), align=self.emitter.size)

    def store(self, vector: Any, pointer: Any) -> None:
        """Write them to the pointer."""
        self.builder.store(vector, self.builder.bitcast(pointer, self.type.as_pointer()), align=self.emitter.size)

    def spread(self, scalar: Any) -> Any:
        """A number of the running program in every lane."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, INDEX(0))
        return self.builder.shuffle_vector(first, undefined, lanes([0] * 4))

    def product(self, scalar: Any, vector: Any) -> Any:
        """The vector times a number."""
        return self.builder.fmul(self.spread(scalar), vector)

    def weighted(self, weights: Sequence[Any], vectors: Sequence[Any]) -> Any:
        """The sum of vectors times numbers."""
        total = self.zeros
        for weight, vector in zip(weights, vectors, strict=True):
            total = self.builder.fadd(total, self.product(weight, vector))
        return total

    def between(self, first: Any, second: Any, part: Any) -> Any:
        """`first + part (second - first)`."""
        return self.builder.fadd(first, self.builder.fmul(part, self.builder.fsub(second, first)))

    def total(self, vector: Any) -> Any:
        """The sum of the four numbers."""
        builder, unused = self.builder, ir.Constant(self.type, ir.Undefined)
        halves = builder.fadd(vector, builder.shuffle_vector(vector, unused, lanes([2, 3, 2, 3])))
        both = builder.fadd(halves, builder.shuffle_vector(halves, unused, lanes([1, 1, 1, 1])))
        return builder.extract_element(both, INDEX(0))

    def scalars(self, pointer: Any) -> list[Any]:
        """The four numbers at the pointer, each by itself."""
        return [self.builder.load(self.emitter.moved(pointer, number)) for number in range(4)]

    def row(self, first: Any, number: Any, pitch: Any) -> list[Any]:
        """Where four pixels lie side by side, `number` rows below the first."""
        start = self.emitter.moved(first, self.builder.mul(pitch, ir.IntType(64)(number)))
        return [self.emitter.moved(start, 4 * column) for column in range(4)]
