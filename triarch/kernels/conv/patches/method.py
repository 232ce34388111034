"""The product of patches among the methods: when it can be used, what its time depends on."""

from __future__ import annotations

import math

from triarch.kernels.conv.batches import rounded_up
from triarch.kernels.conv.limits import refuse_machine_code
from triarch.kernels.conv.patches.plan import PatchesKernel
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    return refuse_machine_code(spec)


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    panel, groups = registers.columns(spec.dtype), spec.groups
    depth = math.prod(spec.window.sizes) * spec.channels // groups
    places = spec.batch * math.prod(spec.output_sizes)
    filters = rounded_up(spec.filters // groups, panel)
    held = rounded_up(depth, panel)
    each = groups / spec.threads
    counts = {
        "calls": float(groups),
        "products": each * places * filters * depth,
        "numbers": each * places * (depth + filters),
        "rows": each * places * math.prod(spec.window.sizes[:-1]),
    }
    if spec.learns:
        own_places = groups * spec.images_of_a_thread * math.prod(spec.output_sizes)
        counts |= {
            "gradient_calls": float(groups),
            "gradient_products": spec.gradients * own_places * filters * held,
            "gradient_numbers": spec.gradients * own_places * (held + filters),
            "gradient_rows": spec.gradients * own_places * math.prod(spec.window.sizes[:-1]),
        }
    return counts


def plan(spec: ConvSpec) -> PatchesKernel:
    """What computes it."""
    return PatchesKernel(spec)
