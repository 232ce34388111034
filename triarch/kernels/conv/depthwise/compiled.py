"""Depthwise convolution, forward and backward, for a thread that carries planes: one vector of channels of one image.

A plane is copied with its margins, so that every window lies inside; sums of several places stay in registers while
the taps of a row pass by. The gradient of the inputs is the same sum over the output's gradient, spread by the strides,
with the taps turned round; that of the kernel is a sum over places in which the taps take the places' part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.conv.depthwise.job import FEW, MANY
from triarch.kernels.conv.depthwise.sums import add_line, add_sums, rectify_gradient
from triarch.kernels.conv.tiles import finish_output
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted


@inlined
def _add_windows(
    plane,
    plane_columns,
    taps,
    taps_row,
    taps_column,
    stride_row,
    stride_column,
    dilation_row,
    dilation_column,
    row,
    columns,
    is_pair,
    sums,
    sums_row,
    lanes,
):
    """Add to a row of sums what each window sees times the taps; to the next row as well for a pair.

    Both rows of a pair see the same row of the plane, through neighbouring rows of taps: that before the first and that
    after the last are zeros. A row of taps passes by all windows before the next, so that what is read stays near.
    """
    taps_size = taps_column * lanes
    if is_pair:
        for tap in range(taps_row + 1):
            start = shifted(plane, (row + tap) * plane_columns * lanes)
            for column in range(0, columns, FEW):
                add_sums(
                    FEW, 2, shifted(start, column * stride_column * lanes), stride_column * lanes, 0,
                    dilation_column * lanes, shifted(taps, (tap + 1) * taps_size), -taps_size, 0, lanes,
                    shifted(sums, column * lanes), sums_row, lanes, 1, taps_column,
                )  # fmt: skip
        return
    for tap in range(taps_row):
        start = shifted(plane, (row * stride_row + tap * dilation_row) * plane_columns * lanes)
        for column in range(0, columns, MANY):
            add_sums(
                MANY, 1, shifted(start, column * stride_column * lanes), stride_column * lanes, 0,
                dilation_column * lanes, shifted(taps, (tap + 1) * taps_size), 0, 0, lanes,
                shifted(sums, column * lanes), 0, lanes, 1, taps_column,
            )  # fmt: skip


@inlined
def _fill_plane(job, source, channels, plane, lanes):
    """Copy a channel vector of an image between the plane's margins."""
    for row in range(job.size_row):
        target = shifted(plane, ((row + job.margin_row) * job.plane_columns + job.margin_column) * lanes)
        for column in range(job.size_column):
            numbers = shifted(source, row * job.inputs_row + column * job.inputs_column)
            copy(numbers, shifted(target, column * lanes), channels)


