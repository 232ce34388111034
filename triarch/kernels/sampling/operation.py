"""Sampling as an operation with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls
from triarch.kernels.sampling import reference
from triarch.kernels.sampling.method import Method, Pixels, pixels_from_extent
from triarch.kernels.sampling.places import as_pixels
from triarch.kernels.sampling.plan import Sampler, refuse, sampler_for

_START_SECONDS = 4.0  # that compiling takes, where the code is not kept
_SAVED_SECONDS = 3e-8  # of each number of the outputs; measured


def grid_sample(
    images: Tensor,
    grid: Tensor,
    interpolation: str = "bilinear",
    padding: str = "zeros",
    align_corners: bool = False,
) -> Tensor:
    """The numbers of images at the places of a grid.

    Args:
        images: `(batch, height, width, channels)`, of floats.
        grid: `(batch, rows, columns, 2)`: x and y from -1 to 1. A place that is not finite gives NaN, at that place.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        padding: What lies outside: `"zeros"`, the nearest pixel of the `"border"`, the image in `"reflection"` or again
            (`"wrap"`).
        align_corners: Whether -1 and 1 are the centres of the outermost pixels, where images are then reflected, rather
            than their outer edges.

    Returns:
        `(batch, rows, columns, channels)`.

    Raises:
        ValueError: An argument is none of these, or the shapes do not belong together.
    """
    if padding == "reflection" and align_corners:
        padding = "mirror"
    method = Method(interpolation, padding).check()
    _check(images, grid)
    return _sample(images, grid, method, pixels_from_extent((images.shape[1], images.shape[2]), align_corners))


def sample(images: Tensor, places: Tensor, interpolation: str = "bilinear", padding: str = "zeros") -> Tensor:
    """The same at places in pixels: whole numbers are the pixels' centres, and give their numbers to the last bit."""
    method = Method(interpolation, padding).check()
    _check(images, places)
    return _sample(images, places, method, Pixels())


def _sample(images: Tensor, places: Tensor, method: Method, pixels: Pixels) -> Tensor:
    if refuse(images, places, method) is not None or not _saves_time(images, places):
        return reference.sample(images, as_pixels(places, pixels), method)
    plan = sampler_for(images, method)
    if torch.is_grad_enabled() and (images.requires_grad or places.requires_grad):
        found: Tensor = _Sampling.apply(plan, method, pixels, images, places)
        return found
    with torch.no_grad():
        return plan.forward(images.contiguous(), places.contiguous(), pixels)


def _check(images: Tensor, places: Tensor) -> None:
    if images.ndim != 4 or places.ndim != 4 or places.shape[3] != 2 or len(places) != len(images):
        raise ValueError(
            "Images have the shape (batch, height, width, channels), and places (batch, rows, columns, 2). "
            f"Received: shapes {tuple(images.shape)} and {tuple(places.shape)}"
        )
    if not images.is_floating_point() or images.dtype != places.dtype:
        raise ValueError(f"Images and places are floats of one type. Received: {images.dtype} and {places.dtype}")
    if not images.shape[1] or not images.shape[2]:
        raise ValueError(f"Images have pixels. Received: shape {tuple(images.shape)}")


def _saves_time(images: Tensor, places: Tensor) -> bool:
    """Whether compiling would be earned back by as many calls as are expected."""
    count = places.shape[:3].numel() * images.shape[3]
    return expected_calls() * count * _SAVED_SECONDS > _START_SECONDS


class _Sampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Sampler, method: Method, pixels: Pixels, images: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(images, places)
        ctx.plan, ctx.method, ctx.pixels = plan, method, pixels
        return plan.forward(images.contiguous(), places.contiguous(), pixels)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> Any:
        images, places = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            found = _differentiable(ctx.method, ctx.pixels, images, places, output_gradient, wanted)
        else:
            operands = images.contiguous(), places.contiguous(), ctx.pixels, output_gradient.contiguous()
            found = ctx.plan.backward(*operands, *wanted)
        return None, None, None, *found


def _differentiable(
    method: Method, pixels: Pixels, images: Tensor, places: Tensor, output_gradient: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, ...]:
    """The gradients by torch's operations, which can be differentiated again."""
    own, around = (part.view_as(part) for part in (images, places))  # what is differentiated again hangs below them
    learnt = [part for part, is_wanted in zip((own, around), wanted, strict=True) if is_wanted]
    outputs = reference.sample(own, as_pixels(around, pixels), method)
    found = iter(torch.autograd.grad(outputs, learnt, output_gradient, create_graph=True, allow_unused=True))
    return tuple(next(found) if is_wanted else None for is_wanted in wanted)
