"""Convolution by patches, forward and backward, for a thread that carries chunks of places through all their stages.

P holds the patches of a chunk (places, depth), one row for each place of the output with the numbers that its window
sees; W is the kernel (depth, filters). Y = P W; backward, with ′ for gradients: W′ = Pᵀ Y′ and P′ = Y′ Wᵀ, added to the
input's places from which the patches came.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import carray

from triarch.kernels.conv.tiles import finish_output, normalized_gradient, transform_output_gradient
from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.runs import add, add_moments, copy, flush, zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted


@inlined
def _places(job):
    """How many places the output of an image has."""
    return job.out_plane * job.out_row * job.out_column


@inlined
def _position(job, place):
    """Image, plane, row and column of a place of the output."""
    image, rest = divmod(place, _places(job))
    plane, rest = divmod(rest, job.out_row * job.out_column)
    row, column = divmod(rest, job.out_column)
    return image, plane, row, column


@inlined
def _whole_windows(job, first, width):
    """Of `width` places in a row, the first of which begins at `first`, those whose windows lie inside: from, up to."""
    stride, span = job.stride_column, (job.taps_column - 1) * job.dilation_column + 1
    low = min(max((stride - 1 - first) // stride, 0), width)
    return low, min(max((job.size_column - span - first) // stride + 1, low), width)


@inlined
def _gather_row(job, source, is_inside, first, width, patches):
    """One row of the windows of `width` neighbouring places: copied, zeros where the input has nothing.

    Args:
        source: The row of the input, which has such a row if `is_inside`.
        first: The column where the first window begins.
        patches: Where the row of the first patch begins.
    """
    run = job.taps_column * job.channels
    if not is_inside:
        for place in range(width):
            zero(shifted(patches, place * job.depth_held), run)
        return
    low, high = width, width
    if job.dilation_column == 1 and job.inputs_column == job.channels:  # a window's row lies in one piece
        low, high = _whole_windows(job, first, width)
    for place in range(low, high):
        numbers = shifted(source, (first + place * job.stride_column) * job.inputs_column)
        copy(numbers, shifted(patches, place * job.depth_held), run)
    for side in range(2):
        for place in range(0 if side == 0 else high, low if side == 0 else width):
            patch = shifted(patches, place * job.depth_held)
            for tap in range(job.taps_column):
                column = first + place * job.stride_column + tap * job.dilation_column
                if 0 <= column < job.size_column:
                    copy(shifted(source, column * job.inputs_column), shifted(patch, tap * job.channels), job.channels)
                else:
                    zero(shifted(patch, tap * job.channels), job.channels)


@inlined
def _scatter_row(job, patches, first, width, target):
    """Add one row of the windows of `width` neighbouring places to the row of the input from which it came."""
    low, high = width, width
    if job.dilation_column == 1 and job.input_gradient_column == job.channels:
        low, high = _whole_windows(job, first, width)
    for place in range(low, high):
        numbers = shifted(target, (first + place * job.stride_column) * job.input_gradient_column)
        add(shifted(patches, place * job.depth_held), numbers, job.taps_column * job.channels)
    for side in range(2):
        for place in range(0 if side == 0 else high, low if side == 0 else width):
            patch = shifted(patches, place * job.depth_held)
            for tap in range(job.taps_column):
                column = first + place * job.stride_column + tap * job.dilation_column
                if 0 <= column < job.size_column:
                    numbers = shifted(target, column * job.input_gradient_column)
                    add(shifted(patch, tap * job.channels), numbers, job.channels)


@inlined
def _gather(job, inputs, start, count, patches):
    """The patches of `count` places from `start` on."""
    done = 0
    while done < count:
        image, plane, row, column = _position(job, start + done)
        width = min(count - done, job.out_column - column)
        target = shifted(patches, done * job.depth_held)
        for tap_plane in range(job.taps_plane):
            from_plane = plane * job.stride_plane - job.margin_plane + tap_plane * job.dilation_plane
            for tap_row in range(job.taps_row):
                from_row = row * job.stride_row - job.margin_row + tap_row * job.dilation_row
                source = shifted(
                    inputs, image * job.inputs_image + from_plane * job.inputs_plane + from_row * job.inputs_row
                )
                is_inside = 0 <= from_plane < job.size_plane and 0 <= from_row < job.size_row
                first = column * job.stride_column - job.margin_column
                _gather_row(job, source, is_inside, first, width, target)
                target = shifted(target, job.taps_column * job.channels)
        done += width


@inlined
def _scatter(job, patches, start, count, gradient):
    """Add the gradients of patches to the places of the input from which they came."""
    done = 0
    while done < count:
        image, plane, row, column = _position(job, start + done)
        width = min(count - done, job.out_column - column)
        source = shifted(patches, done * job.depth_held)
        for tap_plane in range(job.taps_plane):
            to_plane = plane * job.stride_plane - job.margin_plane + tap_plane * job.dilation_plane
            for tap_row in range(job.taps_row):
                to_row = row * job.stride_row - job.margin_row + tap_row * job.dilation_row
                if 0 <= to_plane < job.size_plane and 0 <= to_row < job.size_row:
                    target = shifted(gradient, image * job.input_gradient_image + to_plane * job.input_gradient_plane)
                    target = shifted(target, to_row * job.input_gradient_row)
                    first = column * job.stride_column - job.margin_column
                    _scatter_row(job, source, first, width, target)
                source = shifted(source, job.taps_column * job.channels)
        done += width


@inlined
def _clear(job, image, gradient):
    """Fill an image's gradient with zeros: all of it, or a group's part of the channels."""
    target = shifted(gradient, image * job.input_gradient_image)
    for plane in range(job.size_plane):
        for row in range(job.size_row):
            start = shifted(target, plane * job.input_gradient_plane + row * job.input_gradient_row)
            if job.input_gradient_column == job.channels:
                zero(start, job.size_column * job.channels)
            else:
                for column in range(job.size_column):
                    zero(shifted(start, column * job.input_gradient_column), job.channels)


def forward(dtype: str, is_summed: bool = False) -> Callable[..., None]:
    """The outputs; the places of all images are divided among the threads.

    Args:
        is_summed: Whether each thread adds up its outputs and their squares for each filter, in `moments`.
    """
    lanes = lanes_of(dtype)
    panel = VECTORS * lanes

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        whole_filters = job.filters // lanes * lanes
        p = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        y = shifted(p, (job.chunk + 1) * job.depth_held)
        y_check = shifted(y, (job.chunk + 1) * job.filters_held)  # the sums are direct: nothing has to be looked at
        zero(y_check, lanes)
        inputs, outputs = at(dtype, job.inputs), at(dtype, job.outputs)
        weights, bias = at(dtype, job.kernel), at(dtype, job.bias)
        moments = shifted(at("float64", job.moments), thread * 2 * job.filters_held)
        sums = shifted(p, job.workspace_step - 2 * job.filters_held)
        squares = shifted(sums, job.filters_held)
        if is_summed:
            zero(moments, 2 * job.filters_held)
            zero(sums, 2 * job.filters_held)
        last = job.images * _places(job) * (thread + 1) // threads
        start = job.images * _places(job) * thread // threads
        while start < last:
            count = min(job.chunk, last - start)
            _gather(job, inputs, start, count, p)
            for k in range(0, job.filters_held, panel):
                for t in range(0, count, ROWS):
                    multiply_tile(
                        False, shifted(p, t * job.depth_held), job.depth_held, 1,
                        shifted(weights, k * job.depth), panel,
                        shifted(y, t * job.filters_held + k), job.filters_held, job.depth,
                    )  # fmt: skip
            for t in range(count):
                source, target = shifted(y, t * job.filters_held), shifted(outputs, (start + t) * job.outputs_column)
                for k in range(0, whole_filters, lanes):
                    finish_output(
                        1, 1, 1, 1, shifted(source, k), 0, 0, shifted(target, k), 0, job.outputs_column,
                        y_check, shifted(bias, k), job.slope, job.cap,
                        is_summed, shifted(sums, k), shifted(squares, k),
                    )  # fmt: skip
                for k in range(whole_filters, job.filters):
                    value = source[k] + bias[k]
                    if value < 0:
                        value = value * job.slope if job.slope != 0 else 0.0
                    value = job.cap if value > job.cap else value
                    target[k] = value
                if is_summed and whole_filters < job.filters:
                    add_moments(
                        shifted(target, whole_filters), shifted(sums, whole_filters), shifted(squares, whole_filters),
                        job.filters - whole_filters,
                    )  # fmt: skip
            if is_summed:
                flush(sums, moments, 2 * job.filters_held)
            start += count

    return kernel


def backward(dtype: str, is_normalized: bool = False) -> Callable[..., None]:
    """The gradients of inputs, and each thread's part of those of kernel and bias, for whole images.

    Args:
        is_normalized: Whether the gradient that is given is that of outputs after their normalisation.
    """
    lanes = lanes_of(dtype)
    panel = VECTORS * lanes

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        whole_filters = job.filters // lanes * lanes
        k_rows = (job.filters_held + ROWS - 1) // ROWS * ROWS
        p = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        g = shifted(p, (job.chunk + 1) * job.depth_held)
        inputs, outputs, weights = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.kernel)
        output_gradient, input_gradient = at(dtype, job.output_gradient), at(dtype, job.input_gradient)
        numbers = at(dtype, job.normalization)
        bias_gradient = shifted(at(dtype, job.bias_gradient), thread * job.filters_held)
        sums = shifted(at(dtype, job.kernel_sums), thread * k_rows * job.depth_held)
        for k in range(job.filters_held):
            bias_gradient[k] = 0.0
        if job.wants_kernel:
            for number in range(k_rows * job.depth_held):
                sums[number] = 0.0
        places = _places(job)
        last = job.images * (thread + 1) // threads * places
        start = job.images * thread // threads * places
        while start < last:
            count = min(job.chunk, last - start)
            for t in range(count):
                image, plane, row, column = _position(job, start + t)
                if job.wants_input and plane == 0 and row == 0 and column == 0:
                    _clear(job, image, input_gradient)
                source = shifted(output_gradient, image * job.output_gradient_image + plane * job.output_gradient_plane)
                source = shifted(source, row * job.output_gradient_row + column * job.output_gradient_column)
                output = shifted(outputs, image * job.outputs_image + plane * job.outputs_plane)
                output = shifted(output, row * job.outputs_row + column * job.outputs_column)
                target = shifted(g, t * job.filters_held)
                for k in range(0, whole_filters, lanes):
                    transform_output_gradient(
                        1, 1, 1, 1,
                        shifted(source, k), 0, job.output_gradient_column, shifted(target, k), 0, 0,
                        shifted(output, k), 0, job.outputs_column, shifted(bias_gradient, k), job.slope, job.cap,
                        is_normalized, shifted(numbers, k), job.filters_held,
                    )  # fmt: skip
                if is_normalized and whole_filters < job.filters:
                    normalized_gradient(
                        shifted(source, whole_filters), shifted(output, whole_filters),
                        shifted(numbers, whole_filters), job.filters_held,
                        shifted(target, whole_filters), job.filters - whole_filters,
                    )  # fmt: skip
                for k in range(whole_filters, job.filters):
                    value = target[k] if is_normalized else source[k]
                    if not is_normalized:
                        if output[k] <= 0:
                            value = value * job.slope if job.slope != 0 else 0.0
                        value = 0.0 if output[k] >= job.cap else value
                    target[k] = value
                    bias_gradient[k] += value
                for k in range(job.filters, job.filters_held):
                    target[k] = 0.0
            if job.wants_kernel:
                _gather(job, inputs, start, count, p)
                for d in range(0, job.depth_held, panel):
                    for k in range(0, job.filters_held, ROWS):
                        multiply_tile(
                            True, shifted(g, k), 1, job.filters_held, shifted(p, d), job.depth_held,
                            shifted(sums, k * job.depth_held + d), job.depth_held, count,
                        )  # fmt: skip
            if job.wants_input:
                for d in range(0, job.depth_held, panel):
                    for t in range(0, count, ROWS):
                        multiply_tile(
                            False, shifted(g, t * job.filters_held), job.filters_held, 1,
                            shifted(weights, d * job.filters_held), panel,
                            shifted(p, t * job.depth_held + d), job.depth_held, job.filters_held,
                        )  # fmt: skip
                _scatter(job, p, start, count, input_gradient)
            start += count

    return kernel


forward_and_sum = partial(forward, is_summed=True)
backward_through_normalization = partial(backward, is_normalized=True)
