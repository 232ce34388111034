"""Sampling by compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.sampling.job import JOB, MARGINS, NUMBERS, OFFSETS, bounds, held_channels, layout_of
from triarch.kernels.sampling.method import PADDINGS, Method, Pixels
from triarch.tensors import dtype_name

FUNCTIONS = ("forward", "backward")
TYPES = (torch.float32, torch.float64)
_LARGEST_PLANE = 2**31  # numbers, which offsets of 32 bits can count


def source(function: str, dtype: str, interpolation: str, layout: int) -> Source:
    """A kernel."""
    return Source("triarch.kernels.sampling.compiled", function, (dtype, interpolation, layout), JOB)


def plane_size(images: Tensor, method: Method) -> int:
    """The numbers of one of the images with its margins."""
    _, height, width, channels = images.shape
    margins = 2 * MARGINS[method.interpolation]
    return (height + margins) * (width + margins) * held_channels(channels)


def refuse(images: Tensor, places: Tensor, method: Method) -> str | None:
    """Why there is no kernel for these; None where there is one."""
    if any(type(part) not in (Tensor, torch.nn.Parameter) or part.device.type != "cpu" for part in (images, places)):
        return "they are no plain tensors on the CPU"
    if images.dtype not in TYPES:
        return f"there are no kernels for numbers of type {dtype_name(images.dtype)}"
    if not images.shape[3] or not places.shape[:3].numel():
        return "there is nothing to sample"
    if plane_size(images, method) >= _LARGEST_PLANE:
        return "the images are too large"
    return None


@lru_cache(maxsize=64)
def sampler(method: Method, dtype: torch.dtype, layout: int, threads: int) -> Sampler:
    """The kernels for numbers of a type, on so many threads."""
    return Sampler(method, dtype, layout, threads)


def sampler_for(images: Tensor, method: Method) -> Sampler:
    """The kernels for images like these, on torch's threads."""
    return sampler(method, images.dtype, layout_of(images.shape[3]), torch.get_num_threads())


class Sampler:
    """Reads images `(batch, height, width, channels)` at places `(batch, rows, columns, 2)` in pixels."""

    def __init__(self, method: Method, dtype: torch.dtype, layout: int, threads: int) -> None:
        self._method, self._dtype, self._layout, self._threads = method, dtype, layout, threads
        self._calls = Calls(self._new_call)

    def _new_call(self) -> Call:
        name = dtype_name(self._dtype)
        job = np.zeros(1, JOB)
        padding = self._method.padding
        job["padding"], job["edge"] = PADDINGS.index(padding), 0.5 if padding == "reflection" else 0.0
        job["fold"] = 1 if padding in ("reflection", "mirror") else 2 if padding == "wrap" else 0
        return Call(
            job,
            self._threads,
            lambda function: source(function, name, self._method.interpolation, self._layout),
            offsets=np.zeros(self._threads * OFFSETS, np.int32),
            numbers=np.zeros(self._threads * NUMBERS, name),
        )

    def forward(self, images: Tensor, places: Tensor, pixels: Pixels) -> Tensor:
        """`(batch, rows, columns, channels)`."""
        outputs = images.new_empty(*places.shape[:3], images.shape[3])
        with self._one(images, places, pixels, planes=1) as call:
            call.place(outputs=outputs.data_ptr())
            call.run("forward")
        return outputs

    def backward(
        self,
        images: Tensor,
        places: Tensor,
        pixels: Pixels,
        output_gradient: Tensor,
        wants_images: bool,
        wants_places: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of images and places."""
        of_images = torch.empty_like(images) if wants_images else None
        of_places = torch.empty_like(places) if wants_places else None
        with self._one(images, places, pixels, planes=2) as call:
            call.place(
                output_gradient=output_gradient.data_ptr(),
                images_gradient=0 if of_images is None else of_images.data_ptr(),
                places_gradient=0 if of_places is None else of_places.data_ptr(),
            )
            call.run("backward")
        return of_images, of_places

    @contextmanager
    def _one(self, images: Tensor, places: Tensor, pixels: Pixels, planes: int) -> Iterator[Call]:
        """A call for these, with so many planes for each thread."""
        batch, height, width, channels = images.shape
        step = planes * plane_size(images, self._method)
        with self._calls.one() as call, workspace(self._threads * step, self._dtype) as space:
            call.place(images=images.data_ptr(), places=places.data_ptr(), batch=batch, height=height, width=width)
            call.place(channels=channels, out_height=places.shape[1], out_width=places.shape[2])
            call.place(planes=space.data_ptr(), plane_step=step)
            job, method = call.job, self._method
            job["x_scale"], job["x_shift"], job["y_scale"], job["y_shift"] = pixels
            job["x_low"], job["x_high"], job["x_span"] = bounds(*method, width)
            job["y_low"], job["y_high"], job["y_span"] = bounds(*method, height)
            yield call
