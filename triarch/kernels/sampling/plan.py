"""Sampling by compiled code."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.native.call import Call, Calls, Job
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.sampling.job import JOB, MARGINS, NUMBERS, OFFSETS, bounds, has_pairs, held_channels, layout_of
from triarch.kernels.sampling.method import PADDINGS, Method, Pixels
from triarch.tensors import dtype_name

TYPES = (torch.float32, torch.float64)
_LARGEST_PLANE = 2**31  # numbers, which offsets of 32 bits can count
_KEPT = 2**18  # numbers of planes that a call keeps for itself; it takes larger ones from the common workspace


class Sizes(NamedTuple):
    """Of images and outputs."""

    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int


def source(function: str, dtype: str, interpolation: str, layout: int) -> Source:
    """A kernel."""
    return Source("triarch.kernels.sampling.compiled", function, (dtype, interpolation, layout), JOB)


def plane_size(sizes: Sizes, method: Method) -> int:
    """The numbers of an image with its margins."""
    margins = 2 * MARGINS[method.interpolation]
    return (sizes.height + margins) * (sizes.width + margins) * held_channels(sizes.channels)


def refuse(sizes: Sizes, dtype: torch.dtype, method: Method) -> str | None:
    """Why there is no kernel for these; None where there is one."""
    if dtype not in TYPES:
        return f"there are no kernels for numbers of type {dtype_name(dtype)}"
    if 0 in sizes:
        return "there is nothing to sample"
    if plane_size(sizes, method) >= _LARGEST_PLANE:
        return "the images are too large"
    return None


@lru_cache(maxsize=1024)
def sampler(sizes: Sizes, method: Method, pixels: Pixels, dtype: torch.dtype, threads: int) -> Sampler:
    """The kernels for these images, on so many threads."""
    return Sampler(sizes, method, pixels, dtype, threads)


class _SamplerCall(Call):
    def __init__(self, job: Job, threads: int, source_of: Callable[[str], Source], **held: np.ndarray) -> None:
        super().__init__(job, threads, source_of, **held)
        self.place_forward = self.placer("images", "places", "outputs")
        self.place_backward = self.placer("images", "places", "output_gradient", "images_gradient", "places_gradient")


class Sampler:
    """Reads images `(batch, height, width, channels)` at places `(batch, rows, columns, 2)`; all are contiguous."""

    def __init__(self, sizes: Sizes, method: Method, pixels: Pixels, dtype: torch.dtype, threads: int) -> None:
        self._sizes, self._method, self._pixels = sizes, method, pixels
        self._dtype, self._threads = dtype, threads
        self._outputs = (sizes.batch, sizes.out_height, sizes.out_width, sizes.channels)
        planes = 3 if has_pairs(method.interpolation, layout_of(sizes.channels)) else 2  # an image, and its gradient
        self._plane_step = planes * plane_size(sizes, method)
        self._is_kept = threads * self._plane_step <= _KEPT
        self._calls = Calls(self._new_call)

    def _new_call(self) -> _SamplerCall:
        sizes, padding = self._sizes, self._method.padding
        job = np.zeros(1, JOB)
        for name, size in sizes._asdict().items():
            job[name] = size
        job["held"] = held_channels(sizes.channels)
        job["pitch"] = (sizes.width + 2 * MARGINS[self._method.interpolation]) * job["held"]
        job["padding"], job["edge"] = PADDINGS.index(padding), 0.5 if padding == "reflection" else 0.0
        job["fold"] = 1 if padding in ("reflection", "mirror") else 2 if padding == "wrap" else 0
        job["x_scale"], job["x_shift"], job["y_scale"], job["y_shift"] = self._pixels
        job["x_low"], job["x_high"], job["x_span"] = bounds(*self._method, sizes.width)
        job["y_low"], job["y_high"], job["y_span"] = bounds(*self._method, sizes.height)
        job["plane_step"] = self._plane_step
        name, layout = dtype_name(self._dtype), layout_of(sizes.channels)
        return _SamplerCall(
            job,
            self._threads,
            lambda function: source(function, name, self._method.interpolation, layout),
            offsets=np.zeros(self._threads * OFFSETS, np.int32),
            numbers=np.zeros(self._threads * NUMBERS, name),
            planes=np.zeros(self._threads * self._plane_step if self._is_kept else 0, name),
        )

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """`(batch, rows, columns, channels)`."""
        outputs = images.new_empty(self._outputs)
        call = self._calls.take()
        try:
            call.place_forward(images.data_ptr(), places.data_ptr(), outputs.data_ptr())
            self._run(call, "forward")
        finally:
            self._calls.give_back(call)
        return outputs

    def backward(
        self, images: Tensor, places: Tensor, output_gradient: Tensor, wants_images: bool, wants_places: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of images and places."""
        of_images = torch.empty_like(images) if wants_images else None
        of_places = torch.empty_like(places) if wants_places else None
        found = (0 if gradient is None else gradient.data_ptr() for gradient in (of_images, of_places))
        call = self._calls.take()
        try:
            call.place_backward(images.data_ptr(), places.data_ptr(), output_gradient.data_ptr(), *found)
            self._run(call, "backward")
        finally:
            self._calls.give_back(call)
        return of_images, of_places

    def _run(self, call: Call, name: str) -> None:
        if self._is_kept:
            call.run(name)
        else:
            with workspace(self._threads * self._plane_step, self._dtype) as planes:
                call.place(planes=planes.data_ptr())
                call.run(name)
