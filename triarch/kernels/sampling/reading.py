"""What a chunk of places reads from a plane, for each interpolation and layout of pixels."""

from __future__ import annotations

from typing import Any

from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import inlined, shifted
from triarch.kernels.sampling import bicubic, bilinear
from triarch.kernels.sampling.job import TAPS


@inlined
def add_product(weight, source, target, count):
    """Add `weight` times the source to the target."""
    for number in range(count):
        target[number] += weight * source[number]


@inlined
def cubic_sum(first, pitch, across, down):
    """The weighted sum of four rows of four single numbers."""
    total = down[0] * _line_sum(first, across)
    for row in range(1, TAPS):
        total += down[row] * _line_sum(shifted(first, row * pitch), across)
    return total


@inlined
def _line_sum(line, weights):
    return weights[0] * line[0] + weights[1] * line[1] + (weights[2] * line[2] + weights[3] * line[3])


def read_of(interpolation: str, layout: int, lanes: int) -> Any:
    """A function that writes what a chunk reads to `target`, `channels` numbers for each place."""

    @inlined
    def nearest_single(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            # The parts of the way are 0; or NaN, for what is no place.
            target[number] = plane[offsets[number]] + (across[number] + down[number])

    @inlined
    def nearest(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            shown, own, first = across[number] + down[number], shifted(target, number * channels), offsets[number]
            for channel in range(layout if layout else channels):
                own[channel] = plane[first + channel] + shown

    @inlined
    def bilinear_single(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(0, count, lanes):
            bilinear.sample_lanes(
                plane, pitch, shifted(offsets, number), shifted(across, number), shifted(down, number),
                shifted(spare, number),
            )  # fmt: skip
        copy(spare, target, count)

    @inlined
    def bilinear_four(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            first, own = shifted(plane, offsets[number]), shifted(target, number * layout)
            bilinear.sample_four(layout, first, pitch, across[number], down[number], own)

    @inlined
    def bilinear_any(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            t_x, t_y, own = across[number], down[number], shifted(target, number * channels)
            a = shifted(plane, offsets[number])
            b, c, d = shifted(a, held), shifted(a, pitch), shifted(a, pitch + held)
            for channel in range(channels):
                upper = a[channel] + t_x * (b[channel] - a[channel])
                lower = c[channel] + t_x * (d[channel] - c[channel])
                own[channel] = upper + t_y * (lower - upper)

    @inlined
    def bicubic_single(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            weights = TAPS * number
            target[number] = cubic_sum(
                shifted(plane, offsets[number]), pitch, shifted(across, weights), shifted(down, weights)
            )

    @inlined
    def bicubic_four(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            first, weights = shifted(plane, offsets[number]), TAPS * number
            bicubic.sample_four(
                layout, first, pitch, shifted(across, weights), shifted(down, weights), shifted(target, number * layout)
            )  # fmt: skip

    @inlined
    def bicubic_any(plane, pitch, held, channels, count, offsets, across, down, spare, target):
        for number in range(count):
            own, first = shifted(target, number * channels), shifted(plane, offsets[number])
            zero(own, channels)
            for row in range(TAPS):
                for column in range(TAPS):
                    weight = down[TAPS * number + row] * across[TAPS * number + column]
                    add_product(weight, shifted(first, row * pitch + column * held), own, channels)

    few = min(layout, 2)  # 0 for many, 1 for one, 2 for two to four channels
    return {
        "nearest": (nearest, nearest_single, nearest),
        "bilinear": (bilinear_any, bilinear_single, bilinear_four),
        "bicubic": (bicubic_any, bicubic_single, bicubic_four),
    }[interpolation][few]
