"""The depthwise sum among the methods: when it can be used, what its time depends on."""

from __future__ import annotations

import math

from triarch.kernels.conv.batches import rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise.job import SUMS, TAPS
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
    each = channels / spec.threads
    places = rounded_up(outputs[1], SUMS)
    counts = {
        "calls": 1.0,
        "products": each * math.prod(taps) * outputs[0] * places,
        "sums": each * taps[0] * outputs[0] * places / SUMS,
        "numbers": each * (math.prod(sizes) + math.prod(outputs)),
    }
    if spec.learns:
        columns, held = rounded_up(sizes[1], SUMS), rounded_up(taps[1], TAPS)
        counts |= {
            "gradient_calls": 1.0,
            "gradient_products": each * taps[0] * (taps[1] * sizes[0] * columns + held * math.prod(outputs)),
            "gradient_sums": each * taps[0] * (sizes[0] * columns / SUMS + outputs[0] * held / TAPS),
            "gradient_numbers": 2 * each * (math.prod(sizes) + math.prod(outputs)),
        }
    return counts


def plan(spec: ConvSpec) -> DepthwiseKernel:
    """What computes it."""
    return DepthwiseKernel(spec)
