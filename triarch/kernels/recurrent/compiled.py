"""Recurrence, forward and backward: each thread carries its series through all their steps, and waits for no other.

The series of a thread are sorted, the longest first, so that those which still go on are its first ones: a step is one
product of their inputs and states with the kernels, and then the equations of the cell. Where each gate has masks of
its own, there is a product for each gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.matmul.rows import add_row_product, multiply_rows
from triarch.kernels.native.registers import VECTORS
from triarch.kernels.native.runs import copy, multiply, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted, size_of
from triarch.kernels.recurrent.cells import PHASES, advance, retreat
from triarch.kernels.recurrent.job import SIZES


@inlined
def position(job, offset, length, step):
    """Where the numbers of a step lie, which is counted in the order of going through the series."""
    return offset + (length - 1 - step if job.goes_backwards else step)


@inlined
def copy_made_up(source, count, target, held):
    """Copy numbers, and make them up to `held` with zeros."""
    copy(source, target, count)
    zero(shifted(target, count), held - count)


@inlined
def _add_products(panel, height, begun, begun_row, a, a_row, depth, kernel, width, first, last, sums, sums_row, rows):
    """Sums of rows, begun with other ones, and `A B`: for the columns of `B` from `first` to before `last`.

    Args:
        height: Rows of a panel of `B`; 0 where it lies as it is, with `width` columns, and the sums are begun already.
        begun, begun_row: The first of those columns in the first row, and how far it is to the next row.
    """
    if height:
        multiply_rows(
            panel, begun, begun_row, a, a_row, shifted(kernel, first * height), height, sums, sums_row, rows,
            last - first, depth,
        )  # fmt: skip
    else:
        for row in range(rows):
            add_row_product(
                shifted(a, row * a_row), shifted(kernel, first), width, shifted(sums, row * sums_row), last - first,
                depth,
            )  # fmt: skip


@inlined
def _mask_rows(dtype, mask, numbers, row, size, count, order, thread, threads, rows, target):
    """Rows of `size` numbers, the first `count` of them times the masks `(series, count)`; 0 means no mask."""
    for number in range(rows):
        own = shifted(target, number * size)
        copy(shifted(numbers, number * row), own, size)
        if mask:
            series = order[thread + number * threads]
            multiply(shifted(at(dtype, mask), series * count), own, count)


def forward(dtype: str, cell: str, phi: str, sigma: str, has_masks: bool) -> Callable[..., None]:
    """The outputs and the last states."""
    lanes = lanes_of(dtype)
    panel, size = VECTORS * lanes, size_of(dtype)
    gates_count, added, blocks = SIZES[cell]
    has_c = cell == "lstm"
    phases, last_phase = PHASES[cell], PHASES[cell] - 1

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, units, features = job.held, job.units, job.features
        width, all_width = gates_count * held, blocks * held
        rows = (job.series - thread + threads - 1) // threads
        order, offsets, lengths = at("int64", job.order), at("int64", job.offsets), at("int64", job.lengths)
        inputs, outputs, memory = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.memory)
        weights, recurrent, bias = at(dtype, job.kernel), at(dtype, job.recurrent_kernel), at(dtype, job.bias)
        # Inputs and states of a row lie side by side: their products with packed kernels are one.
        both = features + held
        x = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        h = shifted(x, features)
        c = shifted(x, rows * both)
        products = shifted(c, rows * held)
        height = both if job.is_packed else 0
        unread = shifted(products, rows * all_width)
        masked = shifted(unread, held)
        for row in range(rows):
            series = order[thread + row * threads]
            copy_made_up(shifted(at(dtype, job.h_first), series * units), units, shifted(h, row * both), held)
            if has_c:
                copy_made_up(shifted(at(dtype, job.c_first), series * units), units, shifted(c, row * held), held)
        active, step = rows, 0
        while True:
            while active > 0 and lengths[order[thread + (active - 1) * threads]] <= step:
                active -= 1
            if active == 0:
                break
            for row in range(active):
                series = order[thread + row * threads]
                place = position(job, offsets[series], lengths[series], step)
                copy(shifted(inputs, place * features), shifted(x, row * both), features)
                if has_masks or not job.is_packed:
                    copy(bias, shifted(products, row * all_width), all_width)
            if has_masks:
                for gate in range(gates_count):
                    first, end = gate * held, (gate + 1) * held
                    mask = job.inputs_mask + gate * job.series * features * size if job.inputs_mask else 0
                    _mask_rows(dtype, mask, x, both, features, features, order, thread, threads, active, masked)
                    sums = shifted(products, first)
                    _add_products(
                        panel, height, sums, all_width, masked, features, features, weights, width, first, end, sums,
                        all_width, active,
                    )  # fmt: skip
                    mask = job.states_mask + gate * job.series * units * size if job.states_mask else 0
                    _mask_rows(dtype, mask, h, both, held, units, order, thread, threads, active, masked)
                    sums = shifted(products, first if gate < added else width)
                    _add_products(
                        panel, height, sums, all_width, masked, held, held, recurrent, width, first, end, sums,
                        all_width, active,
                    )  # fmt: skip
            else:
                summed = added * held
                if job.is_packed:
                    _add_products(
                        panel, height, bias, 0, x, both, both, weights, width, 0, summed, products, all_width, active
                    )  # fmt: skip
                else:
                    _add_products(
                        panel, 0, products, all_width, x, both, features, weights, width, 0, summed, products,
                        all_width, active,
                    )  # fmt: skip
                    _add_products(
                        panel, 0, products, all_width, h, both, held, recurrent, width, 0, summed, products,
                        all_width, active,
                    )  # fmt: skip
                if added < gates_count:
                    _add_products(
                        panel, height, shifted(bias, summed), 0, x, both, features, weights, width, summed, width,
                        shifted(products, summed), all_width, active,
                    )  # fmt: skip
                    _add_products(
                        panel, height, shifted(bias, width), 0, h, both, held, recurrent, width, summed, width,
                        shifted(products, width), all_width, active,
                    )  # fmt: skip
            for phase in range(phases):
                for row in range(active):
                    series = order[thread + row * threads]
                    place = position(job, offsets[series], lengths[series], step)
                    of_row = shifted(products, row * all_width)
                    own = shifted(at(dtype, job.gates), place * width) if job.gates else of_row
                    shown = shifted(outputs, place * held) if job.outputs else unread
                    kept = shifted(memory, place * held) if job.memory else unread
                    if phase == 0:
                        for unit in range(0, held, lanes):
                            advance(
                                cell, 0, phi, sigma, held, shifted(own, unit), shifted(of_row, unit),
                                shifted(h, row * both + unit), shifted(c, row * held + unit), shifted(shown, unit),
                                shifted(kept, unit),
                            )  # fmt: skip
                    else:
                        for unit in range(0, held, lanes):
                            advance(
                                cell, last_phase, phi, sigma, held, shifted(own, unit), shifted(of_row, unit),
                                shifted(h, row * both + unit), shifted(c, row * held + unit), shifted(shown, unit),
                                shifted(kept, unit),
                            )  # fmt: skip
            step += 1
        for row in range(rows):
            series = order[thread + row * threads]
            copy(shifted(h, row * both), shifted(at(dtype, job.h_last), series * units), units)
            if has_c:
                copy(shifted(c, row * held), shifted(at(dtype, job.c_last), series * units), units)

    return kernel


def backward(dtype: str, cell: str, phi: str, sigma: str, has_masks: bool) -> Callable[..., None]:
    """The gradients of projected inputs and of the first states."""
    lanes = lanes_of(dtype)
    panel, gates_count, size = VECTORS * lanes, SIZES[cell].gates, size_of(dtype)
    has_c = cell == "lstm"

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, units, width = job.held, job.units, gates_count * job.held
        rows = (job.series - thread + threads - 1) // threads
        order, offsets, lengths = at("int64", job.order), at("int64", job.offsets), at("int64", job.lengths)
        gates, outputs, memory = at(dtype, job.gates), at(dtype, job.outputs), at(dtype, job.memory)
        weights, output_gradient = at(dtype, job.turned), at(dtype, job.output_gradient)
        gate_gradient, extra_gradient = at(dtype, job.gate_gradient), at(dtype, job.extra_gradient)
        dh = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        dc = shifted(dh, rows * held)
        products = shifted(dc, rows * held)
        begun = shifted(products, rows * width)
        made_up = shifted(begun, held)
        unread = shifted(made_up, held)
        found_before = shifted(unread, held)
        zero(made_up, held)
        zero(dh, 2 * rows * held)
        for row in range(rows):
            series = order[thread + row * threads]
            if job.h_gradient:
                copy(shifted(at(dtype, job.h_gradient), series * units), shifted(dh, row * held), units)
            if has_c and job.c_gradient:
                copy(shifted(at(dtype, job.c_gradient), series * units), shifted(dc, row * held), units)
        active = 0
        for back in range(lengths[order[thread]] if rows > 0 else 0):
            step = lengths[order[thread]] - 1 - back
            while active < rows and lengths[order[thread + active * threads]] > step:
                active += 1
            for row in range(active):
                series = order[thread + row * threads]
                place = position(job, offsets[series], lengths[series], step)
                if step > 0:
                    before = position(job, offsets[series], lengths[series], step - 1)
                    previous = shifted(memory if has_c else outputs, before * held)
                else:
                    state = at(dtype, job.c_first if has_c else job.h_first)
                    copy_made_up(shifted(state, series * units), units, begun, held)
                    previous = begun
                arriving = made_up
                if job.output_gradient and held == units:
                    arriving = shifted(output_gradient, place * units)
                elif job.output_gradient:
                    copy(shifted(output_gradient, place * units), made_up, units)
                own, found = shifted(gates, place * width), shifted(gate_gradient, place * width)
                kept = shifted(memory, place * held) if job.memory else unread
                extra = shifted(extra_gradient, place * held) if job.extra_gradient else unread
                for unit in range(0, held, lanes):
                    retreat(
                        cell, phi, sigma, held, shifted(own, unit), shifted(kept, unit), shifted(previous, unit),
                        shifted(arriving, unit), shifted(dh, row * held + unit), shifted(dc, row * held + unit),
                        shifted(found, unit), shifted(products, row * width + unit), shifted(extra, unit),
                    )  # fmt: skip
            if has_masks:
                for gate in range(gates_count):
                    zero(found_before, active * held)
                    multiply_rows(
                        panel, found_before, held, shifted(products, gate * held), width,
                        shifted(weights, gate * held * held), held, found_before, held, active, held, held,
                    )  # fmt: skip
                    mask = job.states_mask + gate * job.series * units * size if job.states_mask else 0
                    for row in range(active):
                        series = order[thread + row * threads]
                        own = shifted(found_before, row * held)
                        if mask:
                            multiply(shifted(at(dtype, mask), series * units), own, units)
                        target = shifted(dh, row * held)
                        for unit in range(units):
                            target[unit] += own[unit]
            else:
                multiply_rows(panel, dh, held, products, width, weights, width, dh, held, active, held, width)
        for row in range(rows):
            series = order[thread + row * threads]
            if job.h_gradient:
                copy(shifted(dh, row * held), shifted(at(dtype, job.h_gradient), series * units), units)
            if has_c and job.c_gradient:
                copy(shifted(dc, row * held), shifted(at(dtype, job.c_gradient), series * units), units)

    return kernel
