"""Depthwise convolution by vectors of channels."""

from __future__ import annotations

import math

from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise.job import AXES, JOB, MANY, is_in_pairs, taps_held
from triarch.kernels.conv.depthwise.planes import PlanesKernel
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.native.source import Source
from triarch.kernels.rectifier import kernel_numbers

_MODULE = "triarch.kernels.conv.depthwise.compiled"

FUNCTIONS = ("forward", "backward")


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype,), JOB)


class DepthwiseKernel(PlanesKernel):
    """The sum as it is written."""

    rearranges = False

    def __init__(self, spec: ConvSpec) -> None:
        rows, columns = with_unit_axes(spec.window.sizes, 2)
        self.taps_held = taps_held(columns)
        super().__init__(spec, source, (rows, self.taps_held))

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec, window = self.spec, self.spec.window
        sizes, outputs = with_unit_axes(spec.sizes, 2), with_unit_axes(spec.output_sizes, 2)
        strides, dilation = with_unit_axes(window.strides, 2), with_unit_axes(window.dilation, 2)
        margins = with_unit_axes([before for before, _ in spec.margins], 2, 0)
        spans = [(taps - 1) * rate + 1 for taps, rate in zip(self.taps, dilation, strict=True)]
        columns = rounded_up(outputs[1], MANY)
        columns_held = rounded_up(max(outputs[1], sizes[1]), MANY)
        # What the last sums of a row read, though it is not wanted, lies inside as well.
        taps_reach = (self.taps_held - 1) * dilation[1] + 1
        plane = (
            max(margins[0] + sizes[0], (outputs[0] - 1) * strides[0] + spans[0]),
            max(margins[1] + sizes[1], (columns - 1) * strides[1] + max(spans[1], taps_reach)),
        )
        gradient = (sizes[0] + spans[0] - 1, rounded_up(sizes[1], MANY) + spans[1] - 1)
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

    def _arranged(self, taps: Tensor) -> Tensor:
        return taps

    def _kernel_gradient(self, sums: Tensor) -> Tensor:
        return sums[:, :, : self.taps[1]].movedim(0, -2).flatten(-2)
