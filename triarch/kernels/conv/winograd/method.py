"""Winograd's convolution among the methods: when it can be used, what its time depends on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from triarch.kernels.conv.batches import rounded_up, with_unit_axes
from triarch.kernels.conv.limits import refuse_machine_code
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd.plan import WinogradKernel
from triarch.kernels.native import registers

LARGEST_TILE = 8  # places of the input, beyond which rounding grows fast


def with_tiles_of(m: int) -> tuple[Callable[..., Any], ...]:
    """The three functions of the method whose tiles have `m` outputs along each axis of several taps."""

    def tile_of(spec: ConvSpec) -> tuple[int, int]:
        rows, columns = with_unit_axes(spec.window.sizes, 2)
        return m if rows > 1 else 1, m if columns > 1 else 1

    def refuse(spec: ConvSpec) -> str | None:
        window = spec.window
        if spec.rank > 2:
            return "tiles of volumes are not computed"
        if max(window.strides) > 1 or max(window.dilation) > 1:
            return f"the window moves by {window.strides} and is dilated by {window.dilation}: tiles need 1"
        if max(window.sizes) == 1:
            return "a window of one place leaves nothing to save"
        if max(window.sizes) + m - 1 > LARGEST_TILE:
            return f"tiles would have more than {LARGEST_TILE} places; here the window is {window.sizes}"
        return refuse_machine_code(spec)

    def count(spec: ConvSpec) -> dict[str, float]:
        tile = tile_of(spec)
        taps, sizes = with_unit_axes(spec.window.sizes, 2), with_unit_axes(spec.output_sizes, 2)
        points = math.prod(places + r - 1 for places, r in zip(tile, taps, strict=True))
        tiles_of_image = math.prod(-(-size // places) for size, places in zip(sizes, tile, strict=True))
        tiles = spec.batch * tiles_of_image
        panel = registers.columns(spec.dtype)
        channels = rounded_up(spec.channels // spec.groups, panel)
        filters = rounded_up(spec.filters // spec.groups, panel)
        each = spec.groups / spec.threads
        counts = {
            "calls": float(spec.groups),
            "products": each * points * tiles * channels * filters,
            "transformed": each * points * tiles * (channels + filters),
            "kernel": each * points * channels * filters,
        }
        if spec.learns:
            own_tiles = spec.groups * spec.images_of_a_thread * tiles_of_image
            counts |= {
                "gradient_calls": float(spec.groups),
                "gradient_products": spec.gradients * points * own_tiles * channels * filters,
                "gradient_transformed": spec.gradients * points * own_tiles * (channels + filters),
                "gradient_kernel": each * points * channels * filters,
            }
        return counts

    def plan(spec: ConvSpec) -> WinogradKernel:
        return WinogradKernel(spec, tile_of(spec))

    return refuse, count, plan
