"""The vendor's convolution with a gradient for few channels among the methods: when it can be used, what it costs."""

from __future__ import annotations

import math

from triarch.kernels.conv.batches import rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise.job import MANY
from triarch.kernels.conv.limits import refuse_machine_code
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.narrow.plan import NarrowKernel
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers

_CHANNELS = 8  # with so many the vendor's own gradient is as fast


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.gradients < 2:
        return "no gradient of the inputs is wanted, in which alone it differs from 'direct'"
    if spec.channels >= _CHANNELS or spec.groups > 1:
        return f"{spec.channels} channels in {spec.groups} groups are not fewer than {_CHANNELS} in one"
    if spec.rank > 2:
        return "gradients of volumes are not computed"
    if max(spec.window.strides) > 1:
        return f"windows are {spec.window.strides} places apart, not one"
    return refuse_machine_code(spec)


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    counts = {name: number for name, number in direct.count(spec).items() if "input_gradient" not in name}
    lanes, sizes = registers.lanes(spec.dtype), with_unit_axes(spec.sizes, 2)
    filters = rounded_up(spec.filters, lanes)
    places = spec.images_of_a_thread * sizes[0] * rounded_up(sizes[1], max(MANY, lanes))
    taps = math.prod(spec.window.sizes)
    return counts | {
        "input_products": places * spec.channels * filters * taps,
        "input_sums": places * spec.channels * lanes,
        "input_numbers": spec.images_of_a_thread * math.prod(spec.output_sizes) * filters,
    }


def plan(spec: ConvSpec) -> NarrowKernel:
    """What computes it."""
    return NarrowKernel(spec)
