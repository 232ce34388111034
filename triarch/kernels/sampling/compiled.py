"""Sampling, forward and backward: each thread has images of its own, so that sums are made in the same order always."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray

from triarch.kernels.native.runs import zero
from triarch.kernels.native.vectors import at, inlined, shifted
from triarch.kernels.sampling.axis import pair_of, taps_of
from triarch.kernels.sampling.job import TAPS


@inlined
def _fill_nan(target, count):
    for number in range(count):
        target[number] = math.nan


@inlined
def _add_product(weight, source, target, count):
    for number in range(count):
        target[number] += weight * source[number]


@inlined
def _dot(first, second, count, total):
    for number in range(count):
        total += first[number] * second[number]
    return total


def forward(dtype: str, interpolation: str, padding: str) -> Callable[..., None]:
    """The outputs."""
    real: Any = getattr(np, dtype)
    is_pair, pair, write_taps = interpolation == "bilinear", pair_of(padding), taps_of(interpolation, padding)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        channels, row_size = job.channels, job.width * job.channels
        places_of_image = job.out_height * job.out_width
        pixels = shifted(at("int64", job.pixels), thread * 2 * TAPS)
        weights = shifted(at("float64", job.weights), thread * 2 * TAPS)
        slopes = shifted(at("float64", job.slopes), thread * 2 * TAPS)
        count = job.batch * places_of_image
        for number in range(count * thread // threads, count * (thread + 1) // threads):
            image = shifted(at(dtype, job.images), number // places_of_image * job.height * row_size)
            place, target = (
                shifted(at(dtype, job.places), 2 * number),
                shifted(at(dtype, job.outputs), number * channels),
            )
            x, y = 1.0 * place[0], 1.0 * place[1]
            if not (math.isfinite(x) and math.isfinite(y)):
                _fill_nan(target, channels)
                continue
            if is_pair:
                left, right, in_left, in_right, _, _ = pair(x, job.width)
                upper, lower, in_upper, in_lower, _, _ = pair(y, job.height)
                w_0, w_1 = real(in_upper * in_left), real(in_upper * in_right)
                w_2, w_3 = real(in_lower * in_left), real(in_lower * in_right)
                a = shifted(image, upper * row_size + left * channels)
                b = shifted(image, upper * row_size + right * channels)
                c = shifted(image, lower * row_size + left * channels)
                d = shifted(image, lower * row_size + right * channels)
                for channel in range(channels):
                    target[channel] = w_0 * a[channel] + w_1 * b[channel] + (w_2 * c[channel] + w_3 * d[channel])
                continue
            taps = write_taps(x, job.width, pixels, weights, slopes)
            write_taps(y, job.height, shifted(pixels, TAPS), shifted(weights, TAPS), shifted(slopes, TAPS))
            zero(target, channels)
            for tap in range(taps * taps):
                down, across = TAPS + tap // taps, tap % taps
                source = shifted(image, pixels[down] * row_size + pixels[across] * channels)
                _add_product(real(weights[down] * weights[across]), source, target, channels)

    return kernel


def backward(dtype: str, interpolation: str, padding: str) -> Callable[..., None]:
    """The gradients of images and of places."""
    real: Any = getattr(np, dtype)
    has_slopes, write_taps = interpolation != "nearest", taps_of(interpolation, padding)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        channels, row_size = job.channels, job.width * job.channels
        places_of_image = job.out_height * job.out_width
        pixels = shifted(at("int64", job.pixels), thread * 2 * TAPS)
        weights = shifted(at("float64", job.weights), thread * 2 * TAPS)
        slopes = shifted(at("float64", job.slopes), thread * 2 * TAPS)
        down_pixels, down_weights, down_slopes = shifted(pixels, TAPS), shifted(weights, TAPS), shifted(slopes, TAPS)
        wants_images, wants_places = job.images_gradient != 0, job.places_gradient != 0
        for number in range(job.batch * thread // threads, job.batch * (thread + 1) // threads):
            image = shifted(at(dtype, job.images), number * job.height * row_size)
            image_gradient = shifted(at(dtype, job.images_gradient), number * job.height * row_size)
            if wants_images:
                zero(image_gradient, job.height * row_size)
            for position in range(number * places_of_image, (number + 1) * places_of_image):
                place = shifted(at(dtype, job.places), 2 * position)
                place_gradient = shifted(at(dtype, job.places_gradient), 2 * position)
                given = shifted(at(dtype, job.output_gradient), position * channels)
                x, y = 1.0 * place[0], 1.0 * place[1]
                if not (math.isfinite(x) and math.isfinite(y)):
                    if wants_places:
                        _fill_nan(place_gradient, 2)
                    continue
                taps = write_taps(x, job.width, pixels, weights, slopes)
                write_taps(y, job.height, down_pixels, down_weights, down_slopes)
                along_x, along_y = 0.0, 0.0
                for down in range(taps):
                    for across in range(taps):
                        start = down_pixels[down] * row_size + pixels[across] * channels
                        if wants_images:
                            weight = real(down_weights[down] * weights[across])
                            _add_product(weight, given, shifted(image_gradient, start), channels)
                        if wants_places and has_slopes:
                            shown = _dot(given, shifted(image, start), channels, real(0.0))
                            along_x += down_weights[down] * slopes[across] * shown
                            along_y += down_slopes[down] * weights[across] * shown
                if wants_places:
                    place_gradient[0], place_gradient[1] = real(along_x), real(along_y)

    return kernel
