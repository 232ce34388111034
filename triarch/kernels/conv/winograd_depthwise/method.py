"""Depthwise convolution by tiles among the methods: when it can be used, what its time depends on."""

from __future__ import annotations

import math

from triarch.kernels.conv.batches import rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise import method as depthwise
from triarch.kernels.conv.depthwise.job import is_in_pairs
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd_depthwise.job import CHUNK, POINTS
from triarch.kernels.conv.winograd_depthwise.plan import WinogradDepthwiseKernel, tiles_of
from triarch.kernels.native import registers


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    window = spec.window
    if max(window.strides) > 1 or max(window.dilation) > 1:
        return f"the window moves by {window.strides} and is dilated by {window.dilation}: tiles need 1"
    if window.sizes[-1] < CHUNK:
        return f"a row of {window.sizes[-1]} taps is no chunk of {CHUNK}"
    return depthwise.refuse(spec)


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    each = spec.batch * rounded_up(spec.channels, registers.lanes(spec.dtype)) / spec.threads
    taps, sizes, outputs = (with_unit_axes(values, 2) for values in (spec.window.sizes, spec.sizes, spec.output_sizes))
    chunks, rows = -(-taps[1] // CHUNK), taps[0] + is_in_pairs(taps[0], 1)  # rows with that of zeros
    tiles, gradient_tiles = tiles_of(outputs[1], taps[0]), tiles_of(sizes[1], taps[0])
    seen = (outputs[0] + taps[0] - 1) * (tiles + chunks - 1)
    made = outputs[0] * tiles
    points, numbers = each * POINTS, each * (math.prod(sizes) + math.prod(outputs))
    counts = {
        "calls": 1.0,
        "products": points * chunks * rows * made,
        "transformed": points * (seen + made),
        "numbers": numbers,
    }
    if spec.learns:
        gradient_seen = (sizes[0] + taps[0] - 1) * (gradient_tiles + chunks - 1)
        back = spec.gradients - 1
        gradient_made = sizes[0] * gradient_tiles
        counts |= {
            "gradient_calls": 1.0,
            "gradient_products": points * chunks * (back * rows * gradient_made + taps[0] * made),
            "gradient_transformed": points * (seen + made + back * (gradient_seen + gradient_made)),
            "gradient_numbers": spec.gradients * numbers,
        }
    return counts


def plan(spec: ConvSpec) -> WinogradDepthwiseKernel:
    """What computes it."""
    return WinogradDepthwiseKernel(spec)
