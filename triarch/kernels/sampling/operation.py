"""Sampling as an operation with gradients."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from triarch.kernels.conv import expected_calls
from triarch.kernels.sampling import cuda, reference
from triarch.kernels.sampling.cuda import CudaSampler, cuda_sampler
from triarch.kernels.sampling.method import Method, Pixels, pixels_from_extent
from triarch.kernels.sampling.places import as_pixels
from triarch.kernels.sampling.plan import Sampler, Sizes, refuse, sampler
from triarch.watching import is_traced, planner, sizes_of

_START_SECONDS = 4.0  # that compiling takes, where the code is not kept
_SAVED_SECONDS = 1e-7  # of each number of the outputs; measured
_PLAIN = (Tensor, torch.nn.Parameter)


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
    frame = "centres" if align_corners else "edges"
    if padding == "reflection" and align_corners:
        padding = "mirror"
    return _sample(images, grid, interpolation, padding, frame)


def sample(images: Tensor, places: Tensor, interpolation: str = "bilinear", padding: str = "zeros") -> Tensor:
    """The same at places in pixels: whole numbers are the pixels' centres, and give their numbers to the last bit."""
    return _sample(images, places, interpolation, padding, "pixels")


class _Plan:
    """What is known of a sampling before its numbers are."""

    def __init__(self, sizes: Sizes, dtype: torch.dtype, method: Method, pixels: Pixels) -> None:
        self.method, self.pixels = method, pixels
        self.count = sizes.batch * sizes.out_height * sizes.out_width * sizes.channels
        self._arguments = sizes, method, pixels, dtype
        self._has_kernels = refuse(sizes, dtype, method) is None
        self._has_cuda_kernels = self._has_kernels and cuda.refuse(sizes) is None
        self._too_few = _START_SECONDS / max(self.count * _SAVED_SECONDS, 1e-12)  # calls, to earn a compilation back
        self._samplers: dict[int, Sampler] = {}  # by the number of threads

    def sampler(self, images: Tensor, places: Tensor) -> Sampler | CudaSampler | None:
        """Compiled code; None where there is none, or compiling it would not be earned back."""
        if not self._has_kernels or type(images) not in _PLAIN or type(places) not in _PLAIN:
            return None
        if not (images.is_cpu and places.is_cpu):
            return self._on_cuda(images, places)
        if expected_calls() <= self._too_few:
            return None
        threads = torch.get_num_threads()
        if threads not in self._samplers:
            self._samplers[threads] = sampler(*self._arguments, threads)
        return self._samplers[threads]

    def _on_cuda(self, images: Tensor, places: Tensor) -> CudaSampler | None:
        if not self._has_cuda_kernels or not images.is_cuda or images.device != places.device:
            return None
        return None if not cuda.can_run(images.device) else cuda_sampler(*self._arguments[:3])


@lru_cache(maxsize=1024)
def _plan(
    images: tuple[int, ...],
    places: tuple[int, ...],
    images_type: torch.dtype,
    places_type: torch.dtype,
    interpolation: str,
    padding: str,
    frame: str,
) -> _Plan:
    """The plan for these shapes and types.

    Args:
        frame: What places are counted in: `"pixels"`, or from -1 to 1 between the outer `"edges"` of the outermost
            pixels or between their `"centres"`.
    """
    method = Method(interpolation, padding).check()
    if len(images) != 4 or len(places) != 4 or places[3] != 2 or places[0] != images[0]:
        raise ValueError(
            "Images have the shape (batch, height, width, channels), and places (batch, rows, columns, 2). "
            f"Received: shapes {tuple(images)} and {tuple(places)}"
        )
    if not images_type.is_floating_point or images_type != places_type:
        raise ValueError(f"Images and places are floats of one type. Received: {images_type} and {places_type}")
    batch, height, width, channels = images
    if not height or not width:
        raise ValueError(f"Images have pixels. Received: shape {tuple(images)}")
    pixels = Pixels() if frame == "pixels" else pixels_from_extent((height, width), frame == "centres")
    return _Plan(Sizes(batch, height, width, channels, *places[1:3]), images_type, method, pixels)


def _sample(images: Tensor, places: Tensor, interpolation: str, padding: str, frame: str) -> Tensor:
    plan = planner(_plan)(sizes_of(images), sizes_of(places), images.dtype, places.dtype, interpolation, padding, frame)
    kernels = None if is_traced(images) else plan.sampler(images, places)
    if kernels is None:
        return reference.sample(images, as_pixels(places, plan.pixels), plan.method)
    if torch.is_grad_enabled() and (images.requires_grad or places.requires_grad):
        found: Tensor = _Sampling.apply(kernels, plan, images, places)
        return found
    return kernels.forward(images.contiguous(), places.contiguous())


class _Sampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Sampler | CudaSampler, plan: _Plan, images: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(images, places)
        ctx.kernels, ctx.plan = kernels, plan
        return kernels.forward(images.contiguous(), places.contiguous())

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> Any:
        images, places = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            return None, None, *_differentiable(ctx.plan, images, places, output_gradient, wanted)
        operands = images.contiguous(), places.contiguous(), output_gradient.contiguous()
        return None, None, *ctx.kernels.backward(*operands, *wanted)


def _differentiable(
    plan: _Plan, images: Tensor, places: Tensor, output_gradient: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, ...]:
    """The gradients by torch's operations, which can be differentiated again."""
    own, around = (part.view_as(part) for part in (images, places))  # what is differentiated again hangs below them
    learnt = [part for part, is_wanted in zip((own, around), wanted, strict=True) if is_wanted]
    outputs = reference.sample(own, as_pixels(around, plan.pixels), plan.method)
    found = iter(torch.autograd.grad(outputs, learnt, output_gradient, create_graph=True, allow_unused=True))
    return tuple(next(found) if is_wanted else None for is_wanted in wanted)
