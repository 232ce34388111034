"""What a chunk's gradients give to the pixels that it read, and to its places.

A function for each interpolation and layout of pixels. Gradients of places that are not finite reach no pixel.
The arguments are many and stay apart: pointers that come in a tuple cost images of one channel a third of their speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from triarch.kernels.native.runs import add
from triarch.kernels.native.vectors import inlined, shifted
from triarch.kernels.sampling import bicubic, bilinear
from triarch.kernels.sampling.job import CHUNK, TAPS
from triarch.kernels.sampling.reading import add_product, cubic_sum


@inlined
def _is_place(t_x, t_y):
    return t_x + t_y == t_x + t_y


def spread_of(interpolation: str, layout: int, lanes: int, dtype: str) -> Any:
    """A function that adds to the gradient's plane, and writes the gradients of places, as far as they are wanted.

    With one channel and bilinear, the plane is one of pairs, see `bilinear.spread_lanes`.
    """
    one: Any = getattr(np, dtype)(1)

    @inlined
    def nearest(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        for number in range(count):
            if wants_images and _is_place(across[number], down[number]):
                own = shifted(given, number * channels)
                add(own, shifted(gradient, offsets[number]), layout if layout else channels)
            if wants_places:
                found[2 * number], found[2 * number + 1] = across[number], down[number]

    @inlined
    def bilinear_single(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        if wants_images:
            whole = count // lanes * lanes
            for number in range(0, whole, lanes):
                bilinear.spread_lanes(
                    gradient, pitch, shifted(offsets, number), shifted(across, number), shifted(down, number),
                    shifted(given, number),
                )  # fmt: skip
            for number in range(whole, count):
                t_x, t_y, own = across[number], down[number], given[number]
                if _is_place(t_x, t_y):
                    upper, lower = shifted(gradient, 2 * offsets[number]), own * t_y
                    below, rest = shifted(upper, 2 * pitch), own - lower
                    upper[0] += rest - rest * t_x
                    upper[1] += rest * t_x
                    below[0] += lower - lower * t_x
                    below[1] += lower * t_x
        if wants_places:
            along_x, along_y = spare, shifted(spare, CHUNK)
            for number in range(0, count, lanes):
                bilinear.slope_lanes(
                    plane, pitch, shifted(offsets, number), shifted(across, number), shifted(down, number),
                    shifted(along_x, number), shifted(along_y, number),
                )  # fmt: skip
            for number in range(count):
                found[2 * number] = given[number] * along_x[number] * x_slopes[number]
                found[2 * number + 1] = given[number] * along_y[number] * y_slopes[number]

    @inlined
    def bilinear_four(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        for number in range(count):
            t_x, t_y, first, of_place = across[number], down[number], offsets[number], shifted(given, number * layout)
            if wants_images and _is_place(t_x, t_y):
                bilinear.spread_four(layout, shifted(gradient, first), pitch, t_x, t_y, of_place)
            if wants_places:
                own = shifted(found, 2 * number)
                bilinear.slope_four(layout, shifted(plane, first), pitch, t_x, t_y, of_place, own, shifted(own, 1))
                own[0] *= x_slopes[number]
                own[1] *= y_slopes[number]

    @inlined
    def bilinear_any(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        vectors, sums = channels // lanes, spare
        for number in range(count):
            t_x, t_y, own, first = across[number], down[number], shifted(given, number * channels), offsets[number]
            if wants_images and _is_place(t_x, t_y):
                target = shifted(gradient, first)
                add_product((one - t_y) * (one - t_x), own, target, channels)
                add_product((one - t_y) * t_x, own, shifted(target, held), channels)
                add_product(t_y * (one - t_x), own, shifted(target, pitch), channels)
                add_product(t_y * t_x, own, shifted(target, pitch + held), channels)
            if wants_places:
                a = shifted(plane, first)
                b, c, d = shifted(a, held), shifted(a, pitch), shifted(a, pitch + held)
                bilinear.products(own, a, b, c, d, vectors, sums)
                for channel in range(vectors * lanes, channels):
                    sums[0] += own[channel] * a[channel]
                    sums[1] += own[channel] * b[channel]
                    sums[2] += own[channel] * c[channel]
                    sums[3] += own[channel] * d[channel]
                upper, lower, left, right = sums[1] - sums[0], sums[3] - sums[2], sums[2] - sums[0], sums[3] - sums[1]
                found[2 * number] = (upper + t_y * (lower - upper)) * x_slopes[number]
                found[2 * number + 1] = (left + t_x * (right - left)) * y_slopes[number]

    @inlined
    def bicubic_single(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        for number in range(count):
            weights_x, weights_y = shifted(across, TAPS * number), shifted(down, TAPS * number)
            turns_x, turns_y = shifted(x_slopes, TAPS * number), shifted(y_slopes, TAPS * number)
            if wants_images and _is_place(weights_x[0], weights_y[0]):
                for row in range(TAPS):
                    own, line = given[number] * weights_y[row], shifted(gradient, offsets[number] + row * pitch)
                    for column in range(TAPS):
                        line[column] += own * weights_x[column]
            if wants_places:
                first = shifted(plane, offsets[number])
                found[2 * number] = given[number] * cubic_sum(first, pitch, turns_x, weights_y)
                found[2 * number + 1] = given[number] * cubic_sum(first, pitch, weights_x, turns_y)

    @inlined
    def bicubic_four(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        for number in range(count):
            of_place = shifted(given, number * layout)
            weights_x, weights_y = shifted(across, TAPS * number), shifted(down, TAPS * number)
            if wants_images and _is_place(weights_x[0], weights_y[0]):
                bicubic.spread_four(layout, shifted(gradient, offsets[number]), pitch, weights_x, weights_y, of_place)
            if wants_places:
                own = shifted(found, 2 * number)
                bicubic.slope_four(
                    layout, shifted(plane, offsets[number]), pitch, weights_x, weights_y,
                    shifted(x_slopes, TAPS * number), shifted(y_slopes, TAPS * number), of_place, own, shifted(own, 1),
                )  # fmt: skip

    @inlined
    def bicubic_any(
        gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare, given,
        wants_images, wants_places, found,
    ):  # fmt: skip
        for number in range(count):
            own, weights = shifted(given, number * channels), TAPS * number
            is_place = _is_place(across[weights], down[weights])
            along_x, along_y = own[0] - own[0], own[0] - own[0]
            for row in range(TAPS):
                for column in range(TAPS):
                    start = offsets[number] + row * pitch + column * held
                    if wants_images and is_place:
                        weight = down[weights + row] * across[weights + column]
                        add_product(weight, own, shifted(gradient, start), channels)
                    if wants_places:
                        shown = own[0] * plane[start]
                        for channel in range(1, channels):
                            shown += own[channel] * plane[start + channel]
                        along_x += down[weights + row] * x_slopes[weights + column] * shown
                        along_y += y_slopes[weights + row] * across[weights + column] * shown
            if wants_places:
                found[2 * number], found[2 * number + 1] = along_x, along_y

    few = min(layout, 2)  # 0 for many, 1 for one, 2 for two to four channels
    return {
        "nearest": (nearest, nearest, nearest),
        "bilinear": (bilinear_any, bilinear_single, bilinear_four),
        "bicubic": (bicubic_any, bicubic_single, bicubic_four),
    }[interpolation][few]
