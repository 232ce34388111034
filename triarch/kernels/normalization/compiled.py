"""Passes over batches whose channels lie side by side, divided among the threads.

Numbers are taken in lines of `length`, some places with all their channels: a line's sums and factors stay in the
nearest cache, and loops over a line are long enough for vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import carray, float64

from triarch.kernels.native.runs import flush, zero
from triarch.kernels.native.vectors import at, inlined, shifted

_LINES = 32  # whose sums are added before they go on in double precision

# Sums of squares keep enough digits of a variance that is no less than this part of the mean's square.
_LEAST_SPREAD = 1 / 16


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
def _add_products_where(gradient, x, centre, scale, offset, sums, products, nothing, count):
    for number in range(count):
        given, distance = gradient[number], x[number] - centre[number]
        own = nothing if distance * scale[number] + offset[number] <= nothing else given
        sums[number] += own
        products[number] += own * distance


@inlined
def _select_and_add_products(gradient, y, x, centre, target, sums, products, nothing, count):
    for number in range(count):
        given = gradient[number]  # read in any case: only then a vector can be chosen from
        own = nothing if y[number] <= nothing else given
        target[number] = own
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
                flush(sums, totals, 2 * length)
        flush(sums, totals, 2 * length)

    return kernel


@inlined
def _total(job, number, channel):
    """The sum over all threads and lines of one of a kernel's two sums, for a channel."""
    totals = at("float64", job.totals)
    total = 0.0
    for thread in range(job.team):
        for line in range(job.repeats):
            total += totals[((2 * thread + number) * job.repeats + line) * job.channels + channel]
    return total


@inlined
def _repeat(line, job, channel, value):
    """Write a number of a channel in all places of a line."""
    for place in range(job.repeats):
        line[place * job.channels + channel] = value


@inlined
def _scale_of(job, gamma, channel, inverse):
    """What a channel is multiplied with."""
    return inverse * gamma[channel] if job.gamma != 0 else inverse


@inlined
def _offset_of(job, beta, channel):
    """What is added to a channel in the end."""
    return float64(beta[channel]) if job.beta != 0 else 0.0


@inlined
def _write_channel(job, gamma, beta, centre, scale, offset, channel, mean, inverse):
    """Write what a channel is normalised by into its places in the lines."""
    _repeat(centre, job, channel, mean)
    _repeat(scale, job, channel, _scale_of(job, gamma, channel, inverse))
    _repeat(offset, job, channel, _offset_of(job, beta, channel))


def settle(dtype: str) -> Callable[..., None]:
    """From sums to numbers of the channels: mean and variance, centre, scale and offset.

    The sums are a convolution's of its outputs and of their squares, or else those of `moments`. `verdict` is 1 where
    the former do not tell the variance.
    """

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        gamma, beta = at(dtype, job.gamma), at(dtype, job.beta)
        centre, scale, offset = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.offset)
        sums, means, inverses = at("float64", job.moments), at("float64", job.mean), at("float64", job.inverse)
        verdict = at("int64", job.verdict)
        verdict[0] = 0
        for channel in range(job.channels):
            if job.moments != 0:
                start = 0.0
                distance, square = sums[channel] / job.places, sums[job.channels + channel] / job.places
            else:
                start = centre[channel]
                distance, square = _total(job, 0, channel) / job.places, _total(job, 1, channel) / job.places
            variance = square - distance * distance
            variance = 0.0 if variance < 0 else variance  # NaN stays
            if job.moments != 0 and not variance >= _LEAST_SPREAD * distance * distance:
                verdict[0] = 1
            inverse = 1 / math.sqrt(variance + job.epsilon)
            means[channel], inverses[channel] = start + distance, inverse
            at(dtype, job.batch_mean)[channel] = start + distance
            at(dtype, job.batch_variance)[channel] = variance
            _write_channel(job, gamma, beta, centre, scale, offset, channel, start + distance, inverse)

    return kernel


def recall(dtype: str) -> Callable[..., None]:
    """Centre, scale and offset of the channels once more, from their mean and inverse deviation."""

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        gamma, beta = at(dtype, job.gamma), at(dtype, job.beta)
        centre, scale, offset = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.offset)
        means, inverses = at("float64", job.mean), at("float64", job.inverse)
        for channel in range(job.channels):
            _write_channel(job, gamma, beta, centre, scale, offset, channel, means[channel], inverses[channel])

    return kernel


