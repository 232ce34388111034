"""What the kernels of sampling are told: addresses, and sizes in numbers."""

from __future__ import annotations

import numpy as np

CHUNK = 256  # places that are read at a time; whole vectors
TAPS = 4  # of an axis, at most
MARGINS = {"nearest": 2, "bilinear": 2, "bicubic": 4}  # of a plane, on all sides: no tap lies beyond

FOLDS = ("none", "turned", "again")  # what becomes of a place outside: an image turned over at its ends, or repeated

_FIELDS = (
    "images",  # (batch, height, width, channels)
    "places",  # (batch, out_height, out_width, 2): x and y, which scale and shift make pixels
    "outputs",  # (batch, out_height, out_width, channels)
    "output_gradient",  # as the outputs
    *("images_gradient", "places_gradient"),  # as images and places; may be 0
    *("batch", "height", "width", "channels", "out_height", "out_width"),
    *("held", "pitch"),  # numbers of a pixel in a plane, and from row to row of it
    *("padding", "fold"),  # their numbers in `PADDINGS` and `FOLDS`
    *("planes", "plane_step"),  # of each thread: an image with its margins, and one of gradients
    *("offsets", "numbers"),  # of each thread: what is known of a chunk of places, see `OFFSETS` and `NUMBERS`
)
_FACTORS = (
    *("x_scale", "x_shift", "y_scale", "y_shift"),
    *("x_low", "x_high", "y_low", "y_high"),  # in pixels; farther out there are but equal numbers
    *("edge", "x_span", "y_span"),  # of what is folded: how far before the first pixel it begins, and how long it is
)
JOB = np.dtype([(name, np.int64) for name in _FIELDS] + [(name, np.float64) for name in _FACTORS])

OFFSETS = 2 * CHUNK  # int32 of a thread: first pixels, row by row in the plane; rows alone
NUMBERS = (4 * TAPS + 4) * CHUNK  # of a thread: weights and slopes of both axes, results, and padded gradients


def bounds(interpolation: str, padding: str, size: int) -> tuple[float, float, float]:
    """Of an axis: the lowest and the highest place that is read, and the length of what is folded."""
    span = {"mirror": max(size - 1, 1), "reflection": size, "wrap": size}.get(padding, 1)
    if padding == "wrap":
        return 0.0, size, span
    if interpolation == "bicubic":
        return -2.0, size + 1.0, span
    return (-1.5, size + 0.5, span) if padding == "zeros" else (0.0, size - 1.0, span)


def held_channels(channels: int) -> int:
    """Numbers of a pixel in a plane."""
    return 4 if 1 < channels < 4 else channels


def layout_of(channels: int) -> int:
    """The channels that a kernel is made for: up to 4; 0 for any other number."""
    return channels if channels <= 4 else 0


def has_pairs(interpolation: str, layout: int) -> bool:
    """Whether gradients of images are added up in pairs of neighbouring pixels."""
    return interpolation == "bilinear" and layout == 1
