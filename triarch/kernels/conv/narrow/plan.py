"""The vendor's convolution, but for the gradient of inputs of few channels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import Gradients, Kernel
from triarch.kernels.conv.depthwise.job import MANY
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.narrow.job import AXES, JOB
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.layouts import LAYOUTS
from triarch.kernels.native import registers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.tensors import dtype_name

FUNCTIONS = ("input_gradient",)


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source("triarch.kernels.conv.narrow.compiled", function, (dtype,), JOB)


class NarrowKernel(Kernel):
    """oneDNN computes outputs, and gradients of kernel and bias; it needs eight channels to do well at the inputs'."""

    def __init__(self, spec: ConvSpec) -> None:
        self.direct = direct.plan(spec)
        super().__init__(self.direct, keeps_outputs=spec.rectifier is not None)
        self.spec = spec
        self.layout = LAYOUTS[spec.rank, spec.window.data_format]
        self.filters_held = rounded_up(spec.filters, registers.lanes(spec.dtype))
        self.job = self._job()
        self.working = spec.threads * int(self.job["workspace_step"][0])
        self.calls = Calls(self._call)

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec = self.spec
        taps, dilation = (with_unit_axes(of, 2) for of in (spec.window.sizes, spec.window.dilation))
        sizes, outputs = with_unit_axes(spec.sizes, 2), with_unit_axes(spec.output_sizes, 2)
        before = with_unit_axes([first for first, _ in spec.margins], 2, 0)
        lanes = registers.lanes(spec.dtype)
        columns_held = rounded_up(sizes[1], max(MANY, lanes))
        reach = [(tap - 1) * step for tap, step in zip(taps, dilation, strict=True)]
        plane = sizes[0] + reach[0], columns_held + reach[1]
        values = {
            "images": spec.batch,
            "channels": spec.channels,
            "filters": spec.filters,
            "filters_held": self.filters_held,
            "columns_held": columns_held,
            "plane_rows": plane[0],
            "plane_columns": plane[1],
            "workspace_step": plane[0] * plane[1] * self.filters_held + columns_held * (lanes + 1),
        }
        of_axes = {
            "size": sizes,
            "out": outputs,
            "taps": taps,
            "dilation": dilation,
            "margin": [far - near for far, near in zip(reach, before, strict=True)],
        }
        return filled(JOB, values, of_axes, AXES)

    def _call(self) -> Call:
        dtype = dtype_name(self.spec.dtype)
        return Call(self.job, self.spec.threads, lambda function: source(function, dtype))

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return self.direct(inputs, kernel, bias)

    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients:
        spec, (wants_input, *others) = self.spec, wanted
        if spec.rectifier is not None and outputs is not None:
            output_gradient = spec.rectifier.gradient(output_gradient, outputs)
        input_gradient = self._input_gradient(output_gradient, inputs, kernel) if wants_input else None
        return input_gradient, *self._others(output_gradient, inputs, kernel, others)

    def _input_gradient(self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor) -> Tensor:
        spec = self.spec
        output_gradient = with_channels_together(output_gradient)
        found = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        turned = kernel.reshape(*with_unit_axes(spec.window.sizes, 2), spec.channels, spec.filters).flip(0, 1)
        taps = F.pad(turned.movedim(2, 0), (0, self.filters_held - spec.filters)).contiguous()
        with self.calls.one() as call, workspace(self.working, spec.dtype) as memory:
            call.place(kernel=taps.data_ptr(), workspace=memory.data_ptr())
            call.place_batch("output_gradient", output_gradient)
            call.place_batch("input_gradient", found)
            call.run("input_gradient")
        return found

    def _others(self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, wanted: list[bool]) -> Any:
        """The gradients of kernel and bias."""
        if not any(wanted):
            return None, None
        options = self.direct.operation.keywords
        _, of_kernel, of_bias = torch.ops.aten.convolution_backward(
            self.layout.to_torch(output_gradient),
            self.direct.arrange(inputs),
            self.direct.weight(kernel),
            [self.spec.filters],
            options["stride"],
            options["padding"],
            options["dilation"],
            False,
            [0, 0],
            1,
            [False, *wanted],
        )
        return None if of_kernel is None else of_kernel.permute(2, 3, 1, 0).reshape(kernel.shape), of_bias