def settle_gradient(dtype: str) -> Callable[..., None]:
    """From the sums of `products` to the gradients of scale and shift, to slope and shift, and to a convolution's rows.

    The rows are centre, scale, slope, shift and offset, infinite where nothing was rectified.
    """

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        means, inverses = at("float64", job.mean), at("float64", job.inverse)
        gamma, beta, rows = at(dtype, job.gamma), at(dtype, job.beta), at("float64", job.rows)
        gamma_gradient, beta_gradient = at(dtype, job.gamma_gradient), at(dtype, job.beta_gradient)
        for channel in range(job.channels):
            total, product, inverse = _total(job, 0, channel), _total(job, 1, channel), inverses[channel]
            scale = _scale_of(job, gamma, channel, inverse)
            slope, shift = scale * inverse * inverse * product / -job.places, scale * total / -job.places
            _repeat(at(dtype, job.slope), job, channel, slope)
            _repeat(at(dtype, job.shift), job, channel, shift)
            if job.gamma_gradient != 0:
                gamma_gradient[channel] = product * inverse
            if job.beta_gradient != 0:
                beta_gradient[channel] = total
            rows[channel], rows[job.channels + channel] = means[channel], scale
            rows[2 * job.channels + channel], rows[3 * job.channels + channel] = slope, shift
            rows[4 * job.channels + channel] = (
                _offset_of(job, beta, channel) if job.rectifies and not job.has_residual else math.inf
            )

    return kernel


def products(dtype: str) -> Callable[..., None]:
    """Sums of the outputs' gradient, and of its products with the inputs' distances from their means.

    If the outputs were rectified, the gradient counts where they are above 0: without a residual that follows from the
    inputs; with one the outputs are read, and the gradient that counts is written as the residual's.
    """

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
            if job.rectifies and job.has_residual:
                y, target = shifted(at(dtype, job.outputs), first), shifted(at(dtype, job.residual_gradient), first)
                _select_and_add_products(gradient, y, x, centre, target, sums, others, nothing, count)
            elif job.rectifies:
                scale, offset = at(dtype, job.scale), at(dtype, job.offset)
                _add_products_where(gradient, x, centre, scale, offset, sums, others, nothing, count)
            else:
                _add_products(gradient, x, centre, sums, others, count)
            if line % _LINES == 0:
                flush(sums, totals, 2 * length)
        flush(sums, totals, 2 * length)

    return kernel


@inlined
def _rescale(x, centre, scale, offset, y, count):
    for number in range(count):
        y[number] = (x[number] - centre[number]) * scale[number] + offset[number]


@inlined
def _rescale_and_add(x, centre, scale, offset, residual, y, count):
    for number in range(count):
        y[number] = (x[number] - centre[number]) * scale[number] + offset[number] + residual[number]


@inlined
def _rescale_and_rectify(x, centre, scale, offset, nothing, y, count):
    for number in range(count):
        value = (x[number] - centre[number]) * scale[number] + offset[number]
        y[number] = nothing if value <= nothing else value  # NaN stays


@inlined
def _rescale_add_and_rectify(x, centre, scale, offset, residual, nothing, y, count):
    for number in range(count):
        value = (x[number] - centre[number]) * scale[number] + offset[number] + residual[number]
        y[number] = nothing if value <= nothing else value


def rescale(dtype: str) -> Callable[..., None]:
    """`(x - centre) * scale + offset`, plus the residual, rectified."""

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        centre, scale, offset = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.offset)
        nothing = centre[0] - centre[0]
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            first, count = line * length, min(length, job.count - line * length)
            x, y = shifted(at(dtype, job.inputs), first), shifted(at(dtype, job.outputs), first)
            residual = shifted(at(dtype, job.residual), first)
            if job.has_residual and job.rectifies:
                _rescale_add_and_rectify(x, centre, scale, offset, residual, nothing, y, count)
            elif job.has_residual:
                _rescale_and_add(x, centre, scale, offset, residual, y, count)
            elif job.rectifies:
                _rescale_and_rectify(x, centre, scale, offset, nothing, y, count)
            else:
                _rescale(x, centre, scale, offset, y, count)

    return kernel


@inlined
def _propagate(gradient, x, centre, scale, slope, shift, target, count):
    for number in range(count):
        distance = x[number] - centre[number]
        target[number] = gradient[number] * scale[number] + distance * slope[number] + shift[number]


@inlined
def _propagate_where(gradient, x, centre, scale, slope, shift, offset, nothing, target, count):
    for number in range(count):
        given, distance = gradient[number], x[number] - centre[number]
        own = nothing if distance * scale[number] + offset[number] <= nothing else given
        target[number] = own * scale[number] + distance * slope[number] + shift[number]


def propagate(dtype: str) -> Callable[..., None]:
    """The gradient of the inputs, `scale * g + slope * (x - centre) + shift`.

    `g` is the outputs' gradient; if they were rectified, only where `(x - centre) * scale + offset` is above 0.
    """

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        length = job.length
        centre, scale, slope = at(dtype, job.centre), at(dtype, job.scale), at(dtype, job.slope)
        shift, offset = at(dtype, job.shift), at(dtype, job.offset)
        nothing = centre[0] - centre[0]
        lines = (job.count + length - 1) // length
        for line in range(lines * thread // threads, lines * (thread + 1) // threads):
            first, count = line * length, min(length, job.count - line * length)
            x, target = shifted(at(dtype, job.inputs), first), shifted(at(dtype, job.input_gradient), first)
            gradient = shifted(at(dtype, job.output_gradient), first)
            if job.rectifies:
                _propagate_where(gradient, x, centre, scale, slope, shift, offset, nothing, target, count)
            else:
                _propagate(gradient, x, centre, scale, slope, shift, target, count)

    return kernel
