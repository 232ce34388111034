"""Depthwise convolution with fewer products, forward and backward, for a thread that carries planes of channel vectors.

A row of taps is cut into chunks of 4, and a row of the plane into tiles that 4 outputs see of a chunk: F(4, 4), for
which 7 products do what 16 did. With V = Bᵀd for tiles and U = Gg for chunks, each of the 7 points has a plane of its
own, in which the products are again a depthwise convolution, of tiles by chunks; all rows of taps and all chunks are
summed there, M = Σ V ⊙ U, and transformed back once, Y = AᵀM. Backward, with ′ for gradients: M′ = A Y′, U′ = Σ V ⊙ M′,
g′ = Gᵀ U′; the gradient of the inputs is the convolution of Y′ with the taps turned round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.conv.depthwise.job import FEW
from triarch.kernels.conv.depthwise.sums import add_line, add_sums, rectify_gradient
from triarch.kernels.conv.tiles import finish_output, transform_tile
from triarch.kernels.conv.winograd_depthwise.job import CHUNK, POINTS, TILE
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted

_LINES = 8  # rows of outputs whose products are summed before the next row of taps: they stay in the cache


@inlined
def _see(line, seen, target, point, lanes):
    """Transform the tiles of a row."""
    for tile in range(seen):
        transform_tile(
            "input", 1, 1, TILE, CHUNK, shifted(line, tile * TILE * lanes), 0, lanes,
            shifted(target, tile * lanes), 0, point,
        )  # fmt: skip


@inlined
def _sum_rows(v, v_rows, seen, taps, taps_row, chunks, row, lines, tiles, sums, lanes):
    """The sums of products of one row of tiles, or of two that see the same rows through neighbouring rows of taps."""
    step, size = seen * lanes, chunks * lanes
    for point in range(POINTS):
        source = shifted(v, (point * v_rows + row) * step)
        weights = shifted(taps, (point * (taps_row + 2) + 1) * size)
        target = shifted(sums, point * 2 * tiles * lanes)
        zero(target, lines * tiles * lanes)
        if lines == 2:
            for tile in range(0, tiles, FEW):
                add_sums(
                    FEW, 2, shifted(source, tile * lanes), lanes, step, lanes, weights, -size, size, lanes,
                    shifted(target, tile * lanes), tiles * lanes, lanes, taps_row + 1, chunks,
                )  # fmt: skip
        else:
            add_line(
                tiles, source, lanes, step, lanes, weights, size, lanes, target, lanes, taps_row, chunks
            )  # fmt: skip


@inlined
def _finish_rows(
    sums, lines, tiles, columns, target, row_step, column_step, channels, spare, check, bias, slope, cap, lanes
):
    """Transform the sums of one row or two, add the bias and rectify."""
    for line in range(lines):
        for first in range(0, columns, TILE):
            source = shifted(sums, (line * tiles + first // TILE) * lanes)
            place = shifted(target, line * row_step + first * column_step)
            width = min(TILE, columns - first)
            if width == TILE and channels == lanes:
                finish_output(
                    1, 1, TILE, CHUNK, source, 0, 2 * tiles * lanes, place, 0, column_step,
                    check, bias, slope, cap, False, spare, spare,
                )  # fmt: skip
            else:
                finish_output(
                    1, 1, TILE, CHUNK, source, 0, 2 * tiles * lanes, spare, 0, lanes,
                    check, bias, slope, cap, False, spare, spare,
                )  # fmt: skip
                for column in range(width):
                    copy(shifted(spare, column * lanes), shifted(place, column * column_step), channels)


@inlined
def _see_inputs(job, source, channels, line, v, lanes):
    """Transform the rows of an image's channel vector, and the rows of zeros around them."""
    rows = job.out_row + job.taps_row - 1
    zero(line, job.line * lanes)
    for row in range(rows):
        target, from_row = shifted(v, row * job.tiles_seen * lanes), row - job.margin_row
        if 0 <= from_row < job.size_row:
            for column in range(job.size_column):
                numbers = shifted(source, from_row * job.inputs_row + column * job.inputs_column)
                copy(numbers, shifted(line, (job.margin_column + column) * lanes), channels)
            _see(line, job.tiles_seen, target, rows * job.tiles_seen * lanes, lanes)
        else:
            for point in range(POINTS):
                zero(shifted(target, point * rows * job.tiles_seen * lanes), job.tiles_seen * lanes)


@inlined
def _add_kernel_sums(job, v, products, sums, lanes):
    """Add what each chunk of taps sees times the gradients of the products: Σ V ⊙ M′."""
    rows, step = job.out_row + job.taps_row - 1, job.tiles_seen * lanes
    for point in range(POINTS):
        for first in range(0, job.out_row, _LINES):
            lines = min(_LINES, job.out_row - first)
            gradient = shifted(products, (point * job.out_row + first) * job.tiles * lanes)
            for tap in range(job.taps_row):
                source = shifted(v, (point * rows + first + tap) * step)
                total = shifted(sums, (point * job.taps_row + tap) * job.chunks_held * lanes)
                add_line(
                    job.chunks_held, source, lanes, step, lanes, gradient, job.tiles * lanes, lanes, total, lanes,
                    lines, job.tiles,
                )  # fmt: skip


