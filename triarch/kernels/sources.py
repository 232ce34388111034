"""The kernels that are compiled ahead where that is wanted: those of the sizes that networks have."""

from __future__ import annotations

from triarch.kernels.conv.depthwise import plan as depthwise
from triarch.kernels.conv.narrow import plan as narrow
from triarch.kernels.conv.patches import plan as patches
from triarch.kernels.conv.winograd import plan as winograd
from triarch.kernels.conv.winograd_depthwise import plan as winograd_depthwise
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import MEMBER
from triarch.kernels.normalization import lines as normalization
from triarch.kernels.perceptron import plan as perceptron

_TILES = (
    (2, 3, 2, 3),
    (4, 3, 4, 3),
    (2, 5, 2, 5),
    (4, 5, 4, 5),
    (1, 1, 2, 3),
    (1, 1, 4, 3),
    (1, 1, 2, 5),
    (1, 1, 4, 5),
)


def kernel_sources(dtype: str = "float32") -> list[Source]:
    """All of them, for numbers of a type."""
    return [
        MEMBER,
        *(narrow.source(function, dtype) for function in narrow.FUNCTIONS),
        *(patches.source(function, dtype) for function in patches.FUNCTIONS),
        *(depthwise.source(function, dtype) for function in depthwise.FUNCTIONS),
        *(winograd_depthwise.source(function, dtype) for function in winograd_depthwise.FUNCTIONS),
        *(winograd.source(function, dtype, *tile) for tile in _TILES for function in winograd.FUNCTIONS),
        *(normalization.source(function, dtype) for function in normalization.FUNCTIONS),
        perceptron.source(dtype),
    ]