def forward(dtype: str) -> Callable[..., None]:
    """The outputs; the planes of all images are divided among the threads."""
    lanes = lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        vectors = (job.channels + lanes - 1) // lanes
        plane = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        plane_size = job.plane_rows * job.plane_columns * lanes
        sums = shifted(plane, plane_size)
        sums_row = job.columns_held * lanes
        finished, check = shifted(sums, 2 * sums_row), shifted(at(dtype, job.check), thread * lanes)
        zero(plane, plane_size)
        items = job.images * vectors
        for item in range(items * thread // threads, items * (thread + 1) // threads):
            image, vector = divmod(item, vectors)
            channels = min(lanes, job.channels - vector * lanes)
            source = shifted(at(dtype, job.inputs), image * job.inputs_image + vector * lanes)
            _fill_plane(job, source, channels, plane, lanes)
            taps = shifted(at(dtype, job.kernel), vector * (job.taps_row + 2) * job.taps_column * lanes)
            bias = shifted(at(dtype, job.bias), vector * lanes)
            output = shifted(at(dtype, job.outputs), image * job.outputs_image + vector * lanes)
            row = 0
            while row < job.out_row:
                rows = 2 if job.in_pairs and job.stride_row == 1 and row + 1 < job.out_row else 1
                zero(sums, rows * sums_row)
                _add_windows(
                    plane, job.plane_columns, taps, job.taps_row, job.taps_column, job.stride_row, job.stride_column,
                    job.dilation_row, job.dilation_column, row, job.out_column, rows == 2, sums, sums_row, lanes,
                )  # fmt: skip
                for number in range(rows * job.out_column):
                    below, column = divmod(number, job.out_column)
                    place = shifted(output, (row + below) * job.outputs_row + column * job.outputs_column)
                    target = place if channels == lanes else finished
                    finish_output(
                        1, 1, 1, 1, shifted(sums, below * sums_row + column * lanes), 0, 0, target, 0, 0,
                        check, bias, job.slope, job.cap, False, finished, finished,
                    )  # fmt: skip
                    if channels < lanes:
                        copy(finished, place, channels)
                row += rows

    return kernel


def backward(dtype: str) -> Callable[..., None]:
    """The gradients of inputs, and each thread's part of those of kernel and bias."""
    lanes = lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        vectors = (job.channels + lanes - 1) // lanes
        plane = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        plane_size = job.plane_rows * job.plane_columns * lanes
        gradient = shifted(plane, plane_size)
        gradient_size = job.gradient_rows * job.gradient_columns * lanes
        sums = shifted(gradient, gradient_size)
        sums_row = job.columns_held * lanes
        spare = shifted(sums, 2 * sums_row)
        zero(plane, plane_size)
        zero(gradient, gradient_size)
        taps_size = job.taps_row * job.taps_held * lanes
        kernel_sums = shifted(at(dtype, job.kernel_sums), thread * vectors * taps_size)
        bias_gradient = shifted(at(dtype, job.bias_gradient), thread * vectors * lanes)
        zero(bias_gradient, vectors * lanes)
        if job.wants_kernel:
            zero(kernel_sums, vectors * taps_size)
        items = job.images * vectors
        for item in range(items * thread // threads, items * (thread + 1) // threads):
            image, vector = divmod(item, vectors)
            channels = min(lanes, job.channels - vector * lanes)
            source = shifted(at(dtype, job.output_gradient), image * job.output_gradient_image + vector * lanes)
            output = shifted(at(dtype, job.outputs), image * job.outputs_image + vector * lanes)
            start = job.gradient_margin_row * job.gradient_columns + job.gradient_margin_column
            rectify_gradient(
                job, source, output, channels, shifted(gradient, start * lanes),
                job.stride_row * job.gradient_columns * lanes, job.stride_column * lanes,
                shifted(bias_gradient, vector * lanes), spare, lanes,
            )  # fmt: skip
            if job.wants_kernel:
                source = shifted(at(dtype, job.inputs), image * job.inputs_image + vector * lanes)
                _fill_plane(job, source, channels, plane, lanes)
                for row in range(job.out_row):
                    start = (job.gradient_margin_row + row * job.stride_row) * job.gradient_columns
                    numbers = shifted(gradient, (start + job.gradient_margin_column) * lanes)
                    for tap in range(job.taps_row):
                        first = (row * job.stride_row + tap * job.dilation_row) * job.plane_columns
                        totals = shifted(kernel_sums, vector * taps_size + tap * job.taps_held * lanes)
                        add_line(
                            job.taps_held, shifted(plane, first * lanes), job.dilation_column * lanes, 0,
                            job.stride_column * lanes, numbers, 0, job.stride_column * lanes, totals, lanes,
                            1, job.out_column,
                        )  # fmt: skip
            if job.wants_input:
                taps = shifted(at(dtype, job.kernel), vector * (job.taps_row + 2) * job.taps_column * lanes)
                target = shifted(at(dtype, job.input_gradient), image * job.input_gradient_image + vector * lanes)
                row = 0
                while row < job.size_row:
                    rows = 2 if job.in_pairs and row + 1 < job.size_row else 1
                    zero(sums, rows * sums_row)
                    _add_windows(
                        gradient, job.gradient_columns, taps, job.taps_row, job.taps_column, 1, 1,
                        job.dilation_row, job.dilation_column, row, job.size_column, rows == 2, sums, sums_row, lanes,
                    )  # fmt: skip
                    for number in range(rows * job.size_column):
                        below, column = divmod(number, job.size_column)
                        place = (row + below) * job.input_gradient_row + column * job.input_gradient_column
                        copy(shifted(sums, below * sums_row + column * lanes), shifted(target, place), channels)
                    row += rows

    return kernel
