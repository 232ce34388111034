"""Tiles on their way through a convolution: read, mapped, finished and written, one vector of channels at a time.

The maps are Winograd's (`tile_maps`). F(1, 1) is the identity: by it methods without transforms finish their outputs
and their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.conv.binding import ROWS_OF_NORMALIZATION
from triarch.kernels.conv.tile_maps import Check, Rows, ScatteredTile, Tile, emit_map
from triarch.kernels.conv.winograd.matrices import matrix_of
from triarch.kernels.native.vectors import INTEGER, Emitter, emitting, inlined


def _matrices(name: Any, sizes: Sequence[Any]) -> tuple[Rows, Rows]:
    m_rows, r_rows, m_columns, r_columns = (size.literal_value for size in sizes)
    return matrix_of(name, m_rows, r_rows), matrix_of(name, m_columns, r_columns)


_LONG = types.int64


@emitting
def transform_tile(
    typing_context,
    name,
    m_rows,
    r_rows,
    m_columns,
    r_columns,
    source,
    source_row,
    source_column,
    target,
    target_row,
    target_column,
):
    """Transform a tile by the matrices that are named: `"kernel"`, `"kernel_gradient"`, and of one axis also others."""
    sizes = (m_rows, r_rows, m_columns, r_columns)
    matrices = _matrices(name.literal_value, sizes)
    signature = types.void(name, *sizes, source, _LONG, _LONG, target, _LONG, _LONG)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, source.dtype)
        emit_map(emitter, matrices, Tile(emitter, *arguments[5:8]).load, Tile(emitter, *arguments[8:11]).store)
        return context.get_dummy_value()

    return signature, emit


@emitting
def transform_input(
    typing_context,
    m_rows,
    r_rows,
    m_columns,
    r_columns,
    source,
    table,
    source_column,
    target,
    target_row,
    target_column,
):
    """Transform a tile of the input, whose places lie where `table` says; fetch what the tile beside it will load."""
    sizes = (m_rows, r_rows, m_columns, r_columns)
    matrices = _matrices("input", sizes)
    signature = types.void(*sizes, source, table, _LONG, target, _LONG, _LONG)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, source.dtype)
        tile = ScatteredTile(emitter, arguments[4], arguments[5], len(matrices[1]), arguments[6])
        load = tile.load_and_fetch(m_columns.literal_value)
        emit_map(emitter, matrices, load, Tile(emitter, *arguments[7:10]).store)
        return context.get_dummy_value()

    return signature, emit


@emitting
def add_input_gradient(
    typing_context,
    m_rows,
    r_rows,
    m_columns,
    r_columns,
    source,
    source_row,
    source_column,
    target,
    table,
    target_column,
    check,
):
    """Add the transform of a tile to what the target holds, whose places lie where `table` says."""
    sizes = (m_rows, r_rows, m_columns, r_columns)
    matrices = _matrices("input_gradient", sizes)
    signature = types.void(*sizes, source, _LONG, _LONG, target, table, _LONG, check)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, source.dtype)
        columns = len(matrices[1])
        target_tile = ScatteredTile(emitter, arguments[7], arguments[8], columns, arguments[9])
        seen = Check(emitter, arguments[10])

        def add(row: int, column: int, vector: Any) -> None:
            total = builder.fadd(target_tile.load_and_fetch(m_columns.literal_value)(row, column), vector)
            seen.see(total)
            target_tile.store(row, column, total)

        emit_map(emitter, matrices, Tile(emitter, *arguments[4:7]).load, add)
        seen.close()
        return context.get_dummy_value()

    return signature, emit


@emitting
def finish_output(
    typing_context,
    m_rows,
    r_rows,
    m_columns,
    r_columns,
    source,
    source_row,
    source_column,
    target,
    target_row,
    target_column,
    check,
    bias,
    slope,
    cap,
    is_summed,
    totals,
    squares,
):
    """Transform products to a tile of the output, add the bias and rectify: `slope * y` below 0, at most `cap`.

    Slope 1 and cap NaN, beyond which nothing lies, leave it as it is. If `is_summed`, a constant, the outputs are added
    to `totals` and their squares to `squares`.
    """
    sizes = (m_rows, r_rows, m_columns, r_columns)
    matrices = _matrices("output", sizes)
    real = source.dtype
    signature = types.void(
        *sizes, source, _LONG, _LONG, target, _LONG, _LONG, check, bias, real, real, is_summed, totals, squares
    )

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, real)
        target_tile, seen = Tile(emitter, *arguments[7:10]), Check(emitter, arguments[10])
        offset = emitter.load(arguments[11])
        zero, slope, cap = emitter.constant(0.0), *(emitter.spread(number) for number in arguments[12:14])
        is_closed = builder.fcmp_ordered("==", slope, zero)  # below 0: infinities too become 0
        sums = [emitter.load(place) for place in arguments[15:17]] if is_summed.literal_value else []

        def store(row: int, column: int, vector: Any) -> None:
            vector = builder.fadd(vector, offset)
            seen.see(vector)
            below = builder.fcmp_ordered("<", vector, zero)
            bent = builder.select(is_closed, zero, emitter.multiply_add(vector, slope, zero))
            vector = builder.select(below, bent, vector)
            vector = builder.select(builder.fcmp_ordered(">", vector, cap), cap, vector)
            emitter.fetch(target_tile.place(row, column + m_columns.literal_value), True)
            target_tile.store(row, column, vector)
            if sums:
                sums[:] = builder.fadd(sums[0], vector), emitter.multiply_add(vector, vector, sums[1])

        emit_map(emitter, matrices, Tile(emitter, *arguments[4:7]).load, store)
        seen.close()
        for total, place in zip(sums, arguments[15:17], strict=False):
            emitter.store(total, place)
        return context.get_dummy_value()

    return signature, emit


@emitting
def transform_output_gradient(
    typing_context,
    m_rows,
    r_rows,
    m_columns,
    r_columns,
    source,
    source_row,
    source_column,
    target,
    target_row,
    target_column,
    outputs,
    outputs_row,
    outputs_column,
    bias_gradient,
    slope,
    cap,
    is_normalized,
    numbers,
    numbers_row,
):
    """The gradient of a tile of the output, through what was done with the output, to the gradient of the products.

    That was a rectifier; with slope 1 and cap NaN `outputs` can be anything. Or, if `is_normalized`, a constant, it was
    a normalisation: `numbers` has vectors, `numbers_row` apart, as `normalized_gradient` takes them. What went through
    is added to `bias_gradient`.
    """
    sizes = (m_rows, r_rows, m_columns, r_columns)
    matrices = _matrices("output_gradient", sizes)
    real = source.dtype
    signature = types.void(
        *(*sizes, source, _LONG, _LONG, target, _LONG, _LONG, outputs, _LONG, _LONG, bias_gradient, real, real),
        *(is_normalized, numbers, _LONG),
    )

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, real)
        source_tile, output_tile = Tile(emitter, *arguments[4:7]), Tile(emitter, *arguments[10:13])
        zero, slope, cap = emitter.constant(0.0), *(emitter.spread(number) for number in arguments[14:16])
        is_closed = builder.fcmp_ordered("==", slope, zero)
        total, width = emitter.load(arguments[13]), m_columns.literal_value
        factors = []
        if is_normalized.literal_value:
            rows = [builder.mul(arguments[18], INTEGER(row)) for row in range(len(ROWS_OF_NORMALIZATION))]
            factors = [emitter.load(emitter.moved(arguments[17], row)) for row in rows]

        def load(row: int, column: int) -> Any:
            nonlocal total
            vector = source_tile.load_and_fetch(width)(row, column)
            output = output_tile.load_and_fetch(width)(row, column)
            if factors:
                vector = _through_normalization(emitter, vector, output, *factors)
            else:
                below = builder.fcmp_ordered("<=", output, zero)
                bent = builder.select(is_closed, zero, builder.fmul(vector, slope))
                vector = builder.select(below, bent, vector)
                vector = builder.select(builder.fcmp_ordered(">=", output, cap), zero, vector)
            total = builder.fadd(total, vector)
            return vector

        emit_map(emitter, matrices, load, Tile(emitter, *arguments[7:10]).store)
        emitter.store(total, arguments[13])
        return context.get_dummy_value()

    return signature, emit


def _through_normalization(
    emitter: Emitter, gradient: Any, output: Any, centre: Any, scale: Any, slope: Any, shift: Any, offset: Any
) -> Any:
    """`normalized_gradient` of a vector."""
    builder, zero = emitter.builder, emitter.constant(0.0)
    distance = builder.fsub(output, centre)
    normalized = builder.fadd(builder.fmul(distance, scale), offset)  # in steps, as in the forward pass: the same bits
    gradient = builder.select(builder.fcmp_ordered("<=", normalized, zero), zero, gradient)
    return emitter.multiply_add(gradient, scale, emitter.multiply_add(distance, slope, shift))


@inlined
def normalized_gradient(gradient, outputs, numbers, numbers_row, target, count):
    """From gradients of normalised outputs to gradients of the outputs: `scale * g + slope * (y - centre) + shift`.

    `g` is the gradient where `(y - centre) * scale + offset`, which was rectified, is above 0; with an infinite offset
    nothing was. `numbers` holds rows of centre, scale, slope, shift and offset.
    """
    nothing = numbers[0] - numbers[0]
    for k in range(count):
        scale, distance = numbers[numbers_row + k], outputs[k] - numbers[k]
        given, normalized = gradient[k], distance * scale + numbers[4 * numbers_row + k]
        own = nothing if normalized <= nothing else given
        target[k] = own * scale + distance * numbers[2 * numbers_row + k] + numbers[3 * numbers_row + k]


@emitting
def transpose_block(typing_context, source, source_row, target, target_row):
    """Write the columns of a square of numbers, as many as a vector holds, as rows."""
    signature = types.void(source, _LONG, target, _LONG)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, source.dtype)
        source_first, source_row, target_first, target_row = arguments
        rows = [
            emitter.load(emitter.moved(source_first, builder.mul(source_row, source_row.type(row))))
            for row in range(emitter.lanes)
        ]
        for row, vector in enumerate(emitter.transposed(rows)):
            emitter.store(vector, emitter.moved(target_first, builder.mul(target_row, target_row.type(row))))
        return context.get_dummy_value()

    return signature, emit
