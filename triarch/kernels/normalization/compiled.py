"""Passes over batches whose channels lie side by side, divided among the threads.

Numbers are taken in lines of `length`, some places with all their channels: a line's sums and factors stay in the
nearest cache, and loops over a line are long enough for vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray

from triarch.kernels.native.runs import zero
from triarch.kernels.native.vectors import at, inlined, shifted

_LINES = 32  # whose sums are added before they go on in double precision


@inlined
def _flush(sums, totals, count):
    """Add sums to totals, and begin again."""
    for number in range(count):
        totals[number] += sums[number]
        sums[number] = 0.0


@inlined
def _add_moments(x, centre, sums, squares, count):
    for number in range(count):
        distance = x[number] - centre[number]
        sums[number] += distance
        squares[number] += distance * distance


@inlined
def _add_products(gradient, x, centre, sums, products, count):
    for number in range(count):
        sums[number] += gradient[number]
        products[number] += gradient[number] * (x[number] - centre[number])


@inlined
def _add_products_where(gradient, y, x, centre, sums, products, nothing, count):
    for number in range(count):
        given = gradient[number]  # read in any case: only then a vector can be chosen from
        own = nothing if y[number] <= nothing else given
        sums[number] += own
        products[number] += own * (x[number] - centre[number])


def moments(dtype: str) -> Callable[..., None]:
    """Sums of distances from a centre, and of their squares."""

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        totals = shifted(at("float64", job.totals), thread * 2 * length)
        sums = shifted(at(dtype, job.sums), thread * 2 * length)
        squares, centre = shifted(sums, length), at(dtype, job.centre)
        zero(totals, 2 * length)
        zero(sums, 2 * length)
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            x = shifted(at(dtype, job.inputs), line * length)
            _add_moments(x, centre, sums, squares, min(length, job.count - line * length))
            if line % _LINES == 0:
                _flush(sums, totals, 2 * length)
        _flush(sums, totals, 2 * length)

    return kernel


def products(dtype: str) -> Callable[..., None]:
    """Sums of the outputs' gradient, and of its products with the inputs' distances from their means."""

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        totals = shifted(at("float64", job.totals), thread * 2 * length)
        sums = shifted(at(dtype, job.sums), thread * 2 * length)
        others, centre = shifted(sums, length), at(dtype, job.centre)
        zero(totals, 2 * length)
        zero(sums, 2 * length)
        nothing = sums[0]
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            first, count = line * length, min(length, job.count - line * length)
            x, gradient = shifted(at(dtype, job.inputs), first), shifted(at(dtype, job.output_gradient), first)
            if job.rectifies:
                y = shifted(at(dtype, job.outputs), first)
                _add_products_where(gradient, y, x, centre, sums, others, nothing, count)
            else:
                _add_products(gradient, x, centre, sums, others, count)
            if line % _LINES == 0:
                _flush(sums, totals, 2 * length)
        _flush(sums, totals, 2 * length)

    return kernel


@inlined
def _rescale(x, centre, scale, shift, y, count):
    for number in range(count):
        y[number] = (x[number] - centre[number]) * scale[number] + shift[number]


@inlined
def _rescale_and_add(x, centre, scale, shift, residual, y, count):
    for number in range(count):
        y[number] = (x[number] - centre[number]) * scale[number] + shift[number] + residual[number]


@inlined
def _rescale_and_rectify(x, centre, scale, shift, nothing, y, count):
    for number in range(count):
        value = (x[number] - centre[number]) * scale[number] + shift[number]
        y[number] = nothing if value <= nothing else value  # NaN stays


@inlined
def _rescale_add_and_rectify(x, centre, scale, shift, residual, nothing, y, count):
    for number in range(count):
        value = (x[number] - centre[number]) * scale[number] + shift[number] + residual[number]
        y[number] = nothing if value <= nothing else value


def rescale(dtype: str) -> Callable[..., None]:
    """`(x - centre) * scale + shift`, plus the residual, rectified."""

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        centre, scale, shift = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.shift)
        nothing = centre[0] - centre[0]
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            first, count = line * length, min(length, job.count - line * length)
            x, y = shifted(at(dtype, job.inputs), first), shifted(at(dtype, job.outputs), first)
            residual = shifted(at(dtype, job.residual), first)
            if job.has_residual and job.rectifies:
                _rescale_add_and_rectify(x, centre, scale, shift, residual, nothing, y, count)
            elif job.has_residual:
                _rescale_and_add(x, centre, scale, shift, residual, y, count)
            elif job.rectifies:
                _rescale_and_rectify(x, centre, scale, shift, nothing, y, count)
            else:
                _rescale(x, centre, scale, shift, y, count)

    return kernel


@inlined
def _combine(gradient, x, centre, scale, slope, shift, target, count):
    for number in range(count):
        target[number] = gradient[number] * scale[number] + (x[number] - centre[number]) * slope[number] + shift[number]


@inlined
def _select(gradient, y, nothing, target, count):
    for number in range(count):
        given = gradient[number]
        target[number] = nothing if y[number] <= nothing else given


def propagate(dtype: str) -> Callable[..., None]:
    """The gradient of the inputs, `scale * g + slope * (x - centre) + shift`, and that of the residual, `g`.

    `g` is the outputs' gradient where the outputs are not 0, if they were rectified. `slope` follows `scale`.
    """

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        centre, scale, shift = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.shift)
        slope, line_of_gradient = shifted(scale, length), shifted(at(dtype, job.sums), thread * 2 * length)
        zero(line_of_gradient, 1)
        nothing = line_of_gradient[0]
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            first, count = line * length, min(length, job.count - line * length)
            x, target = shifted(at(dtype, job.inputs), first), shifted(at(dtype, job.input_gradient), first)
            gradient = shifted(at(dtype, job.output_gradient), first)
            if job.rectifies:
                y, own = shifted(at(dtype, job.outputs), first), line_of_gradient
                if job.wants_residual:
                    own = shifted(at(dtype, job.residual_gradient), first)
                _select(gradient, y, nothing, own, count)
                gradient = own
            _combine(gradient, x, centre, scale, slope, shift, target, count)

    return kernel
