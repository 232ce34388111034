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
    chunks, pairs = -(-taps[1] // CHUNK), is_in_pairs(taps[0], 1)
    tiles, gradient_tiles = tiles_of(outputs[1], taps[0]), tiles_of(sizes[1], taps[0])
    rows = taps[0] + pairs  # that of zeros as well
    counts = {
        "calls": 1.0,
        "products": each * POINTS * rows * chunks * outputs[0] * tiles,
        "transformed": each * POINTS * ((outputs[0] + taps[0] - 1) * (tiles + chunks - 1) + outputs[0] * tiles),
        "numbers": each * (math.prod(sizes) + math.prod(outputs)),
    }
    if spec.learns:
        seen = (sizes[0] + taps[0] - 1) * (gradient_tiles + chunks - 1) + (outputs[0] + taps[0] - 1) * (
            tiles + chunks - 1
        )
        counts |= {
            "gradient_calls": 1.0,
            "gradient_products": each
            * POINTS
            * chunks
            * (rows * sizes[0] * gradient_tiles + taps[0] * outputs[0] * tiles),
            "gradient_transformed": each * POINTS * (seen + outputs[0] * tiles + sizes[0] * gradient_tiles),
            "gradient_numbers": 2 * each * (math.prod(sizes) + math.prod(outputs)),
        }
    return counts


def plan(spec: ConvSpec) -> WinogradDepthwiseKernel:
    """What computes it."""
    return WinogradDepthwiseKernel(spec)
