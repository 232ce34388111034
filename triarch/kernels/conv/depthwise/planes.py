"""Depthwise convolutions whose threads carry planes, one vector of channels of one image: what their methods share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import Gradients, Kernel
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.tensors import dtype_name


def _by_vectors(kernel: Tensor, taps: tuple[int, ...], lanes: int) -> Tensor:
    """(*sizes, 1, channels) -> (channels / lanes, rows, columns, lanes), zeros where there is no channel.

    A row of zeros stands before the first row and after the last.
    """
    channels = kernel.shape[-1]
    padded = F.pad(kernel.reshape(*taps, channels), (0, rounded_up(channels, lanes) - channels, 0, 0, 1, 1))
    return padded.unflatten(-1, (-1, lanes)).movedim(-2, 0)


class PlanesKernel(Kernel):
    """The convolution of each channel with its own filter.

    Args:
        source: Name of a pass and of a number type -> its code.
        sums: The shape of the sums of which the gradient of a vector of channels' taps is made.
    """

    rearranges: ClassVar[bool]  # whether numbers that are not finite spread in another way than in the direct sum

    def __init__(self, spec: ConvSpec, source: Callable[[str, str], Source], sums: tuple[int, ...]) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec, self.source, self.sums = spec, source, sums
        self.lanes = registers.lanes(spec.dtype)
        self.channels_held = rounded_up(spec.channels, self.lanes)
        self.taps = with_unit_axes(spec.window.sizes, 2)
        self.job = self._job()
        self.working = spec.threads * int(self.job["workspace_step"][0])
        self.calls = Calls(self._call)

    @abstractmethod
    def _job(self) -> Job:
        """All of the job but addresses and steps."""

    @abstractmethod
    def _arranged(self, taps: Tensor) -> Tensor:
        """Taps (channels / lanes, rows, columns, lanes) as the code reads them."""

    @abstractmethod
    def _kernel_gradient(self, sums: Tensor) -> Tensor:
        """Sums (channels / lanes, *self.sums, lanes) -> the gradient of the taps (rows, columns, channels_held)."""

    def _call(self) -> Call:
        threads, dtype = self.spec.threads, dtype_name(self.spec.dtype)
        return Call(
            self.job,
            threads,
            lambda function: self.source(function, dtype),
            check=np.zeros((threads, self.lanes), dtype),
            bias=np.zeros(self.channels_held, dtype),
            bias_gradient=np.zeros((threads, self.channels_held), dtype),
        )

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor | None:
        spec = self.spec
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        taps = self._arranged(_by_vectors(kernel, self.taps, self.lanes)).contiguous()
        with self.calls.one() as call, workspace(self.working, spec.dtype) as memory:
            call.held["check"].fill(0)
            call.held["bias"][: spec.channels] = 0.0 if bias is None else bias.detach().numpy()
            call.place(kernel=taps.data_ptr(), workspace=memory.data_ptr())
            call.place_batch("inputs", inputs)
            call.place_batch("outputs", outputs)
            call.run("forward", *(("backward",) if spec.learns else ()))
            is_finite = not np.isnan(call.held["check"]).any()
        return outputs if is_finite or not self.rearranges else None

    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients | None:
        wants_input, wants_kernel, wants_bias = wanted
        spec, threads = self.spec, self.spec.threads
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = torch.empty_like(kernel) if wants_kernel else None
        bias_gradient = None
        taps = self._arranged(_by_vectors(kernel, self.taps, self.lanes).flip(1, 2)).contiguous()
        sums = threads * self.channels_held * math.prod(self.sums)
        with self.calls.one() as call, workspace(sums + self.working, spec.dtype) as memory:
            address = memory.data_ptr()
            call.held["check"].fill(0)
            call.place(kernel_sums=address, workspace=address + sums * spec.dtype.itemsize, kernel=taps.data_ptr())
            call.place(wants_input=wants_input, wants_kernel=wants_kernel)
            call.place_batch("inputs", inputs)
            call.place_batch("output_gradient", output_gradient)
            call.place_batch("outputs", output_gradient if outputs is None else outputs)
            if input_gradient is not None:
                call.place_batch("input_gradient", input_gradient)
            call.run("backward")
            if kernel_gradient is not None:
                found = memory[:sums].view(threads, -1, *self.sums, self.lanes).sum(0)
                found = self._kernel_gradient(found)[..., : spec.channels]
                kernel_gradient.copy_(found.reshape(*spec.window.sizes, 1, spec.channels))
            if wants_bias:
                bias_gradient = torch.from_numpy(call.held["bias_gradient"].sum(0)[: spec.channels])
            is_finite = not np.isnan(call.held["check"]).any()
        if self.rearranges and not (is_finite and (kernel_gradient is None or math.isfinite(kernel_gradient.sum()))):
            return None
        return input_gradient, kernel_gradient, bias_gradient
