"""What depthwise kernels are made of: sums that stay in registers while a window passes by, and rectified gradients."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.conv.depthwise.job import FEW, MANY
from triarch.kernels.conv.tiles import transform_output_gradient
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import INTEGER, Emitter, emitting, inlined, shifted


@emitting
def add_sums(
    typing_context,
    number,
    lines,
    x,
    x_place,
    x_row,
    x_step,
    w,
    w_line,
    w_row,
    w_step,
    y,
    y_line,
    y_place,
    rows,
    steps,
):
    """`y[l, p] += Σ_r Σ_s x[p, r, s] w[l, r, s]`, vectors all, each axis with its step in memory.

    For places p below `number` and lines l below `lines`, constants both: the lines share what is read of x. Rows r are
    below `rows`, s below `steps`.
    """
    integer = types.int64
    signature = types.void(number, lines, x, *(integer,) * 3, x, *(integer,) * 3, x, *(integer,) * 4)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _emit_sums(builder, Emitter(builder, x.dtype), number.literal_value, lines.literal_value, *arguments[2:])
        return context.get_dummy_value()

    return signature, emit


def _emit_sums(
    builder: ir.IRBuilder, emitter: Emitter, number: int, lines: int,
    x, x_place, x_row, x_step, w, w_line, w_row, w_step, y, y_line, y_place, rows, steps,
):  # fmt: skip
    places = [builder.mul(x_place, INTEGER(place)) for place in range(number)]
    weights = [builder.mul(w_line, INTEGER(line)) for line in range(lines)]
    targets = [
        emitter.moved(y, builder.add(builder.mul(y_line, INTEGER(line)), builder.mul(y_place, INTEGER(place))))
        for line in range(lines)
        for place in range(number)
    ]

    def step(x: Any, w: Any, *sums: Any) -> list[Any]:
        factors = [emitter.load(emitter.moved(w, weight)) for weight in weights]
        totals = list(sums)
        for place, offset in enumerate(places):
            seen = emitter.load(emitter.moved(x, offset))
            for line, factor in enumerate(factors):
                totals[line * number + place] = emitter.multiply_add(factor, seen, totals[line * number + place])
        return [emitter.moved(x, x_step), emitter.moved(w, w_step), *totals]

    def row(x: Any, w: Any, *sums: Any) -> list[Any]:
        _, _, *totals = emitter.loop(steps, [x, w, *sums], step)
        return [emitter.moved(x, x_row), emitter.moved(w, w_row), *totals]

    _, _, *sums = emitter.loop(rows, [x, w, *(emitter.load(target) for target in targets)], row)
    for target, total in zip(targets, sums, strict=True):
        emitter.store(total, target)


def _by(number: int) -> Any:
    """`add_sums` for any multiple of so many places, one line."""

    @inlined
    def add(count, x, x_place, x_row, x_step, w, w_row, w_step, y, y_place, rows, steps):
        for first in range(0, count, number):
            add_sums(
                number, 1, shifted(x, first * x_place), x_place, x_row, x_step, w, 0, w_row, w_step,
                shifted(y, first * y_place), 0, y_place, rows, steps,
            )  # fmt: skip

    return add


_add_many, _add_few = _by(MANY), _by(FEW)


@inlined
def add_line(count, x, x_place, x_row, x_step, w, w_row, w_step, y, y_place, rows, steps):
    """`add_sums` for one line of `count` places, a multiple of `FEW`."""
    if count % MANY == 0:
        _add_many(count, x, x_place, x_row, x_step, w, w_row, w_step, y, y_place, rows, steps)
    else:
        _add_few(count, x, x_place, x_row, x_step, w, w_row, w_step, y, y_place, rows, steps)


@inlined
def rectify_gradient(job, source, outputs, channels, target, row_step, column_step, bias_gradient, spare, lanes):
    """Write the gradient of a channel vector's outputs, through their rectifier, to places that lie so far apart.

    What is written is added to `bias_gradient`; `spare` are two vectors.
    """
    other = shifted(spare, lanes)
    zero(spare, 2 * lanes)
    for row in range(job.out_row):
        for column in range(job.out_column):
            numbers = shifted(source, row * job.output_gradient_row + column * job.output_gradient_column)
            result = shifted(outputs, row * job.outputs_row + column * job.outputs_column)
            if channels < lanes:
                copy(numbers, spare, channels)
                copy(result, other, channels)
                numbers, result = spare, other
            transform_output_gradient(
                1, 1, 1, 1, numbers, 0, 0, shifted(target, row * row_step + column * column_step), 0, 0,
                result, 0, 0, bias_gradient, job.slope, job.cap, False, spare, 0,
            )  # fmt: skip
