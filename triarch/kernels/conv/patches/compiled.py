"""Convolution by patches, forward and backward, for a thread that carries chunks of places through all their stages.

P holds the patches of a chunk (places, depth), one row for each place of the output with the numbers that its window
sees; W is the kernel (depth, filters). Y = P W; backward, with ′ for gradients: W′ = Pᵀ Y′ and P′ = Y′ Wᵀ, added to the
input's places from which the patches came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.matmul.tile import multiply_tile
from triarch.kernels.native.registers import ROWS, VECTORS
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted


@inlined
def _places(job):
    """How many places the output of an image has."""
    return job.out_plane * job.out_row * job.out_column


@inlined
def _origin(job, place):
    """The image of a place of the output, and where its window begins: plane, row and column of the input."""
    image, rest = divmod(place, _places(job))
    plane, rest = divmod(rest, job.out_row * job.out_column)
    row, column = divmod(rest, job.out_column)
    return (
        image,
        plane * job.stride_plane - job.margin_plane,
        row * job.stride_row - job.margin_row,
        column * job.stride_column - job.margin_column,
    )


@inlined
def _gather(job, inputs, place, patch):
    """Copy what the window of a place sees, zeros where the input has nothing."""
    image, first_plane, first_row, first_column = _origin(job, place)
    source = shifted(inputs, image * job.inputs_image)
    filled = 0
    for tap_plane in range(job.taps_plane):
        plane = first_plane + tap_plane * job.dilation_plane
        for tap_row in range(job.taps_row):
            row = first_row + tap_row * job.dilation_row
            is_inside = 0 <= plane < job.size_plane and 0 <= row < job.size_row
            start = shifted(source, plane * job.inputs_plane + row * job.inputs_row)
            for tap_column in range(job.taps_column):
                column = first_column + tap_column * job.dilation_column
                if is_inside and 0 <= column < job.size_column:
                    numbers = shifted(start, column * job.inputs_column)
                    for channel in range(job.channels):
                        patch[filled + channel] = numbers[channel]
                else:
                    for channel in range(job.channels):
                        patch[filled + channel] = 0.0
                filled += job.channels
    for number in range(filled, job.depth_held):
        patch[number] = 0.0


@inlined
def _scatter(job, patch, place, gradient):
    """Add the gradient of a patch to the places of the input from which it came."""
    image, first_plane, first_row, first_column = _origin(job, place)
    target = shifted(gradient, image * job.input_gradient_image)
    passed = 0
    for tap_plane in range(job.taps_plane):
        plane = first_plane + tap_plane * job.dilation_plane
        for tap_row in range(job.taps_row):
            row = first_row + tap_row * job.dilation_row
            is_inside = 0 <= plane < job.size_plane and 0 <= row < job.size_row
            start = shifted(target, plane * job.input_gradient_plane + row * job.input_gradient_row)
            for tap_column in range(job.taps_column):
                column = first_column + tap_column * job.dilation_column
                if is_inside and 0 <= column < job.size_column:
                    numbers = shifted(start, column * job.input_gradient_column)
                    for channel in range(job.channels):
                        numbers[channel] += patch[passed + channel]
                passed += job.channels


@inlined
def _clear(job, image, gradient):
    """Fill an image's gradient with zeros: all of it, or a group's part of the channels."""
    target = shifted(gradient, image * job.input_gradient_image)
    for plane in range(job.size_plane):
        for row in range(job.size_row):
            start = shifted(target, plane * job.input_gradient_plane + row * job.input_gradient_row)
            if job.input_gradient_column == job.channels:
                for number in range(job.size_column * job.channels):
                    start[number] = 0.0
            else:
                for column in range(job.size_column):
                    numbers = shifted(start, column * job.input_gradient_column)
                    for channel in range(job.channels):
                        numbers[channel] = 0.0


def forward(dtype: str, is_rectified: bool) -> Callable[..., None]:
    """The outputs; the places of all images are divided among the threads."""
    panel = VECTORS * lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        p = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        y = shifted(p, (job.chunk + 1) * job.depth_held)
        inputs, outputs = at(dtype, job.inputs), at(dtype, job.outputs)
        weights, bias = at(dtype, job.kernel), at(dtype, job.bias)
        last = job.images * _places(job) * (thread + 1) // threads
        start = job.images * _places(job) * thread // threads
        while start < last:
            count = min(job.chunk, last - start)
            for t in range(count):
                _gather(job, inputs, start + t, shifted(p, t * job.depth_held))
            for k in range(0, job.filters_held, panel):
                for t in range(0, count, ROWS):
                    multiply_tile(
                        False, shifted(p, t * job.depth_held), job.depth_held, 1,
                        shifted(weights, k * job.depth), panel,
                        shifted(y, t * job.filters_held + k), job.filters_held, job.depth,
                    )  # fmt: skip
            for t in range(count):
                source, target = shifted(y, t * job.filters_held), shifted(outputs, (start + t) * job.outputs_column)
                for k in range(job.filters):
                    value = source[k] + bias[k]
                    if is_rectified:
                        value = value * job.slope if value < 0 else value
                        value = job.cap if value > job.cap else value
                    target[k] = value
            start += count

    return kernel


def backward(dtype: str, is_rectified: bool, wants_input: bool, wants_kernel: bool) -> Callable[..., None]:
    """The gradients of inputs, and each thread's part of those of kernel and bias, for whole images."""
    panel = VECTORS * lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        k_rows = (job.filters_held + ROWS - 1) // ROWS * ROWS
        p = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        g = shifted(p, (job.chunk + 1) * job.depth_held)
        inputs, outputs, weights = at(dtype, job.inputs), at(dtype, job.outputs), at(dtype, job.kernel)
        output_gradient, input_gradient = at(dtype, job.output_gradient), at(dtype, job.input_gradient)
        bias_gradient = shifted(at(dtype, job.bias_gradient), thread * job.filters_held)
        sums = shifted(at(dtype, job.kernel_sums), thread * k_rows * job.depth_held)
        for k in range(job.filters_held):
            bias_gradient[k] = 0.0
        if wants_kernel:
            for number in range(k_rows * job.depth_held):
                sums[number] = 0.0
        places = _places(job)
        last = job.images * (thread + 1) // threads * places
        start = job.images * thread // threads * places
        while start < last:
            count = min(job.chunk, last - start)
            for t in range(count):
                image, rest = divmod(start + t, places)
                if wants_input and rest == 0:
                    _clear(job, image, input_gradient)
                plane, rest = divmod(rest, job.out_row * job.out_column)
                row, column = divmod(rest, job.out_column)
                source = shifted(output_gradient, image * job.output_gradient_image + plane * job.output_gradient_plane)
                source = shifted(source, row * job.output_gradient_row + column * job.output_gradient_column)
                output, target = shifted(outputs, (start + t) * job.outputs_column), shifted(g, t * job.filters_held)
                for k in range(job.filters):
                    value = source[k]
                    if is_rectified:
                        value = value * job.slope if output[k] <= 0 else value
                        value = 0.0 if output[k] >= job.cap else value
                    target[k] = value
                    bias_gradient[k] += value
                for k in range(job.filters, job.filters_held):
                    target[k] = 0.0
            if wants_kernel:
                for t in range(count):
                    _gather(job, inputs, start + t, shifted(p, t * job.depth_held))
                for d in range(0, job.depth_held, panel):
                    for k in range(0, job.filters_held, ROWS):
                        multiply_tile(
                            True, shifted(g, k), 1, job.filters_held, shifted(p, d), job.depth_held,
                            shifted(sums, k * job.depth_held + d), job.depth_held, count,
                        )  # fmt: skip
            if wants_input:
                for d in range(0, job.depth_held, panel):
                    for t in range(0, count, ROWS):
                        multiply_tile(
                            False, shifted(g, t * job.filters_held), job.filters_held, 1,
                            shifted(weights, d * job.filters_held), panel,
                            shifted(p, t * job.depth_held + d), job.depth_held, job.filters_held,
                        )  # fmt: skip
                for t in range(count):
                    _scatter(job, shifted(p, t * job.depth_held), start + t, input_gradient)
            start += count

    return kernel
