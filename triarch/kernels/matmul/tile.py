"""A tile of a matrix product held in registers: what products inside kernels are made of.

`rows × columns` numbers of the result stay in vector registers while the depth passes by, so that each step costs two
loads and a row of broadcasts for all its multiplications. 6 rows of two vectors fill the 16 registers of AVX2; with 32
registers 12 rows do. Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.vectors import INTEGER, Emitter, emitting

_UNROLLED = 4  # steps of the depth between two tests for its end


@emitting
def multiply_tile(
    typing_context, is_added, a, a_row, a_step, b, b_step, c, c_row, depth
):  # fmt: skip
    """`c[i * c_row + j] = Σ_s a[i * a_row + s * a_step] b[s * b_step + j]` for one tile of `ROWS × columns`.

    Args:
        is_added: Whether the tile is added to what `c` holds; a constant.
        a, b, c: Pointers to the first numbers.
        depth: The number of steps `s`.
    """
    integer = types.int64
    signature = types.void(is_added, a, integer, integer, b, integer, c, integer, integer)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        begun = arguments[-3:-1] if is_added.literal_value else None
        _emit_tile(builder, Emitter(builder, a.dtype), ROWS, begun, *arguments[1:])
        return context.get_dummy_value()

    return signature, emit


@emitting
def multiply_tile_from(
    typing_context, rows, begun, begun_row, a, a_row, a_step, b, b_step, c, c_row, depth
):  # fmt: skip
    """`c[i * c_row + j] = begun[i * begun_row + j] + Σ_s ...` for a tile of `rows`, a constant that is `ROWS` at most.

    Nothing below them is read or written. `begun_row` may be 0, for the same numbers in every row.
    """
    integer = types.int64
    signature = types.void(rows, begun, integer, a, integer, integer, b, integer, c, integer, integer)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _emit_tile(builder, Emitter(builder, a.dtype), rows.literal_value, arguments[1:3], *arguments[3:])
        return context.get_dummy_value()

    return signature, emit


def _emit_tile(
    builder: ir.IRBuilder, emitter: Emitter, rows: int, begun, a, a_row, a_step, b, b_step, c, c_row, depth
) -> None:
    """Args: begun: What the sums begin with, and its numbers from row to row; None for zeros."""
    places = [(row, vector) for row in range(rows) for vector in range(VECTORS)]
    a_offsets = [builder.mul(a_row, INTEGER(row)) for row in range(rows)]

    def tile_at(first: Any, step: Any) -> list[Any]:
        return [
            emitter.moved(first, builder.add(builder.mul(step, INTEGER(row)), INTEGER(vector * emitter.lanes)))
            for row, vector in places
        ]

    targets = tile_at(c, c_row)
    sums = [emitter.constant(0.0) for _ in places] if begun is None else [emitter.load(own) for own in tile_at(*begun)]

    def steps(number: int) -> Callable[..., list[Any]]:
        """So many steps of the depth."""

        def advance(a: Any, b: Any, *sums: Any) -> list[Any]:
            totals = list(sums)
            for _ in range(number):
                columns = [emitter.load(emitter.moved(b, vector * emitter.lanes)) for vector in range(VECTORS)]
                for row, offset in enumerate(a_offsets):
                    factor = emitter.spread(builder.load(emitter.moved(a, offset)))
                    for vector, column in enumerate(columns):
                        place = row * VECTORS + vector
                        totals[place] = emitter.multiply_add(factor, column, totals[place])
                a, b = emitter.moved(a, a_step), emitter.moved(b, b_step)
            return [a, b, *totals]

        return advance

    carried = emitter.loop(builder.sdiv(depth, INTEGER(_UNROLLED)), [a, b, *sums], steps(_UNROLLED))
    _, _, *sums = emitter.loop(builder.srem(depth, INTEGER(_UNROLLED)), carried, steps(1))
    for target, total in zip(targets, sums, strict=True):
        emitter.store(total, target)
