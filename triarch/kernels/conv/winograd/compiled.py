"""Winograd's convolution, forward and backward, for a thread that carries tiles through all their stages.

Letters: d a tile of the input, g a kernel, y a tile of the output; V = Bᵀ d B, U = G g Gᵀ, M = Σ_channels V ⊙ U,
y = Aᵀ M A. Backward, with ′ for gradients: M′ = A y′ Aᵀ, U′ = Vᵀ M′, V′ = M′ Uᵀ, g′ = Gᵀ U′ G and d′ = B V′ Bᵀ, added
over the overlapping tiles. V and M hold a chunk of tiles, point by point: (points, tiles, channels or filters).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import carray

from triarch.kernels.conv.binding import ROWS_OF_NORMALIZATION
from triarch.kernels.conv.tiles import (
    add_input_gradient,
    finish_output,
    normalized_gradient,
    transform_input,
    transform_output_gradient,
    transform_tile,
    transpose_block,
)
from triarch.kernels.conv.winograd.job import TABLES
from triarch.kernels.conv.winograd.places import (
    input_tile,
    is_inside,
    lay_at_border,
    lay_tables,
    whole_tile,
    write_patch,
)
from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.runs import add, add_moments, flush, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted, size_of


@inlined
def _normalize_patch(patch, outputs, columns, held, filters, rows_inside, columns_inside, numbers):
    """Take the gradients in the part of a patch that lies inside the image through a normalisation."""
    for row in range(rows_inside):
        for column in range(columns_inside):
            gradient = shifted(patch, (row * columns + column) * held)
            output = shifted(outputs, (row * columns + column) * held)
            normalized_gradient(gradient, output, numbers, held, gradient, filters)


def forward(
    dtype: str, m_rows: int, r_rows: int, m_columns: int, r_columns: int, is_summed: bool = False
) -> Callable[..., None]:
    """The outputs; the tiles of all images are divided among the threads.

    Args:
        is_summed: Whether each thread adds up its outputs and their squares for each filter, in `moments`.
    """
    lanes = lanes_of(dtype)
    panel = VECTORS * lanes
    n_rows, n_columns = m_rows + r_rows - 1, m_columns + r_columns - 1
    points, size = n_rows * n_columns, size_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        c_held, k_held = job.channels_held, job.filters_held
        tiles = job.tile_rows * job.tile_columns
        v_point, m_point = job.chunk * c_held + panel, job.chunk * k_held + panel
        v = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        m = shifted(v, points * v_point)
        patch = shifted(m, points * m_point)
        tables = shifted(at("int64", job.tables), thread * TABLES * points)
        lay_tables(job, tables, n_rows, n_columns, c_held)
        first_sum = job.workspace_step - 4 * k_held
        zeros = job.workspace + (thread * job.workspace_step + first_sum - c_held) * size
        zero(at(dtype, zeros), c_held)
        check = shifted(at(dtype, job.check), thread * lanes)
        inputs, outputs = at(dtype, job.inputs), at(dtype, job.outputs)
        products, bias = at(dtype, job.products), at(dtype, job.bias)
        moments = shifted(at("float64", job.moments), thread * 2 * k_held)
        sums = shifted(v, first_sum)  # of whole tiles and of others: of outputs and of squares
        if is_summed:
            zero(moments, 2 * k_held)
            zero(sums, 4 * k_held)
        last = job.images * tiles * (thread + 1) // threads
        start = job.images * tiles * thread // threads
        while start < last:
            count = min(job.chunk, last - start)
            for t in range(count):
                image, rest = divmod(start + t, tiles)
                i, j = divmod(rest, job.tile_columns)
                y, x = i * m_rows - job.top, j * m_columns - job.left
                source, table = input_tile(
                    job, inputs, image, y, x, n_rows, n_columns, c_held, patch, tables, zeros, size
                )
                for c in range(0, c_held, lanes):
                    transform_input(
                        m_rows, r_rows, m_columns, r_columns,
                        shifted(source, c), table, job.inputs_column,
                        shifted(v, t * c_held + c), n_columns * v_point, v_point,
                    )  # fmt: skip
            for point in range(points):
                for k in range(0, k_held, panel):
                    u = shifted(products, (point * k_held + k) * c_held)
                    for t in range(0, count, ROWS):
                        multiply_tile(
                            False, shifted(v, point * v_point + t * c_held), c_held, 1, u, panel,
                            shifted(m, point * m_point + t * k_held + k), k_held, c_held,
                        )  # fmt: skip
            for t in range(count):
                image, rest = divmod(start + t, tiles)
                i, j = divmod(rest, job.tile_columns)
                y, x = i * m_rows, j * m_columns
                place = shifted(outputs, image * job.outputs_image + y * job.outputs_row + x * job.outputs_column)
                rows_inside, columns_inside = min(m_rows, job.out_height - y), min(m_columns, job.out_width - x)
                is_whole = rows_inside == m_rows and columns_inside == m_columns and job.filters == k_held
                target, row_step, column_step = place, job.outputs_row, job.outputs_column
                totals = sums
                if not is_whole:
                    target, row_step, column_step = patch, m_columns * k_held, k_held
                    totals = shifted(sums, 2 * k_held)  # with places outside the image: nobody reads them
                for k in range(0, k_held, lanes):
                    finish_output(
                        m_rows, r_rows, m_columns, r_columns,
                        shifted(m, t * k_held + k), n_columns * m_point, m_point,
                        shifted(target, k), row_step, column_step,
                        check, shifted(bias, k), job.slope, job.cap,
                        is_summed, shifted(totals, k), shifted(totals, k_held + k),
                    )  # fmt: skip
                if not is_whole:
                    write_patch(
                        patch, m_columns, k_held, job.filters, rows_inside, columns_inside,
                        place, job.outputs_row, job.outputs_column,
                    )  # fmt: skip
                    if is_summed:
                        for row in range(rows_inside):
                            for column in range(columns_inside):
                                numbers = shifted(patch, (row * m_columns + column) * k_held)
                                add_moments(numbers, sums, shifted(sums, k_held), job.filters)
            if is_summed:
                flush(sums, moments, 2 * k_held)
            start += count

    return kernel


def backward(
    dtype: str, m_rows: int, r_rows: int, m_columns: int, r_columns: int, is_normalized: bool = False
) -> Callable[..., None]:
    """The gradients of inputs, and each thread's part of those of kernel (transformed) and bias, for whole images.

    Args:
        is_normalized: Whether the gradient that is given is that of outputs after their normalisation.
    """
    lanes = lanes_of(dtype)
    panel = VECTORS * lanes
    n_rows, n_columns = m_rows + r_rows - 1, m_columns + r_columns - 1
    points, size = n_rows * n_columns, size_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        c_held, k_held = job.channels_held, job.filters_held
        k_rows = (k_held + ROWS - 1) // ROWS * ROWS
        tiles = job.tile_rows * job.tile_columns
        v_point, m_point = job.chunk * c_held + panel, job.chunk * k_held + panel
        v = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        m = shifted(v, points * v_point)
        patch = shifted(m, points * m_point)
        output_patch = shifted(patch, n_rows * n_columns * max(c_held, k_held))
        tables = shifted(at("int64", job.tables), thread * TABLES * points)
        lay_tables(job, tables, n_rows, n_columns, c_held)
        spare = job.workspace + ((thread + 1) * job.workspace_step - c_held) * size  # for what lies outside
        zeros = spare - c_held * size
        zero(at(dtype, zeros), 2 * c_held)
        check = shifted(at(dtype, job.check), thread * lanes)
        inputs, outputs = at(dtype, job.inputs), at(dtype, job.outputs)
        output_gradient, input_gradient = at(dtype, job.output_gradient), at(dtype, job.input_gradient)
        products = at(dtype, job.products)
        bias_gradient = shifted(at(dtype, job.bias_gradient), thread * k_held)
        sums = shifted(at(dtype, job.kernel_sums), thread * points * k_rows * c_held)
        zero(bias_gradient, k_held)
        if job.wants_kernel:
            zero(sums, points * k_rows * c_held)
        last = job.images * (thread + 1) // threads * tiles
        start = job.images * thread // threads * tiles
        while start < last:
            count = min(job.chunk, last - start)
            for t in range(count):
                image, rest = divmod(start + t, tiles)
                i, j = divmod(rest, job.tile_columns)
                y, x = i * m_rows, j * m_columns
                source, row_step, column_step = whole_tile(
                    shifted(output_gradient, image * job.output_gradient_image), job.output_gradient_row,
                    job.output_gradient_column, y, x,
                    job.out_height, job.out_width, job.filters, k_held, patch, m_rows, m_columns,
                )  # fmt: skip
                output, output_row, output_column = whole_tile(
                    shifted(outputs, image * job.outputs_image), job.outputs_row, job.outputs_column, y, x,
                    job.out_height, job.out_width, job.filters, k_held, output_patch, m_rows, m_columns,
                )  # fmt: skip
                numbers = at(dtype, job.normalization)
                if is_normalized:
                    rows_inside, columns_inside = min(m_rows, job.out_height - y), min(m_columns, job.out_width - x)
                    if rows_inside < m_rows or columns_inside < m_columns or job.filters < k_held:
                        _normalize_patch(
                            patch, output_patch, m_columns, k_held, job.filters, rows_inside, columns_inside, numbers
                        )
                        numbers = shifted(numbers, len(ROWS_OF_NORMALIZATION) * k_held)  # that change nothing more
                for k in range(0, k_held, lanes):
                    transform_output_gradient(
                        m_rows, r_rows, m_columns, r_columns,
                        shifted(source, k), row_step, column_step,
                        shifted(m, t * k_held + k), n_columns * m_point, m_point,
                        shifted(output, k), output_row, output_column,
                        shifted(bias_gradient, k), job.slope, job.cap,
                        is_normalized, shifted(numbers, k), k_held,
                    )  # fmt: skip
                if job.wants_kernel:
                    y, x = y - job.top, x - job.left
                    source, table = input_tile(
                        job, inputs, image, y, x, n_rows, n_columns, c_held, patch, tables, zeros, size
                    )
                    for c in range(0, c_held, lanes):
                        transform_input(
                            m_rows, r_rows, m_columns, r_columns,
                            shifted(source, c), table, job.inputs_column,
                            shifted(v, t * c_held + c), n_columns * v_point, v_point,
                        )  # fmt: skip
            for point in range(points):
                if job.wants_kernel:
                    for c in range(0, c_held, panel):
                        for k in range(0, k_held, ROWS):
                            multiply_tile(
                                True, shifted(m, point * m_point + k), 1, k_held,
                                shifted(v, point * v_point + c), c_held,
                                shifted(sums, (point * k_rows + k) * c_held + c), c_held, count,
                            )  # fmt: skip
                if job.wants_input:
                    for c in range(0, c_held, panel):
                        u = shifted(products, (point * c_held + c) * k_held)
                        for t in range(0, count, ROWS):
                            multiply_tile(
                                False, shifted(m, point * m_point + t * k_held), k_held, 1, u, panel,
                                shifted(v, point * v_point + t * c_held + c), c_held, k_held,
                            )  # fmt: skip
            if job.wants_input:
                for t in range(count):
                    image, rest = divmod(start + t, tiles)
                    i, j = divmod(rest, job.tile_columns)
                    y, x = i * m_rows - job.top, j * m_columns - job.left
                    gradient = shifted(input_gradient, image * job.input_gradient_image)
                    row_step, column_step = job.input_gradient_row, job.input_gradient_column
                    if rest == 0:
                        for row in range(job.height):
                            if column_step == job.channels:
                                zero(shifted(gradient, row * row_step), job.width * column_step)
                            else:  # a group's part of the channels
                                for column in range(job.width):
                                    zero(shifted(gradient, row * row_step + column * column_step), job.channels)
                    first = y * row_step + x * column_step
                    target, table = shifted(gradient, first), shifted(tables, 3 * points)
                    if job.channels < c_held:
                        zero(patch, points * c_held)
                        target, table = patch, shifted(tables, points)
                    elif not is_inside(job, y, x, n_rows, n_columns):
                        table = shifted(tables, 2 * points)
                        outside = (spare - job.input_gradient) // size - image * job.input_gradient_image - first
                        lay_at_border(job, table, n_rows, n_columns, row_step, column_step, y, x, outside)
                    for c in range(0, c_held, lanes):
                        add_input_gradient(
                            m_rows, r_rows, m_columns, r_columns,
                            shifted(v, t * c_held + c), n_columns * v_point, v_point,
                            shifted(target, c), table, column_step, check,
                        )  # fmt: skip
                    if job.channels < c_held:
                        for row in range(max(0, -y), min(n_rows, job.height - y)):
                            for column in range(max(0, -x), min(n_columns, job.width - x)):
                                part = shifted(patch, (row * n_columns + column) * c_held)
                                place = shifted(gradient, (y + row) * row_step + (x + column) * column_step)
                                add(part, place, job.channels)
            start += count

    return kernel


forward_and_sum = partial(forward, is_summed=True)
backward_through_normalization = partial(backward, is_normalized=True)


def transform_kernel(dtype: str, m_rows: int, r_rows: int, m_columns: int, r_columns: int) -> Callable[..., None]:
    """The products' factors U, in panels: (points, filters / panel, channels, panel); Uᵀ, with the two exchanged, for
    the gradient of the inputs."""
    lanes = lanes_of(dtype)
    panel = VECTORS * lanes
    n_rows, n_columns = m_rows + r_rows - 1, m_columns + r_columns - 1
    points, taps = n_rows * n_columns, r_rows * r_columns

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        c_held, k_held = job.channels_held, job.filters_held
        weights, products = at(dtype, job.kernel), at(dtype, job.products)
        block = shifted(
            at(dtype, job.workspace), thread * job.workspace_step
        )  # (points, lanes of filters, of channels)
        blocks = k_held // lanes
        for k in range(blocks * thread // threads * lanes, blocks * (thread + 1) // threads * lanes, lanes):
            for c in range(0, c_held, lanes):
                for row in range(lanes):
                    source = shifted(weights, (k + row) * taps * c_held + c)
                    if job.wants_input:
                        target = shifted(products, ((c // panel) * k_held + k + row) * panel + c % panel)
                        step = c_held * k_held
                    else:
                        target, step = shifted(block, row * lanes), lanes * lanes
                    transform_tile(
                        "kernel", m_rows, r_rows, m_columns, r_columns,
                        source, r_columns * c_held, c_held, target, n_columns * step, step,
                    )  # fmt: skip
                if not job.wants_input:
                    for point in range(points):
                        target = shifted(
                            products, (point * k_held + k // panel * panel) * c_held + c * panel + k % panel
                        )
                        transpose_block(shifted(block, point * lanes * lanes), lanes, target, panel)

    return kernel


def finish_kernel_gradient(dtype: str, m_rows: int, r_rows: int, m_columns: int, r_columns: int) -> Callable[..., None]:
    """The sums of all threads, transformed back; the filters are divided among the threads."""
    lanes = lanes_of(dtype)
    n_rows, n_columns = m_rows + r_rows - 1, m_columns + r_columns - 1
    points, taps = n_rows * n_columns, r_rows * r_columns

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        c_held, k_held = job.channels_held, job.filters_held
        k_rows = (k_held + ROWS - 1) // ROWS * ROWS
        sums, gradient = at(dtype, job.kernel_sums), at(dtype, job.kernel_gradient)
        check = shifted(at(dtype, job.check), thread * lanes)
        for k in range(k_held * thread // threads, k_held * (thread + 1) // threads):
            for point in range(points):
                total = shifted(sums, (point * k_rows + k) * c_held)
                for other in range(1, threads):
                    part = shifted(sums, ((other * points + point) * k_rows + k) * c_held)
                    for c in range(c_held):
                        total[c] += part[c]
            for c in range(0, c_held, lanes):
                transform_tile(
                    "kernel_gradient", m_rows, r_rows, m_columns, r_columns,
                    shifted(sums, k * c_held + c), n_columns * k_rows * c_held, k_rows * c_held,
                    shifted(gradient, k * taps * c_held + c), r_columns * c_held, c_held,
                )  # fmt: skip
            for number in range(k * taps * c_held, (k + 1) * taps * c_held):
                check[0] += gradient[number] - gradient[number]  # NaN where it is not finite

    return kernel
