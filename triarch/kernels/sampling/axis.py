"""One axis of a place: the pixels that are read, their weights, and the slopes of the weights, for kernels."""

from __future__ import annotations

import math
from typing import Any

from triarch.kernels.native.vectors import inlined
from triarch.kernels.sampling.method import CUBIC

_FAR = 1e9  # pixels; what is beyond is as good as there, and can still be counted


@inlined
def _as_it_is(x, size):
    return x, 1.0


@inlined
def _clamped(x, size):
    """The place inside that a place outside stands for, and what a step of the one moves the other."""
    if x <= 0.0:
        return 0.0, 0.0
    if x >= size - 1:
        return size - 1.0, 0.0
    return x, 1.0


@inlined
def _turned_over(x, size, edge, span):
    """A place outside, turned over at both ends as often as it takes."""
    if span <= 0.0:
        return 0.0, 0.0
    distance, slope = x + edge, 1.0
    if distance < 0.0:
        distance, slope = -distance, -1.0
    over = distance - math.floor(distance / (2.0 * span)) * 2.0 * span
    if over > span:
        over, slope = 2.0 * span - over, -slope
    inside, moves = _clamped(over - edge, size)
    return inside, slope * moves


@inlined
def _reflected(x, size):
    return _turned_over(x, size, 0.5, 1.0 * size)


@inlined
def _mirrored(x, size):
    return _turned_over(x, size, 0.0, size - 1.0)


@inlined
def _wrapped(x, size):
    return x - math.floor(x / size) * size, 1.0


_BROUGHT_IN: dict[str, Any] = {
    "zeros": _as_it_is,
    "border": _clamped,
    "reflection": _reflected,
    "mirror": _mirrored,
    "wrap": _wrapped,
}


def _pixel_of(padding: str) -> Any:
    """From a pixel's number, which need not exist, to one that does, and whether it counts."""
    brought_in = _BROUGHT_IN[padding]

    @inlined
    def zero_outside(number, size):
        if 0 <= number < size:
            return number, 1.0
        return 0, 0.0

    @inlined
    def inside(number, size):
        if 0 <= number < size:
            return number, 1.0
        found, _ = brought_in(1.0 * number, size)
        return int(found), 1.0

    return zero_outside if padding == "zeros" else inside


def pair_of(padding: str) -> Any:
    """From a place and the size of its axis: of the two pixels around it numbers, weights, and the weights' slopes."""
    brought_in, pixel = _BROUGHT_IN[padding], _pixel_of(padding)

    @inlined
    def pair(x, size):
        x, slope = brought_in(min(max(x, -_FAR), _FAR), size)
        first = math.floor(x)
        t = x - first
        low, low_counts = pixel(first, size)
        high, high_counts = pixel(first + 1, size)
        return low, high, (1.0 - t) * low_counts, t * high_counts, -slope * low_counts, slope * high_counts

    return pair


@inlined
def _near(d):
    """The cubic kernel up to distance 1, and its slope."""
    return ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0, (3.0 * (CUBIC + 2.0) * d - 2.0 * (CUBIC + 3.0)) * d


@inlined
def _far(d):
    """The same between 1 and 2."""
    value = ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC
    return value, (3.0 * CUBIC * d - 10.0 * CUBIC) * d + 8.0 * CUBIC


def taps_of(interpolation: str, padding: str) -> Any:
    """A function that writes numbers, weights and slopes of all pixels that are read, and returns how many."""
    brought_in, pixel, pair = _BROUGHT_IN[padding], _pixel_of(padding), pair_of(padding)

    @inlined
    def nearest(x, size, pixels, weights, slopes):
        x, _ = brought_in(min(max(x, -_FAR), _FAR), size)
        number = math.floor(x + 0.5)
        if number - x == 0.5 and number % 2 != 0:  # halves go to even numbers
            number -= 1
        pixels[0], weights[0] = pixel(number, size)
        slopes[0] = 0.0
        return 1

    @inlined
    def bilinear(x, size, pixels, weights, slopes):
        pixels[0], pixels[1], weights[0], weights[1], slopes[0], slopes[1] = pair(x, size)
        return 2

    @inlined
    def bicubic(x, size, pixels, weights, slopes):
        x = min(max(x, -_FAR), _FAR)
        first = math.floor(x)
        t = x - first
        weights[0], slopes[0] = _far(t + 1.0)
        weights[1], slopes[1] = _near(t)
        weights[2], slopes[2] = _near(1.0 - t)
        weights[3], slopes[3] = _far(2.0 - t)
        for tap in range(4):
            pixels[tap], counts = pixel(first - 1 + tap, size)
            weights[tap] *= counts
            slopes[tap] *= counts if tap < 2 else -counts
        return 4

    return {"nearest": nearest, "bilinear": bilinear, "bicubic": bicubic}[interpolation]
