"""The methods of a layer's convolution, in three functions each, as those of `triarch.convolution` are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from triarch.kernels.conv.depthwise import method as depthwise
from triarch.kernels.conv.methods import direct, fourier
from triarch.kernels.conv.narrow import method as narrow
from triarch.kernels.conv.patches import method as patches
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd import method as winograd
from triarch.kernels.conv.winograd_depthwise import method as winograd_depthwise

Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # inputs, kernel, bias -> outputs


@dataclass(frozen=True, slots=True)
class Method:
    """A way to convolve.

    Args:
        refuse: Why it cannot do a convolution; None where it can.
        count: What its time depends on.
        plan: What computes it.
    """

    refuse: Callable[[ConvSpec], str | None]
    count: Callable[[ConvSpec], dict[str, float]]
    plan: Callable[[ConvSpec], Convolve]


METHODS = {
    "direct": Method(direct.refuse, direct.count, direct.plan),
    "narrow": Method(narrow.refuse, narrow.count, narrow.plan),
    "patches": Method(patches.refuse, patches.count, patches.plan),
    "depthwise": Method(depthwise.refuse, depthwise.count, depthwise.plan),
    "fourier": Method(fourier.refuse, fourier.count, fourier.plan),
    "winograd_2": Method(*winograd.with_tiles_of(2)),
    "winograd_4": Method(*winograd.with_tiles_of(4)),
    "winograd_depthwise": Method(winograd_depthwise.refuse, winograd_depthwise.count, winograd_depthwise.plan),
}
