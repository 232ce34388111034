"""Sampling, forward and backward, a chunk of places after the other.

On the way back each thread has images of its own: sums are made in the same order always.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray

from triarch.kernels.native.runs import zero
from triarch.kernels.native.vectors import at, inlined, lanes_of, shifted
from triarch.kernels.sampling.job import CHUNK, MARGINS, NUMBERS, OFFSETS, TAPS, has_pairs
from triarch.kernels.sampling.plane import join_pairs, move_of
from triarch.kernels.sampling.positions import write_both_of, write_cubic_of, write_pixels_of
from triarch.kernels.sampling.reading import read_of
from triarch.kernels.sampling.spreading import spread_of


def _locate_of(dtype: str, interpolation: str, lanes: int, has_slopes: bool) -> Any:
    """A function that finds out where a chunk of places reads."""
    write_pixels, write_cubic = write_pixels_of(dtype), write_cubic_of(dtype)
    write_both = write_both_of(dtype, interpolation, has_slopes)
    margin, is_cubic = MARGINS[interpolation], interpolation == "bicubic"
    before = np.int32(margin - 1 if is_cubic else margin)

    @inlined
    def locate(job, places, count, held, offsets, across, down, x_slopes, y_slopes, spare):
        """Write offsets of first pixels, and of both axes parts of the way or weights, and slopes."""
        pitch, step = np.int32(job.pitch), np.int32(held)
        if is_cubic:
            rows, parts, turns = shifted(offsets, CHUNK), spare, shifted(spare, CHUNK)
            x_axis = job.x_scale, job.x_shift, job.x_low, job.x_high, job.x_span
            y_axis = job.y_scale, job.y_shift, job.y_low, job.y_high, job.y_span
            write_pixels(job, places, 0, x_axis, count, offsets, parts, turns)
            write_cubic(count, parts, turns, across, x_slopes)
            write_pixels(job, places, 1, y_axis, count, rows, parts, turns)
            write_cubic(count, parts, turns, down, y_slopes)
            for number in range(count):
                offsets[number] = (rows[number] + before) * pitch + (offsets[number] + before) * step
        else:
            write_both(job, places, count, before, pitch, step, offsets, across, down, x_slopes, y_slopes)
        for number in range(count, (count + lanes - 1) // lanes * lanes):
            offsets[number] = 0

    return locate


def forward(dtype: str, interpolation: str, layout: int) -> Callable[..., None]:
    """The outputs; a thread has a part of the places of all images."""
    lanes, margin = lanes_of(dtype), MARGINS[interpolation]
    locate = _locate_of(dtype, interpolation, lanes, has_slopes=False)
    fill = move_of(interpolation, layout, is_filled=True)
    read = read_of(interpolation, layout, lanes)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        channels, held, pitch = job.channels, job.held, job.pitch
        image_size, places_of_image = job.height * job.width * channels, job.out_height * job.out_width
        plane = shifted(at(dtype, job.planes), thread * job.plane_step)
        offsets = shifted(at("int32", job.offsets), thread * OFFSETS)
        across = shifted(at(dtype, job.numbers), thread * NUMBERS)
        down, x_slopes = shifted(across, TAPS * CHUNK), shifted(across, 2 * TAPS * CHUNK)
        y_slopes, spare = shifted(across, 3 * TAPS * CHUNK), shifted(across, 4 * TAPS * CHUNK)
        zero(plane, (job.height + 2 * margin) * pitch)
        position, image = job.batch * places_of_image * thread // threads, -1
        last = job.batch * places_of_image * (thread + 1) // threads
        while position < last:
            if position // places_of_image != image:
                image = position // places_of_image
                fill(job, shifted(at(dtype, job.images), image * image_size), plane)
            count = min(CHUNK, last - position, (image + 1) * places_of_image - position)
            places = shifted(at(dtype, job.places), 2 * position)
            locate(job, places, count, held, offsets, across, down, x_slopes, y_slopes, spare)
            target = shifted(at(dtype, job.outputs), position * channels)
            read(plane, pitch, held, channels, count, offsets, across, down, spare, target)
            position += count

    return kernel


def backward(dtype: str, interpolation: str, layout: int) -> Callable[..., None]:
    """The gradients of images and of places."""
    lanes, margin = lanes_of(dtype), MARGINS[interpolation]
    locate = _locate_of(dtype, interpolation, lanes, has_slopes=True)
    spread = spread_of(interpolation, layout, lanes, dtype)
    in_pairs = has_pairs(interpolation, layout)
    fill, collect = (move_of(interpolation, layout, is_filled) for is_filled in (True, False))

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        channels, held, pitch = job.channels, job.held, job.pitch
        image_size, places_of_image = job.height * job.width * channels, job.out_height * job.out_width
        size = (job.height + 2 * margin) * pitch
        plane = shifted(at(dtype, job.planes), thread * job.plane_step)
        gradient = shifted(plane, size)
        offsets = shifted(at("int32", job.offsets), thread * OFFSETS)
        across = shifted(at(dtype, job.numbers), thread * NUMBERS)
        down, x_slopes = shifted(across, TAPS * CHUNK), shifted(across, 2 * TAPS * CHUNK)
        y_slopes, spare = shifted(across, 3 * TAPS * CHUNK), shifted(across, 4 * TAPS * CHUNK)
        wants_images, wants_places = job.images_gradient != 0, job.places_gradient != 0
        zero(plane, size)
        for image in range(job.batch * thread // threads, job.batch * (thread + 1) // threads):
            if wants_places:
                fill(job, shifted(at(dtype, job.images), image * image_size), plane)
            if wants_images:
                zero(gradient, 2 * size if in_pairs else size)
            for start in range(0, places_of_image, CHUNK):
                count, position = min(CHUNK, places_of_image - start), image * places_of_image + start
                places = shifted(at(dtype, job.places), 2 * position)
                given = shifted(at(dtype, job.output_gradient), position * channels)
                found = shifted(at(dtype, job.places_gradient), 2 * position)
                locate(job, places, count, held, offsets, across, down, x_slopes, y_slopes, spare)
                spread(
                    gradient, plane, pitch, held, channels, count, offsets, across, down, x_slopes, y_slopes, spare,
                    given, wants_images, wants_places, found,
                )  # fmt: skip
            if wants_images:
                if in_pairs:
                    join_pairs(gradient, size)
                collect(job, shifted(at(dtype, job.images_gradient), image * image_size), gradient)

    return kernel
