"""Sampling by compiled code."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.sampling.job import JOB, TAPS
from triarch.kernels.sampling.method import Method
from triarch.tensors import dtype_name

FUNCTIONS = ("forward", "backward")
TYPES = (torch.float32, torch.float64)


def source(function: str, dtype: str, method: Method) -> Source:
    """A kernel."""
    return Source("triarch.kernels.sampling.compiled", function, (dtype, *method), JOB)


@lru_cache(maxsize=64)
def sampler(method: Method, dtype: torch.dtype, threads: int) -> Sampler:
    """The kernels for numbers of a type, on so many threads."""
    return Sampler(method, dtype, threads)


class Sampler:
    """Reads images `(batch, height, width, channels)` at places `(batch, rows, columns, 2)` in pixels."""

    def __init__(self, method: Method, dtype: torch.dtype, threads: int) -> None:
        self._method, self._dtype, self._threads = method, dtype, threads
        self._calls = Calls(self._new_call)

    def _new_call(self) -> Call:
        name, taps = dtype_name(self._dtype), self._threads * 2 * TAPS
        return Call(
            np.zeros(1, JOB),
            self._threads,
            lambda function: source(function, name, self._method),
            pixels=np.zeros(taps, np.int64),
            weights=np.zeros(taps),
            slopes=np.zeros(taps),
        )

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """`(batch, rows, columns, channels)`."""
        outputs = images.new_empty(*places.shape[:3], images.shape[3])
        with self._calls.one() as call:
            _place(call, images, places)
            call.place(outputs=outputs.data_ptr())
            call.run("forward")
        return outputs

    def backward(
        self, images: Tensor, places: Tensor, output_gradient: Tensor, wants_images: bool, wants_places: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of images and places."""
        of_images = torch.empty_like(images) if wants_images else None
        of_places = torch.empty_like(places) if wants_places else None
        with self._calls.one() as call:
            _place(call, images, places)
            call.place(
                output_gradient=output_gradient.data_ptr(),
                images_gradient=0 if of_images is None else of_images.data_ptr(),
                places_gradient=0 if of_places is None else of_places.data_ptr(),
            )
            call.run("backward")
        return of_images, of_places


def _place(call: Call, images: Tensor, places: Tensor) -> None:
    batch, height, width, channels = images.shape
    call.place(images=images.data_ptr(), places=places.data_ptr(), batch=batch, height=height, width=width)
    call.place(channels=channels, out_height=places.shape[1], out_width=places.shape[2])
