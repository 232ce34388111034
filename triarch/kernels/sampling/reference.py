"""Sampling by torch's operations: for every device and number type, and for gradients of gradients.

Gradients of images are sums over what was indexed, which torch adds up in the same order at every run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from triarch.kernels.sampling.method import CUBIC, Method


def sample(images: Tensor, places: Tensor, method: Method) -> Tensor:
    """Images `(batch, height, width, channels)` at places `(batch, rows, columns, 2)`, x and y in pixels.

    A place that is not finite gives NaN.
    """
    height, width = images.shape[1:3]
    across, down = _taps(places[..., 0], width, method), _taps(places[..., 1], height, method)
    batch = torch.arange(images.shape[0], device=images.device)[:, None, None]
    outputs = None
    for row, weight_y in down:
        for column, weight_x in across:
            term = images[batch, row, column] * (weight_y * weight_x).unsqueeze(-1).to(images.dtype)
            outputs = term if outputs is None else outputs + term
    assert outputs is not None
    is_place = places.isfinite().all(-1, keepdim=True)
    return torch.where(is_place, outputs, outputs.new_full((), torch.nan))


def _taps(x: Tensor, size: int, method: Method) -> list[tuple[Tensor, Tensor]]:
    """The pixels of an axis that are read for each place, and how much each of them counts."""
    x = torch.where(x.isfinite(), x, torch.zeros_like(x))
    if method.interpolation != "bicubic":
        x = _brought_in(x, size, method.padding)
    if method.interpolation == "nearest":
        first = x.detach().round()
        weights = [torch.ones_like(x)]
    else:
        first = x.detach().floor()
        t = x - first
        weights = [1 - t, t] if method.interpolation == "bilinear" else _cubic_weights(t)
        first = first - (len(weights) // 2 - 1)
    return [_tap(first + number, weight, size, method.padding) for number, weight in enumerate(weights)]


def _cubic_weights(t: Tensor) -> list[Tensor]:
    def near(d: Tensor) -> Tensor:
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _tap(pixel: Tensor, weight: Tensor, size: int, padding: str) -> tuple[Tensor, Tensor]:
    """A pixel that exists, and its weight: 0 in place of one that does not."""
    if padding == "zeros":
        is_inside = (pixel >= 0) & (pixel < size)
        return pixel.clamp(0, size - 1).long(), torch.where(is_inside, weight, torch.zeros_like(weight))
    return _brought_in(pixel, size, padding).clamp(0, size - 1).long(), weight


def _brought_in(x: Tensor, size: int, padding: str) -> Tensor:
    """The place inside that a place outside stands for."""
    if padding == "border":
        return x.clamp(0, size - 1)
    if padding == "wrap":
        return x - (x / size).detach().floor() * size
    if padding == "zeros":
        return x
    edge, span = (0.5, size) if padding == "reflection" else (0.0, size - 1)
    if span == 0:
        return torch.zeros_like(x)
    distance = (x + edge).abs()
    over = distance - (distance / (2 * span)).detach().floor() * (2 * span)
    return (torch.where(over > span, 2 * span - over, over) - edge).clamp(0, size - 1)
