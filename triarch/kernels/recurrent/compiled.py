"""Recurrence, forward and backward: each thread carries its series through all their steps, and waits for no other.

The series of a thread are sorted, the longest first, so that those which still go on are its first ones: a step is one
product of their inputs and states with the kernels, and then the equations of the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.matmul.rows import add_row_product, multiply_rows
from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted
from triarch.kernels.recurrent.cells import advance, retreat
from triarch.kernels.recurrent.job import CHUNK, SIZES


@inlined
def _position(job, offset, length, step):
    """Where the numbers of a step lie, which is counted in the order of going through the series."""
    return offset + (length - 1 - step if job.goes_backwards else step)


@inlined
def _add_products(panel, is_packed, a, depth, kernel, width, first, last, sums, sums_row, rows):
    """Add `A B` to sums of rows: for the columns of `B`, which has `width`, from `first` to before `last`."""
    if is_packed:
        multiply_rows(panel, a, depth, shifted(kernel, first * depth), sums, sums_row, rows, last - first, depth)
    else:
        for row in range(rows):
            add_row_product(
                shifted(a, row * depth), shifted(kernel, first), width, shifted(sums, row * sums_row), last - first,
                depth,
            )  # fmt: skip


def forward(dtype: str, cell: str, phi: str, sigma: str) -> Callable[..., None]:
    """The outputs and the last states."""
    lanes = lanes_of(dtype)
    panel, sizes = VECTORS * lanes, SIZES[cell]
    gates_count, added, blocks = sizes

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, width, all_width, features = job.held, gates_count * job.held, blocks * job.held, job.features
        rows = (job.series - thread + threads - 1) // threads
        order, offsets, lengths = at("int64", job.order), at("int64", job.offsets), at("int64", job.lengths)
        inputs, outputs, memory = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.memory)
        weights, recurrent, bias = at(dtype, job.kernel), at(dtype, job.recurrent_kernel), at(dtype, job.bias)
        h = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        c = shifted(h, rows * held)
        x = shifted(c, rows * held)
        products = shifted(x, rows * features)
        unread = shifted(products, rows * all_width)
        for row in range(rows):
            series = order[thread + row * threads]
            copy(shifted(at(dtype, job.h_first), series * held), shifted(h, row * held), held)
            copy(shifted(at(dtype, job.c_first), series * held), shifted(c, row * held), held)
        active, step = rows, 0
        while True:
            while active > 0 and lengths[order[thread + (active - 1) * threads]] <= step:
                active -= 1
            if active == 0:
                break
            for row in range(active):
                series = order[thread + row * threads]
                position = _position(job, offsets[series], lengths[series], step)
                copy(shifted(inputs, position * features), shifted(x, row * features), features)
                copy(bias, shifted(products, row * all_width), all_width)
            _add_products(
                panel, job.is_packed, x, features, weights, width, 0, width, products, all_width, active
            )  # fmt: skip
            _add_products(
                panel, job.is_packed, h, held, recurrent, width, 0, added * held, products, all_width, active
            )  # fmt: skip
            if added < gates_count:
                _add_products(
                    panel, job.is_packed, h, held, recurrent, width, added * held, width,
                    shifted(products, width), all_width, active,
                )  # fmt: skip
            for row in range(active):
                series = order[thread + row * threads]
                position = _position(job, offsets[series], lengths[series], step)
                own = shifted(at(dtype, job.gates), position * width) if job.gates else unread
                shown = shifted(outputs, position * held) if job.outputs else unread
                kept = shifted(memory, position * held) if job.memory else unread
                for unit in range(0, held, lanes):
                    advance(
                        cell, phi, sigma, held, shifted(own, unit), shifted(products, row * all_width + unit),
                        shifted(h, row * held + unit), shifted(c, row * held + unit), shifted(shown, unit),
                        shifted(kept, unit),
                    )  # fmt: skip
            step += 1
        for row in range(rows):
            series = order[thread + row * threads]
            copy(shifted(h, row * held), shifted(at(dtype, job.h_last), series * held), held)
            copy(shifted(c, row * held), shifted(at(dtype, job.c_last), series * held), held)

    return kernel


def backward(dtype: str, cell: str, phi: str, sigma: str) -> Callable[..., None]:
    """The gradients of projected inputs and of the first states."""
    lanes = lanes_of(dtype)
    panel, gates_count = VECTORS * lanes, SIZES[cell].gates
    remembers_c = cell == "lstm"

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, width = job.held, gates_count * job.held
        rows = (job.series - thread + threads - 1) // threads
        order, offsets, lengths = at("int64", job.order), at("int64", job.offsets), at("int64", job.lengths)
        gates, outputs, memory = at(dtype, job.gates), at(dtype, job.outputs), at(dtype, job.memory)
        weights, output_gradient = at(dtype, job.recurrent_kernel), at(dtype, job.output_gradient)
        gate_gradient, extra_gradient = at(dtype, job.gate_gradient), at(dtype, job.extra_gradient)
        dh = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        dc = shifted(dh, rows * held)
        products = shifted(dc, rows * held)
        nothing = shifted(products, rows * width)
        unread = shifted(nothing, held)
        zero(nothing, held)
        for row in range(rows):
            series = order[thread + row * threads]
            copy(shifted(at(dtype, job.h_gradient), series * held), shifted(dh, row * held), held)
            copy(shifted(at(dtype, job.c_gradient), series * held), shifted(dc, row * held), held)
        active = 0
        for back in range(lengths[order[thread]] if rows > 0 else 0):
            step = lengths[order[thread]] - 1 - back
            while active < rows and lengths[order[thread + active * threads]] > step:
                active += 1
            for row in range(active):
                series = order[thread + row * threads]
                position = _position(job, offsets[series], lengths[series], step)
                if step > 0:
                    before = _position(job, offsets[series], lengths[series], step - 1)
                    previous = shifted(memory if remembers_c else outputs, before * held)
                else:
                    previous = shifted(at(dtype, job.c_first if remembers_c else job.h_first), series * held)
                arriving = shifted(output_gradient, position * held) if job.output_gradient else nothing
                own, found = shifted(gates, position * width), shifted(gate_gradient, position * width)
                kept = shifted(memory, position * held) if job.memory else unread
                extra = shifted(extra_gradient, position * held) if job.extra_gradient else unread
                for unit in range(0, held, lanes):
                    retreat(
                        cell, phi, sigma, held, shifted(own, unit), shifted(kept, unit), shifted(previous, unit),
                        shifted(arriving, unit), shifted(dh, row * held + unit), shifted(dc, row * held + unit),
                        shifted(found, unit), shifted(products, row * width + unit), shifted(extra, unit),
                    )  # fmt: skip
            multiply_rows(panel, products, width, weights, dh, held, active, held, width)
        for row in range(rows):
            series = order[thread + row * threads]
            copy(shifted(dh, row * held), shifted(at(dtype, job.h_gradient), series * held), held)
            copy(shifted(dc, row * held), shifted(at(dtype, job.c_gradient), series * held), held)

    return kernel


@inlined
def _lay_columns(source, count, target, step):
    """Write a step's numbers, and a 1 behind them, into tiles of `ROWS` rows whose columns are steps."""
    whole = count // ROWS
    for tile in range(whole):
        copy(shifted(source, tile * ROWS), shifted(target, (tile * CHUNK + step) * ROWS), ROWS)
    last = shifted(target, (whole * CHUNK + step) * ROWS)
    zero(last, ROWS)
    for number in range(whole * ROWS, count):
        last[number - whole * ROWS] = source[number]
    last[count - whole * ROWS] = 1.0


