"""From places to pixels, for a chunk of them at a time and one axis after the other, without a branch.

A place is brought to where it is read (a place beyond the border, or one turned over), and cut into the pixel before it
and the part of the way to the next one. A place that is not finite has no such part: it is NaN, and so is what is read
there, though a pixel that exists is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triarch.kernels.native.vectors import inlined
from triarch.kernels.sampling.job import FOLDS
from triarch.kernels.sampling.method import CUBIC


def _inside_of(dtype: str, fold: str) -> Any:
    """From a place and what is known of its axis to where it is read, and what a step of the one moves the other."""
    real: Any = getattr(np, dtype)
    zero, one, two = real(0), real(1), real(2)

    @inlined
    def held(x, low, high, edge, span):
        slope = one if (x > low) & (x < high) else zero
        x = x if x > low else low  # NaN becomes the lowest
        return (x if x < high else high), slope

    @inlined
    def turned_over(x, low, high, edge, span):
        away = x + edge
        distance = abs(away)
        over = distance - np.floor(distance / (two * span)) * (two * span)
        is_turned = over > span
        inside, slope = held((two * span - over if is_turned else over) - edge, low, high, edge, span)
        return inside, (-slope if is_turned != (away < zero) else slope)

    @inlined
    def again(x, low, high, edge, span):
        inside, _ = held(x - np.floor(x / span) * span, low, high, edge, span)
        return inside, one

    return {"none": held, "turned": turned_over, "again": again}[fold]


def _cut_of(dtype: str, interpolation: str) -> Any:
    """A function that cuts where a place is read into the pixel before it and the part of the way to the next one."""
    real: Any = getattr(np, dtype)
    rounding = real(1.5 * 2 ** np.finfo(dtype).nmant)  # what is added to it loses its fraction; halves become even

    @inlined
    def nearest(inside, x):
        return np.int32((inside + rounding) - rounding), (inside - inside) + (x - x)

    @inlined
    def between(inside, x):
        first = np.floor(inside)
        return np.int32(first), (inside - first) + (x - x)

    return nearest if interpolation == "nearest" else between


def _for_each(made: Callable[[str], Any]) -> Any:
    """From functions made for each fold to one that asks the job for its fold."""
    none, turned, again = map(made, FOLDS)

    @inlined
    def chosen(job, *arguments):
        if job.fold == 0:
            none(job, *arguments)
        elif job.fold == 1:
            turned(job, *arguments)
        else:
            again(job, *arguments)

    return chosen


def write_pixels_of(dtype: str) -> Any:
    """A function that writes for an axis of a chunk the pixel before each place, the part of the way, and the slope."""
    real: Any = getattr(np, dtype)
    cut = _cut_of(dtype, "bicubic")

    def made(fold: str) -> Any:
        inside_of = _inside_of(dtype, fold)

        @inlined
        def write(job, places, number_of_axis, axis, count, pixels, parts, slopes):
            scale, shift, edge = real(axis[0]), real(axis[1]), real(job.edge)
            low, high, span = real(axis[2]), real(axis[3]), real(axis[4])
            for number in range(count):
                x = places[2 * number + number_of_axis] * scale + shift
                inside, slope = inside_of(x, low, high, edge, span)
                pixels[number], parts[number] = cut(inside, x)
                slopes[number] = slope * scale

        return write

    return _for_each(made)


def write_both_of(dtype: str, interpolation: str, has_slopes: bool) -> Any:
    """A function that does so for both axes at once, and writes where the pixels lie; slopes only where asked for."""
    real: Any = getattr(np, dtype)
    cut = _cut_of(dtype, interpolation)

    def made(fold: str) -> Any:
        inside_of = _inside_of(dtype, fold)

        @inlined
        def write(job, places, count, before, pitch, held, offsets, across, down, x_slopes, y_slopes):
            x_scale, x_shift, y_scale, y_shift = (
                real(job.x_scale),
                real(job.x_shift),
                real(job.y_scale),
                real(job.y_shift),
            )
            x_low, x_high, y_low, y_high = real(job.x_low), real(job.x_high), real(job.y_low), real(job.y_high)
            x_span, y_span, edge = real(job.x_span), real(job.y_span), real(job.edge)
            for number in range(count):
                x, y = places[2 * number] * x_scale + x_shift, places[2 * number + 1] * y_scale + y_shift
                inside_x, slope_x = inside_of(x, x_low, x_high, edge, x_span)
                inside_y, slope_y = inside_of(y, y_low, y_high, edge, y_span)
                column, across[number] = cut(inside_x, x)
                row, down[number] = cut(inside_y, y)
                offsets[number] = (row + before) * pitch + (column + before) * held
                if has_slopes:
                    x_slopes[number], y_slopes[number] = slope_x * x_scale, slope_y * y_scale

        return write

    return _for_each(made)


def write_cubic_of(dtype: str) -> Any:
    """A function that makes of parts and slopes the weights of four pixels, and the weights' slopes."""
    real: Any = getattr(np, dtype)
    one, two, three, four, five, eight, ten = (real(number) for number in (1, 2, 3, 4, 5, 8, 10))
    a = real(CUBIC)

    @inlined
    def near(d):
        """The cubic kernel up to distance 1, and its slope."""
        return ((a + two) * d - (a + three)) * d * d + one, (three * (a + two) * d - two * (a + three)) * d

    @inlined
    def far(d):
        """The same between 1 and 2."""
        return ((a * d - five * a) * d + eight * a) * d - four * a, (three * a * d - ten * a) * d + eight * a

    @inlined
    def write(count, parts, slopes, weights, changes):
        for number in range(count):
            t, slope, first = parts[number], slopes[number], 4 * number
            weights[first], before = far(t + one)
            weights[first + 1], own = near(t)
            weights[first + 2], following = near(one - t)
            weights[first + 3], after = far(two - t)
            changes[first], changes[first + 1] = slope * before, slope * own
            changes[first + 2], changes[first + 3] = -slope * following, -slope * after

    return write
