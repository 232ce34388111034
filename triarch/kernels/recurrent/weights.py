"""The weights of a recurrent layer: laid out for the steps, and their gradients in the layer's own layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.runs import add, copy, multiply, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted, size_of
from triarch.kernels.recurrent.compiled import copy_made_up
from triarch.kernels.recurrent.job import CHUNK, SIZES


@inlined
def _lay(panel, source, rows, all_rows, gates, units, held, height, target, thread, threads):
    """Lay a matrix `(rows, gates * units)` out as `(all_rows, gates * held)`.

    Args:
        height: Rows of a panel of columns; 0 for no panels.
    """
    for number in range(thread, gates * held // panel, threads):
        gate, unit = number * panel // held, number * panel % held
        count = max(min(units - unit, panel), 0)
        own = shifted(target, number * panel * max(height, 1))
        step = panel if height else gates * held
        for row in range(rows):
            copy_made_up(shifted(source, (row * gates + gate) * units + unit), count, shifted(own, row * step), panel)
        for row in range(rows, all_rows):
            zero(shifted(own, row * step), panel)


def arrange(dtype: str, cell: str) -> Callable[..., None]:
    """Kernels and bias for the steps forward. What has its place already stays where it is."""
    panel = VECTORS * lanes_of(dtype)
    gates_count, added, blocks = SIZES[cell]

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, units = job.held, job.units
        height = job.features + held if job.is_packed else 0
        if job.kernel != job.own_kernel:
            _lay(
                panel, at(dtype, job.own_kernel), job.features, job.features, gates_count, units, held,
                height, at(dtype, job.kernel), thread, threads,
            )  # fmt: skip
        if job.recurrent_kernel != job.own_recurrent_kernel:
            _lay(
                panel, at(dtype, job.own_recurrent_kernel), units, held, gates_count, units, held,
                height, at(dtype, job.recurrent_kernel), thread, threads,
            )  # fmt: skip
        if thread > 0 or job.bias == job.own_bias:
            return
        own, bias = at(dtype, job.own_bias), at(dtype, job.bias)
        if job.own_bias == 0:
            zero(bias, blocks * held)
            return
        for gate in range(gates_count):
            copy_made_up(shifted(own, gate * units), units, shifted(bias, gate * held), held)
        for gate in range(gates_count if blocks > gates_count else 0):  # of the products with the states
            of_states = shifted(own, (gates_count + gate) * units)
            if gate < added:
                add(of_states, shifted(bias, gate * held), units)
            else:
                copy_made_up(of_states, units, shifted(bias, (gates_count + gate - added) * held), held)

    return kernel


def turn(dtype: str, cell: str, has_masks: bool) -> Callable[..., None]:
    """The recurrent kernel for the steps back, in panels; each gate by itself where it has masks."""
    panel, gates_count = VECTORS * lanes_of(dtype), SIZES[cell].gates

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, units = job.held, job.units
        source, turned = at(dtype, job.own_recurrent_kernel), at(dtype, job.turned)
        depth = held if has_masks else gates_count * held
        for number in range(thread, held // panel, threads):
            for gate in range(gates_count):
                target = shifted(turned, number * depth * panel + gate * held * (held if has_masks else panel))
                zero(target, held * panel)
                for column in range(max(min(units - number * panel, panel), 0)):
                    line = shifted(source, ((number * panel + column) * gates_count + gate) * units)
                    for unit in range(units):
                        target[unit * panel + column] = line[unit]

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


@inlined
def _lay_masked(dtype, source, count, mask, target, step, line):
    """The same for numbers times a mask; 0 means no mask."""
    if mask:
        copy(source, line, count)
        multiply(at(dtype, mask), line, count)
        _lay_columns(line, count, target, step)
    else:
        _lay_columns(source, count, target, step)


@inlined
def _add_tiles(panel, a, rows, b, found, width, steps):
    """Add the products of tiles of rows with a panel of columns to their sums."""
    for row in range(0, rows, ROWS):
        multiply_tile(
            True, shifted(a, row * CHUNK), 1, ROWS, b, panel, shifted(found, row * width), width, steps
        )  # fmt: skip


def sum_products(dtype: str, cell: str, has_masks: bool) -> Callable[..., None]:
    """Each thread's part of the gradients of kernel, recurrent kernel and biases: sums over its part of the steps.

    Rows are those of inputs and a 1, and those of states before the steps and a 1; columns are the gradients of gates,
    and behind them what the products with the states have of their own.
    """
    panel, size = VECTORS * lanes_of(dtype), size_of(dtype)
    gates_count, added, blocks = SIZES[cell]
    layouts = gates_count if has_masks else 1  # of rows

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, features, units = job.held, job.features, job.units
        width, all_width = gates_count * held, blocks * held
        rows_x, rows_h = job.rows_of_inputs, job.rows_of_states
        rows = rows_x + rows_h
        offsets, lengths = at("int64", job.offsets), at("int64", job.lengths)
        inputs, outputs, h_first = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.h_first)
        gate_gradient, extra_gradient = at(dtype, job.gate_gradient), at(dtype, job.extra_gradient)
        found = shifted(at(dtype, job.sums), thread * rows * all_width)
        zero(found, rows * all_width)
        a = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        b = shifted(a, layouts * rows * CHUNK)
        line = shifted(b, all_width * CHUNK)
        last = job.steps * (thread + 1) // threads
        start = job.steps * thread // threads
        series = 0
        while start < last:
            count = min(CHUNK, last - start)
            for step in range(count):
                place = start + step
                while place >= offsets[series] + lengths[series]:
                    series += 1
                first = offsets[series] + lengths[series] - 1 if job.goes_backwards else offsets[series]
                before = shifted(outputs, (place + (1 if job.goes_backwards else -1)) * held)
                state = shifted(h_first, series * units) if place == first else before
                x = shifted(inputs, place * features)
                for gate in range(layouts):
                    own, each = shifted(a, gate * rows * CHUNK), gate * job.series + series
                    mask_x = job.inputs_mask + each * features * size if has_masks and job.inputs_mask else 0
                    mask_h = job.states_mask + each * units * size if has_masks and job.states_mask else 0
                    _lay_masked(dtype, x, features, mask_x, own, step, line)
                    _lay_masked(dtype, state, units, mask_h, shifted(own, rows_x * CHUNK), step, line)
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
                gate = min(column // held, gates_count - 1) if has_masks else 0
                own, target = shifted(a, gate * rows * CHUNK), shifted(found, column)
                columns = shifted(b, column * CHUNK)
                if column < width:
                    _add_tiles(panel, own, rows_x, columns, target, all_width, count)
                if column < added * held or column >= width:
                    _add_tiles(
                        panel, shifted(own, rows_x * CHUNK), rows_h, columns, shifted(target, rows_x * all_width),
                        all_width, count,
                    )  # fmt: skip
            start += count

    return kernel


@inlined
def _collect_row(sums, parts, step, units, target):
    """Add up the threads' parts of a row of one gate."""
    copy(sums, target, units)
    for part in range(1, parts):
        add(shifted(sums, part * step), target, units)


