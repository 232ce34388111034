"""Depthwise convolution by vectors of channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, name_of, place, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import Gradients, Kernel
from triarch.kernels.conv.depthwise.job import AXES, JOB, SUMS, is_in_pairs, taps_held
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native import registers
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.rectifier import kernel_numbers

_MODULE = "triarch.kernels.conv.depthwise.compiled"

FUNCTIONS = ("forward", "backward")


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype,), JOB)


def by_vectors(kernel: Tensor, taps: tuple[int, ...], lanes: int) -> Tensor:
    """(*sizes, 1, channels) -> (channels / lanes, rows, columns, lanes), zeros where there is no channel.

    A row of zeros stands before the first row and after the last.
    """
    channels = kernel.shape[-1]
    padded = F.pad(kernel.reshape(*taps, channels), (0, rounded_up(channels, lanes) - channels, 0, 0, 1, 1))
    return padded.unflatten(-1, (-1, lanes)).movedim(-2, 0)


class DepthwiseKernel(Kernel):
    """The convolution of each channel with its own filter."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec = spec
        self.lanes = registers.lanes(spec.dtype)
        self.channels_held = rounded_up(spec.channels, self.lanes)
        self.taps = with_unit_axes(spec.window.sizes, 2)
        self.taps_held = taps_held(self.taps[1])
        self.job = self._job()
        self.step = int(self.job["workspace_step"][0])

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec, window = self.spec, self.spec.window
        sizes, outputs = with_unit_axes(spec.sizes, 2), with_unit_axes(spec.output_sizes, 2)
        strides, dilation = with_unit_axes(window.strides, 2), with_unit_axes(window.dilation, 2)
        margins = with_unit_axes([before for before, _ in spec.margins], 2, 0)
        spans = [(taps - 1) * rate + 1 for taps, rate in zip(self.taps, dilation, strict=True)]
        columns = rounded_up(outputs[1], SUMS)
        columns_held = rounded_up(max(outputs[1], sizes[1]), SUMS)
        # What the last sums of a row read, though it is not wanted, lies inside as well.
        taps_reach = (self.taps_held - 1) * dilation[1] + 1
        plane = (
            max(margins[0] + sizes[0], (outputs[0] - 1) * strides[0] + spans[0]),
            max(margins[1] + sizes[1], (columns - 1) * strides[1] + max(spans[1], taps_reach)),
        )
        gradient = (sizes[0] + spans[0] - 1, rounded_up(sizes[1], SUMS) + spans[1] - 1)
        gradient_margins = tuple(span - 1 - margin for span, margin in zip(spans, margins, strict=True))
        slope, cap = kernel_numbers(spec.rectifier)
        values = {
            "images": spec.batch,
            "channels": spec.channels,
            "in_pairs": is_in_pairs(self.taps[0], dilation[0]),
            "taps_held": self.taps_held,
            "columns_held": columns_held,
            "plane_rows": plane[0],
            "plane_columns": plane[1],
            "gradient_rows": gradient[0],
            "gradient_columns": gradient[1],
            "workspace_step": (math.prod(plane) + math.prod(gradient) + 2 * columns_held + 4) * self.lanes,
            "slope": slope,
            "cap": cap,
        }
        of_axes = {
            "size": sizes,
            "out": outputs,
            "taps": self.taps,
            "stride": strides,
            "dilation": dilation,
            "margin": margins,
            "gradient_margin": gradient_margins,
        }
        return filled(JOB, values, of_axes, AXES)

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        spec, threads = self.spec, self.spec.threads
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        taps = by_vectors(kernel, self.taps, self.lanes).contiguous()
        job = self.job.copy()
        with workspace(self.channels_held + threads * self.step, spec.dtype) as memory:
            offsets = memory[: self.channels_held].zero_()
            if bias is not None:
                offsets[: spec.channels].copy_(bias)
            job["bias"], job["workspace"] = offsets.data_ptr(), memory[self.channels_held :].data_ptr()
            place(job, "inputs", inputs, 0, AXES)
            place(job, "outputs", outputs, 0, AXES)
            job["kernel"] = taps.data_ptr()
            run(compiled(source("forward", name_of(spec.dtype))), job, threads)
        return outputs

    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients:
        wants_input, wants_kernel, wants_bias = wanted
        spec, threads = self.spec, self.spec.threads
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = torch.empty_like(kernel) if wants_kernel else None
        bias_gradient = None
        taps = by_vectors(kernel, self.taps, self.lanes).flip(1, 2).contiguous()
        job = self.job.copy()
        job["wants_input"], job["wants_kernel"] = wants_input, wants_kernel
        sums = threads * self.channels_held * self.taps[0] * self.taps_held
        with workspace(sums + threads * (self.channels_held + self.step), spec.dtype) as memory:
            parts = memory[sums : sums + threads * self.channels_held]
            job["kernel_sums"], job["bias_gradient"] = memory.data_ptr(), parts.data_ptr()
            job["workspace"] = memory[sums + threads * self.channels_held :].data_ptr()
            job["kernel"] = taps.data_ptr()
            place(job, "inputs", inputs, 0, AXES)
            place(job, "output_gradient", output_gradient, 0, AXES)
            place(job, "outputs", output_gradient if outputs is None else outputs, 0, AXES)
            if input_gradient is not None:
                place(job, "input_gradient", input_gradient, 0, AXES)
            run(compiled(source("backward", name_of(spec.dtype))), job, threads)
            if kernel_gradient is not None:
                found = memory[:sums].view(threads, -1, *self.taps[:1], self.taps_held, self.lanes).sum(0)
                found = found[:, :, : self.taps[1]].movedim(0, -2).flatten(-2)[..., : spec.channels]
                kernel_gradient.copy_(found.reshape(*spec.window.sizes, 1, spec.channels))
            if wants_bias:
                bias_gradient = parts.view(threads, -1)[:, : spec.channels].sum(0)
        return input_gradient, kernel_gradient, bias_gradient
