"""Patches of the input times the kernel: the direct sum, for windows of any size, stride and dilation.

What oneDNN does not do well is done here: few input channels (first layers), gradients, strides.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import (
    NORMALIZING,
    PLAIN,
    ROWS_OF_NORMALIZATION,
    Gradients,
    NormalizingKernel,
    Numbers,
)
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.patches.job import AXES, JOB
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.rectifier import kernel_numbers
from triarch.tensors import dtype_name

_MODULE = "triarch.kernels.conv.patches.compiled"
_CHUNK = 1 << 16  # numbers of patches and outputs that a thread works on at a time

FUNCTIONS = (*PLAIN, *NORMALIZING)


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype,), JOB)


class PatchesKernel(NormalizingKernel):
    """The convolution as a product of patches."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec = spec
        self.panel = registers.columns(spec.dtype)
        self.channels, self.filters = spec.channels // spec.groups, spec.filters // spec.groups
        self.depth = math.prod(spec.window.sizes) * self.channels
        self.depth_held = rounded_up(self.depth, self.panel)
        self.filters_held = rounded_up(self.filters, self.panel)
        self.kernel_rows = rounded_up(self.filters_held, registers.ROWS)
        self.job = self._job()
        self.working = spec.threads * int(self.job["workspace_step"][0])
        self.calls = Calls(self._call)

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec, window = self.spec, self.spec.window
        places = spec.batch * math.prod(spec.output_sizes)
        held = self.depth_held + self.filters_held
        chunk = min(rounded_up(max(_CHUNK // held, 1), registers.ROWS), rounded_up(max(places, 1), registers.ROWS), 192)
        slope, cap = kernel_numbers(spec.rectifier)
        values = {
            "images": spec.batch,
            "channels": self.channels,
            "filters": self.filters,
            "depth": self.depth,
            "depth_held": self.depth_held,
            "filters_held": self.filters_held,
            "chunk": chunk,
            "workspace_step": (chunk + 2) * held + 2 * self.filters_held,
            "slope": slope,
            "cap": cap,
        }
        of_axes = {
            "size": with_unit_axes(spec.sizes, 3),
            "out": with_unit_axes(spec.output_sizes, 3),
            "taps": with_unit_axes(window.sizes, 3),
            "stride": with_unit_axes(window.strides, 3),
            "dilation": with_unit_axes(window.dilation, 3),
            "margin": with_unit_axes([before for before, _ in spec.margins], 3, 0),
        }
        return filled(JOB, values, of_axes, AXES)

    def _source(self, function: str) -> Source:
        return source(function, dtype_name(self.spec.dtype))

    def _call(self) -> Call:
        threads, dtype = self.spec.threads, dtype_name(self.spec.dtype)
        return Call(
            self.job,
            threads,
            self._source,
            bias=np.zeros(self.filters_held, dtype),
            bias_gradient=np.zeros((threads, self.filters_held), dtype),
            moments=np.empty((threads, 2, self.filters_held)),
            normalization=np.zeros((len(ROWS_OF_NORMALIZATION), self.filters_held), dtype),
        )

    def _weights(self, kernel: Tensor, group: int) -> Tensor:
        """The kernel of a group as a matrix (filters_held, depth_held), with zeros where there is nothing."""
        weights = kernel.movedim(-1, 0)[group * self.filters : (group + 1) * self.filters].reshape(self.filters, -1)
        return F.pad(weights, (0, self.depth_held - self.depth, 0, self.filters_held - self.filters))

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None, moments: Numbers | None = None) -> Tensor:
        spec = self.spec
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        passes = PLAIN if moments is None else NORMALIZING
        later = (passes.backward,) if spec.learns else ()
        with self.calls.one() as call, workspace(self.working, spec.dtype) as memory:
            call.place(workspace=memory.data_ptr())
            for group in range(spec.groups):
                own = slice(group * self.filters, (group + 1) * self.filters)
                panels = self._weights(kernel, group)[:, : self.depth].unflatten(0, (-1, self.panel)).mT.contiguous()
                call.held["bias"][: self.filters] = 0.0 if bias is None else bias.detach()[own].numpy()
                call.place_batch("inputs", inputs, group * self.channels)
                call.place_batch("outputs", outputs, group * self.filters)
                call.place(kernel=panels.data_ptr())
                call.run(passes.forward, *later)
                if moments is not None:
                    moments[:, own] = call.held["moments"].sum(0)[:, : self.filters]
        return outputs

    def backward(
        self,
        output_gradient: Tensor,
        inputs: Tensor,
        kernel: Tensor,
        outputs: Tensor | None,
        wanted: tuple[bool, ...],
        normalization: Numbers | None = None,
    ) -> Gradients:
        wants_input, wants_kernel, wants_bias = wanted
        spec, threads = self.spec, self.spec.threads
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = torch.empty_like(kernel) if wants_kernel else None
        bias_gradient = kernel.new_empty(spec.filters) if wants_bias else None
        size = self.kernel_rows * self.depth_held
        sums = threads * size if wants_kernel else 0
        with self.calls.one() as call, workspace(sums + self.working, spec.dtype) as memory:
            address = memory.data_ptr()
            call.place(kernel_sums=address, workspace=address + sums * spec.dtype.itemsize)
            call.place(wants_input=wants_input, wants_kernel=wants_kernel)
            for group in range(spec.groups):
                own = slice(group * self.filters, (group + 1) * self.filters)
                call.place_batch("inputs", inputs, group * self.channels)
                call.place_batch("output_gradient", output_gradient, group * self.filters)
                call.place_batch("outputs", output_gradient if outputs is None else outputs, group * self.filters)
                if input_gradient is not None:
                    call.place_batch("input_gradient", input_gradient, group * self.channels)
                    panels = self._weights(kernel, group).unflatten(1, (-1, self.panel)).transpose(0, 1).contiguous()
                    call.place(kernel=panels.data_ptr())
                if normalization is not None:
                    call.held["normalization"][:, : self.filters] = normalization[:, own]
                call.run((PLAIN if normalization is None else NORMALIZING).backward)
                if kernel_gradient is not None:
                    found = memory[:sums].view(threads, self.kernel_rows, self.depth_held).sum(0)
                    found = found[: self.filters, : self.depth].unflatten(1, (*spec.window.sizes, self.channels))
                    kernel_gradient.movedim(-1, 0)[own].copy_(found)
                if bias_gradient is not None:
                    bias_gradient[own] = torch.from_numpy(call.held["bias_gradient"].sum(0)[: self.filters])
        return input_gradient, kernel_gradient, bias_gradient
