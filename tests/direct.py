"""Convolution and pooling straight from their definitions, in double precision: the truth of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Sizes = Sequence[int]


def windows(
    images: np.ndarray, sizes: Sizes, strides: Sizes, dilation: Sizes, padding: str, fill: float
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Every output place with what the window sees there: (batch, *sizes, channels), `fill` in the margins."""
    spatial = images.shape[1:-1]
    spans = [(size - 1) * rate + 1 for size, rate in zip(sizes, dilation, strict=True)]
    if padding == "valid":
        counts = [(n - span) // stride + 1 for n, span, stride in zip(spatial, spans, strides, strict=True)]
        before = [0] * len(spatial)
    else:
        counts = [-(-n // stride) for n, stride in zip(spatial, strides, strict=True)]
        totals = [
            max((count - 1) * stride + span - n, 0)
            for n, count, stride, span in zip(spatial, counts, strides, spans, strict=True)
        ]
        before = [span - 1 for span in spans] if padding == "causal" else [total // 2 for total in totals]
    room = [(0, 0), *((b, max(spans) + max(strides)) for b in before), (0, 0)]
    padded = np.pad(images.astype(np.float64), room, constant_values=fill)
    for place in np.ndindex(*counts):
        starts = [index * stride for index, stride in zip(place, strides, strict=True)]
        cut = [slice(s, s + span, rate) for s, span, rate in zip(starts, spans, dilation, strict=True)]
        yield place, padded[(slice(None), *cut, slice(None))]


def convolve(
    images: np.ndarray, kernel: np.ndarray, strides: Sizes, dilation: Sizes, padding: str, groups: int = 1
) -> np.ndarray:
    """`out[n, place, f]` = sum over the window and the channels of f's group of input times kernel."""
    *sizes, group_channels, filters = kernel.shape
    found = {}
    for place, seen in windows(images, sizes, strides, dilation, padding, 0.0):
        parts = [
            np.tensordot(seen[..., g * group_channels : (g + 1) * group_channels], part, len(sizes) + 1)
            for g, part in enumerate(np.split(kernel.astype(np.float64), groups, axis=-1))
        ]
        found[place] = np.concatenate(parts, -1)
    return _assembled(found, len(images), filters)


def pool(images: np.ndarray, sizes: Sizes, strides: Sizes, padding: str, statistic: str) -> np.ndarray:
    """The largest number, or the mean, of what the window sees of the input itself."""
    reduce: Callable[..., np.ndarray] = {"max": np.nanmax, "average": np.nanmean}[statistic]
    ones = (1,) * len(sizes)
    axes = tuple(range(1, len(sizes) + 1))
    found = {
        place: reduce(seen, axis=axes) for place, seen in windows(images, sizes, strides, ones, padding, float("nan"))
    }
    return _assembled(found, len(images), images.shape[-1])


def _assembled(found: dict[tuple[int, ...], np.ndarray], batch: int, channels: int) -> np.ndarray:
    counts = [last + 1 for last in max(found)]
    out = np.empty((batch, *counts, channels))
    for place, value in found.items():
        out[(slice(None), *place)] = value
    return out
