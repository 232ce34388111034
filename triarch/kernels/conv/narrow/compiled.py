"""The gradient of inputs of few channels, for a thread that carries images.

For each channel it is the sum over filters of the output's gradient, each convolved with its taps: a vector holds
filters, and its lanes are added up when all taps have passed by. So nothing is computed for channels that do not exist,
which is most of what a product does whose columns are channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import carray, types

from triarch.kernels.conv.depthwise.job import MANY
from triarch.kernels.conv.depthwise.sums import add_sums
from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import Emitter, at, emitting, inlined, lanes_of, shifted


@emitting
def _add_lanes(typing_context, vectors, totals):
    """Write the sum of the lanes of each of as many vectors as there are lanes."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, vectors.dtype)
        rows = [emitter.load(emitter.moved(arguments[0], place * emitter.lanes)) for place in range(emitter.lanes)]
        columns = emitter.transposed(rows)
        while len(columns) > 1:
            columns = [builder.fadd(one, other) for one, other in zip(columns[::2], columns[1::2], strict=True)]
        emitter.store(columns[0], arguments[1])
        return context.get_dummy_value()

    return types.void(vectors, totals), emit


@inlined
def _fill_plane(job, source, plane):
    """Copy an image of the outputs' gradient between the plane's margins."""
    for row in range(job.out_row):
        target = shifted(plane, ((row + job.margin_row) * job.plane_columns + job.margin_column) * job.filters_held)
        for column in range(job.out_column):
            numbers = shifted(source, row * job.output_gradient_row + column * job.output_gradient_column)
            copy(numbers, shifted(target, column * job.filters_held), job.filters)


def input_gradient(dtype: str) -> Callable[..., None]:
    """The gradient of the inputs; the images are divided among the threads."""
    lanes = lanes_of(dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        held, plane_row = job.filters_held, job.plane_columns * job.filters_held
        plane = shifted(at(dtype, job.workspace), thread * job.workspace_step)
        sums = shifted(plane, job.plane_rows * plane_row)
        line = shifted(sums, job.columns_held * lanes)
        zero(plane, job.plane_rows * plane_row)
        for image in range(job.images * thread // threads, job.images * (thread + 1) // threads):
            _fill_plane(job, shifted(at(dtype, job.output_gradient), image * job.output_gradient_image), plane)
            for number in range(job.size_row * job.channels):
                row, channel = divmod(number, job.channels)
                taps = shifted(at(dtype, job.kernel), channel * job.taps_row * job.taps_column * held)
                zero(sums, job.columns_held * lanes)
                for column in range(0, job.columns_held, MANY):
                    seen = shifted(plane, row * plane_row + column * held)
                    for first in range(0, held, lanes):
                        add_sums(
                            MANY, 1, shifted(seen, first), held, job.dilation_row * plane_row,
                            job.dilation_column * held, shifted(taps, first), 0, job.taps_column * held, held,
                            shifted(sums, column * lanes), 0, lanes, job.taps_row, job.taps_column,
                        )  # fmt: skip
                for column in range(0, job.columns_held, lanes):
                    _add_lanes(shifted(sums, column * lanes), shifted(line, column))
                target = shifted(at(dtype, job.input_gradient), image * job.input_gradient_image + channel)
                for column in range(job.size_column):
                    target[row * job.input_gradient_row + column * job.input_gradient_column] = line[column]

    return kernel
