"""Planes: an image with margins on all sides, so that whatever is read lies in it."""

from __future__ import annotations

from typing import Any

from triarch.kernels.native.runs import add, copy
from triarch.kernels.native.vectors import inlined, shifted
from triarch.kernels.sampling.job import MARGINS
from triarch.kernels.sampling.method import PADDINGS

_ZEROS, _BORDER, _REFLECTION, _MIRROR, _WRAP = range(len(PADDINGS))


@inlined
def _pixel(padding, number, size):
    """The pixel that a number stands for which need not be a pixel's."""
    if padding == _BORDER:
        return min(max(number, 0), size - 1)
    if padding == _REFLECTION:
        number = number % (2 * size)
        return number if number < size else 2 * size - 1 - number
    if padding == _MIRROR:
        span = max(2 * (size - 1), 1)
        number = number % span
        return number if number < size else span - number
    return number % size


def _has_margins_of(interpolation: str) -> Any:
    """Whether anything but zeros lies in the margins that are read."""
    is_cubic = interpolation == "bicubic"

    @inlined
    def has_margins(padding):
        return padding == _WRAP or (is_cubic and padding != _ZEROS)

    return has_margins


def move_of(interpolation: str, layout: int, is_filled: bool) -> Any:
    """A function that lays an image into a plane, whose margins hold zeros; or writes what lies in one to an image.

    What lies in margins stands for pixels: it is theirs on the way in, and added to theirs on the way out.
    """
    margin, has_margins = MARGINS[interpolation], _has_margins_of(interpolation)

    @inlined
    def move_row(of_image, of_plane, width, channels, held):
        if held == channels:
            if is_filled:
                copy(of_image, of_plane, width * channels)
            else:
                copy(of_plane, of_image, width * channels)
        else:
            for column in range(width):
                for channel in range(layout):  # a constant: no loop is left
                    if is_filled:
                        of_plane[column * held + channel] = of_image[column * layout + channel]
                    else:
                        of_image[column * layout + channel] = of_plane[column * held + channel]

    @inlined
    def move(job, image, plane):
        height, width, channels, held, pitch = job.height, job.width, job.channels, job.held, job.pitch
        for row in range(height):
            own = shifted(plane, (row + margin) * pitch + margin * held)
            move_row(shifted(image, row * width * channels), own, width, channels, held)
        if has_margins(job.padding):
            for row in range(-margin, height + margin):
                line = shifted(image, _pixel(job.padding, row, height) * width * channels)
                for column in range(-margin, width + margin):
                    if not (0 <= row < height and 0 <= column < width):
                        outside = shifted(plane, (row + margin) * pitch + (column + margin) * held)
                        pixel = shifted(line, _pixel(job.padding, column, width) * channels)
                        if is_filled:
                            copy(pixel, outside, channels)
                        else:
                            add(outside, pixel, channels)

    return move


@inlined
def join_pairs(plane, size):
    """Make numbers of a plane of pairs: a place gets what it was given as a left pixel, and as a right one."""
    for place in range(1, size):
        plane[place] = plane[2 * place] + plane[2 * place - 1]
