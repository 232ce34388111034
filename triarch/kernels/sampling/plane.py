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


def fill_of(interpolation: str, layout: int) -> Any:
    """A function that lays an image into a plane, which holds zeros where nothing was laid."""
    margin, has_margins = MARGINS[interpolation], _has_margins_of(interpolation)

    @inlined
    def fill(job, image, held, plane):
        height, width, channels = job.height, job.width, job.channels
        pitch = (width + 2 * margin) * held
        for row in range(height):
            source = shifted(image, row * width * channels)
            target = shifted(plane, (row + margin) * pitch + margin * held)
            if held == channels:
                copy(source, target, width * channels)
            else:
                for column in range(width):
                    for channel in range(layout):  # a constant: no loop is left
                        target[column * held + channel] = source[column * layout + channel]
        if has_margins(job.padding):
            for row in range(-margin, height + margin):
                line = shifted(image, _pixel(job.padding, row, height) * width * channels)
                for column in range(-margin, width + margin):
                    if not (0 <= row < height and 0 <= column < width):
                        target = shifted(plane, (row + margin) * pitch + (column + margin) * held)
                        copy(shifted(line, _pixel(job.padding, column, width) * channels), target, channels)

    return fill


def collect_of(interpolation: str, layout: int) -> Any:
    """A function that writes what lies in a plane to an image; what lies in the margins is added."""
    margin, has_margins = MARGINS[interpolation], _has_margins_of(interpolation)

    @inlined
    def collect(job, plane, held, image):
        height, width, channels = job.height, job.width, job.channels
        pitch = (width + 2 * margin) * held
        for row in range(height):
            source = shifted(plane, (row + margin) * pitch + margin * held)
            target = shifted(image, row * width * channels)
            if held == channels:
                copy(source, target, width * channels)
            else:
                for column in range(width):
                    for channel in range(layout):
                        target[column * layout + channel] = source[column * held + channel]
        if has_margins(job.padding):
            for row in range(-margin, height + margin):
                line = shifted(image, _pixel(job.padding, row, height) * width * channels)
                for column in range(-margin, width + margin):
                    if not (0 <= row < height and 0 <= column < width):
                        source = shifted(plane, (row + margin) * pitch + (column + margin) * held)
                        add(source, shifted(line, _pixel(job.padding, column, width) * channels), channels)

    return collect