def collect(dtype: str, cell: str) -> Callable[..., None]:
    """The gradients of the weights in the layer's layout, from the parts of as many threads as `sum_products` had."""
    gates_count, added, blocks = SIZES[cell]

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, units, features, width = job.held, job.units, job.features, blocks * job.held
        rows_x, rows_h = job.rows_of_inputs, job.rows_of_states
        sums, step = at(dtype, job.sums), (rows_x + rows_h) * width
        bias_gradient = at(dtype, job.bias_gradient)
        for row in range(thread, features + 1, threads):
            target = shifted(at(dtype, job.kernel_gradient), row * gates_count * units)
            if row == features:
                if not job.bias_gradient:
                    continue
                target = bias_gradient
            for gate in range(gates_count):
                _collect_row(
                    shifted(sums, row * width + gate * held), threads, step, units, shifted(target, gate * units)
                )
        for row in range(thread, units + 1, threads):
            target = shifted(at(dtype, job.recurrent_gradient), row * gates_count * units)
            if row == units:
                if not job.bias_gradient or blocks == gates_count:
                    continue
                target = shifted(bias_gradient, gates_count * units)
            for gate in range(gates_count):
                block = gate if gate < added else gates_count + gate - added
                _collect_row(
                    shifted(sums, (rows_x + row) * width + block * held), threads, step, units,
                    shifted(target, gate * units),
                )  # fmt: skip

    return kernel
