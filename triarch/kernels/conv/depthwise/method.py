"""The depthwise sum among the methods: when it can be used, what its time depends on."""

from __future__ import annotations

import math

from triarch.kernels.conv.batches import rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise.job import FEW, MANY, is_in_pairs, taps_held
from triarch.kernels.conv.depthwise.plan import DepthwiseKernel
from triarch.kernels.conv.limits import refuse_machine_code
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if not spec.groups == spec.channels == spec.filters:
        return f"{spec.channels} channels and {spec.filters} filters in {spec.groups} groups are not one filter each"
    if spec.rank > 2:
        return "planes of volumes are not computed"
    return refuse_machine_code(spec)


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    channels = spec.batch * rounded_up(spec.channels, registers.lanes(spec.dtype))
    taps, sizes, outputs = (with_unit_axes(values, 2) for values in (spec.window.sizes, spec.sizes, spec.output_sizes))
    strides, dilation = (with_unit_axes(values, 2) for values in (spec.window.strides, spec.window.dilation))
    each = channels / spec.threads
    pairs = is_in_pairs(taps[0], dilation[0])
    rows = taps[0] + (pairs and strides[0] == 1)  # those of zeros as well
    places = rounded_up(outputs[1], MANY)
    counts = {
        "calls": 1.0,
        "products": each * rows * taps[1] * outputs[0] * places,
        "sums": each * rows * outputs[0] * places / MANY,
        "numbers": each * (math.prod(sizes) + math.prod(outputs)),
    }
    if spec.learns:
        columns, held = rounded_up(sizes[1], MANY), taps_held(taps[1])
        back = 0 if spec.is_first else (taps[0] + pairs) * sizes[0]  # rows of the inputs' gradient
        at_a_time = FEW if held == FEW else MANY
        counts |= {
            "gradient_calls": 1.0,
            "gradient_products": each * (back * taps[1] * columns + taps[0] * held * math.prod(outputs)),
            "gradient_sums": each * (back * columns / MANY + taps[0] * outputs[0] * held / at_a_time),
            "gradient_numbers": spec.gradients * each * (math.prod(sizes) + math.prod(outputs)),
        }
    return counts


def plan(spec: ConvSpec) -> DepthwiseKernel:
    """What computes it."""
    return DepthwiseKernel(spec)