def forward(dtype: str) -> Callable[..., None]:
    """The outputs; the planes of all images are divided among the threads."""
    lanes = lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        vectors = (job.channels + lanes - 1) // lanes
        rows = job.out_row + job.taps_row - 1
        line = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        v = shifted(line, job.line * lanes)
        sums = shifted(v, POINTS * rows * job.tiles_seen * lanes)
        spare = shifted(sums, POINTS * 2 * job.tiles * lanes)
        check = shifted(at(dtype, job.check), thread * lanes)
        items = job.images * vectors
        for item in range(items * thread // threads, items * (thread + 1) // threads):
            image, vector = divmod(item, vectors)
            channels = min(lanes, job.channels - vector * lanes)
            source = shifted(at(dtype, job.inputs), image * job.inputs_image + vector * lanes)
            _see_inputs(job, source, channels, line, v, lanes)
            taps = shifted(at(dtype, job.kernel), vector * POINTS * (job.taps_row + 2) * job.chunks * lanes)
            bias = shifted(at(dtype, job.bias), vector * lanes)
            output = shifted(at(dtype, job.outputs), image * job.outputs_image + vector * lanes)
            row = 0
            while row < job.out_row:
                lines = 2 if job.in_pairs and row + 1 < job.out_row else 1
                _sum_rows(v, rows, job.tiles_seen, taps, job.taps_row, job.chunks, row, lines, job.tiles, sums, lanes)
                _finish_rows(
                    sums, lines, job.tiles, job.out_column, shifted(output, row * job.outputs_row), job.outputs_row,
                    job.outputs_column, channels, spare, check, bias, job.slope, job.cap, lanes,
                )  # fmt: skip
                row += lines

    return kernel


def backward(dtype: str) -> Callable[..., None]:
    """The gradients of inputs, and each thread's part of those of kernel and bias."""
    lanes = lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        vectors = (job.channels + lanes - 1) // lanes
        line = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        spare = shifted(line, job.line * lanes)  # a tile, and the outputs of one
        sums = shifted(spare, 2 * TILE * lanes)
        # The gradient of the outputs, then that of their products, then the tiles that are seen.
        gradient = shifted(sums, POINTS * 2 * job.gradient_tiles * lanes)
        gradient_row = job.tiles * TILE * lanes
        products = shifted(gradient, job.out_row * gradient_row)
        v = shifted(products, POINTS * job.out_row * job.tiles * lanes)
        seen = (job.out_row + job.taps_row - 1) * job.tiles_seen
        seen = max(seen, (job.size_row + job.taps_row - 1) * job.gradient_tiles_seen)
        no_bias = shifted(v, POINTS * seen * lanes)
        zero(no_bias, lanes)
        check = shifted(at(dtype, job.check), thread * lanes)
        sums_size = POINTS * job.taps_row * job.chunks_held * lanes
        kernel_sums = shifted(at(dtype, job.kernel_sums), thread * vectors * sums_size)
        bias_gradient = shifted(at(dtype, job.bias_gradient), thread * vectors * lanes)
        zero(bias_gradient, vectors * lanes)
        if job.wants_kernel:
            zero(kernel_sums, vectors * sums_size)
        items = job.images * vectors
        for item in range(items * thread // threads, items * (thread + 1) // threads):
            image, vector = divmod(item, vectors)
            channels = min(lanes, job.channels - vector * lanes)
            source = shifted(at(dtype, job.output_gradient), image * job.output_gradient_image + vector * lanes)
            output = shifted(at(dtype, job.outputs), image * job.outputs_image + vector * lanes)
            zero(gradient, job.out_row * gradient_row)
            rectify_gradient(
                job, source, output, channels, gradient, gradient_row, lanes, shifted(bias_gradient, vector * lanes),
                spare, lanes,
            )  # fmt: skip
            if job.wants_kernel:
                _see_inputs(
                    job, shifted(at(dtype, job.inputs), image * job.inputs_image + vector * lanes), channels, line, v,
                    lanes,
                )  # fmt: skip
                for row in range(job.out_row):
                    for tile in range(job.tiles):
                        transform_tile(
                            "output_gradient", 1, 1, TILE, CHUNK,
                            shifted(gradient, row * gradient_row + tile * TILE * lanes), 0, lanes,
                            shifted(products, (row * job.tiles + tile) * lanes), 0, job.out_row * job.tiles * lanes,
                        )  # fmt: skip
                _add_kernel_sums(job, v, products, shifted(kernel_sums, vector * sums_size), lanes)
            if job.wants_input:
                rows = job.size_row + job.taps_row - 1
                zero(line, job.line * lanes)
                for row in range(rows):
                    target = shifted(v, row * job.gradient_tiles_seen * lanes)
                    from_row = row - job.gradient_margin_row
                    if 0 <= from_row < job.out_row:
                        place = shifted(line, job.gradient_margin_column * lanes)
                        copy(shifted(gradient, from_row * gradient_row), place, job.out_column * lanes)
                        _see(line, job.gradient_tiles_seen, target, rows * job.gradient_tiles_seen * lanes, lanes)
                    else:
                        for point in range(POINTS):
                            numbers = shifted(target, point * rows * job.gradient_tiles_seen * lanes)
                            zero(numbers, job.gradient_tiles_seen * lanes)
                taps = shifted(at(dtype, job.kernel), vector * POINTS * (job.taps_row + 2) * job.chunks * lanes)
                found = shifted(at(dtype, job.input_gradient), image * job.input_gradient_image + vector * lanes)
                row = 0
                while row < job.size_row:
                    lines = 2 if job.in_pairs and row + 1 < job.size_row else 1
                    _sum_rows(
                        v, rows, job.gradient_tiles_seen, taps, job.taps_row, job.chunks, row, lines,
                        job.gradient_tiles, sums, lanes,
                    )  # fmt: skip
                    _finish_rows(
                        sums, lines, job.gradient_tiles, job.size_column,
                        shifted(found, row * job.input_gradient_row), job.input_gradient_row,
                        job.input_gradient_column, channels, spare, check, no_bias, 1.0, math.nan, lanes,
                    )  # fmt: skip
                    row += lines

    return kernel