def weight_gradients(dtype: str, cell: str) -> Callable[..., None]:
    """Each thread's part of the gradients of kernel, recurrent kernel and biases: sums over its part of the steps.

    Rows are those of inputs and a 1, and those of states before the steps and a 1; columns are the gradients of gates,
    and behind them what the products with the states have of their own.
    """
    panel, sizes = VECTORS * lanes_of(dtype), SIZES[cell]
    gates_count, added, blocks = sizes

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, features, width, all_width = job.held, job.features, gates_count * job.held, blocks * job.held
        rows_x, rows_h = job.rows_of_inputs, job.rows_of_states
        offsets, lengths = at("int64", job.offsets), at("int64", job.lengths)
        inputs, outputs, h_first = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.h_first)
        gate_gradient, extra_gradient = at(dtype, job.gate_gradient), at(dtype, job.extra_gradient)
        found = shifted(at(dtype, job.weight_gradient), thread * (rows_x + rows_h) * all_width)
        zero(found, (rows_x + rows_h) * all_width)
        a = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        b = shifted(a, (rows_x + rows_h) * CHUNK)
        last = job.steps * (thread + 1) // threads
        start = job.steps * thread // threads
        series = 0
        while start < last:
            count = min(CHUNK, last - start)
            for step in range(count):
                place = start + step
                while place >= offsets[series] + lengths[series]:
                    series += 1
                end = offsets[series] + lengths[series] - 1 if job.goes_backwards else offsets[series]
                before = shifted(outputs, (place + (1 if job.goes_backwards else -1)) * held)
                state = shifted(h_first, series * held) if place == end else before
                _lay_columns(shifted(inputs, place * features), features, a, step)
                _lay_columns(state, job.units, shifted(a, rows_x * CHUNK), step)
                for column in range(0, width, panel):
                    copy(
                        shifted(gate_gradient, place * width + column), shifted(b, column * CHUNK + step * panel), panel
                    )
                for column in range(width, all_width, panel):
                    copy(
                        shifted(extra_gradient, place * held + column - width),
                        shifted(b, column * CHUNK + step * panel), panel,
                    )  # fmt: skip
            for column in range(0, all_width, panel):
                first = rows_x if column >= width else 0
                end = rows_x if added * held <= column < width else rows_x + rows_h
                for row in range(first, end, ROWS):
                    multiply_tile(
                        True, shifted(a, row * CHUNK), 1, ROWS, shifted(b, column * CHUNK), panel,
                        shifted(found, row * all_width + column), all_width, count,
                    )  # fmt: skip
            start += count

    return kernel
