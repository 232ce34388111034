"""Winograd's minimal filtering for layers: tiles of the output by fewer products than the sum has.

F(m, r) computes m outputs of r taps by m + r - 1 products for each axis. The transforms around the products are shared
by all channels and filters. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
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
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd.job import AXES, JOB, TABLES
from triarch.kernels.native import registers
from triarch.kernels.native.call import Call, Calls
from triarch.kernels.native.source import Source
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.rectifier import kernel_numbers
from triarch.tensors import dtype_name

_MODULE = "triarch.kernels.conv.winograd.compiled"

FUNCTIONS = ("transform_kernel", *PLAIN, *NORMALIZING, "finish_kernel_gradient")


def source(function: str, dtype: str, *tile: int) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype, *tile), JOB)


class WinogradKernel(NormalizingKernel):
    """The convolution by tiles of `m` places in each axis.

    Args:
        m: Of rows and of columns; 1 for an axis of a single tap.
    """

    def __init__(self, spec: ConvSpec, m: tuple[int, int]) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec, self.m = spec, m
        self.r: tuple[int, ...] = with_unit_axes(spec.window.sizes, 2)
        self.lanes, self.panel = registers.lanes(spec.dtype), registers.columns(spec.dtype)
        self.points = math.prod(tile + taps - 1 for tile, taps in zip(m, self.r, strict=True))
        self.channels, self.filters = spec.channels // spec.groups, spec.filters // spec.groups
        self.channels_held = rounded_up(self.channels, self.panel)
        self.filters_held = rounded_up(self.filters, self.panel)
        self.kernel_rows = rounded_up(self.filters_held, registers.ROWS)
        self.products = self.points * self.channels_held * self.filters_held
        self.job = self._job()
        self.working = spec.threads * int(self.job["workspace_step"][0])
        self.calls = Calls(self._call)

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec = self.spec
        height, width = with_unit_axes(spec.sizes, 2)
        out_height, out_width = with_unit_axes(spec.output_sizes, 2)
        top, left = with_unit_axes([before for before, _ in spec.margins], 2, 0)
        tile_rows, tile_columns = -(-out_height // self.m[0]), -(-out_width // self.m[1])
        tiles = spec.batch * tile_rows * tile_columns
        chunk = min(_chunk(self.channels_held, self.filters_held), rounded_up(tiles, registers.ROWS))
        largest = max(self.channels_held, self.filters_held)
        held = (chunk + 1) * (self.channels_held + self.filters_held) + 4 * self.panel
        ends = 4 * self.filters_held + 2 * self.channels_held
        slope, cap = kernel_numbers(spec.rectifier)
        values = {
            "images": spec.batch,
            "height": height,
            "width": width,
            "channels": self.channels,
            "out_height": out_height,
            "out_width": out_width,
            "filters": self.filters,
            "channels_held": self.channels_held,
            "filters_held": self.filters_held,
            "top": top,
            "left": left,
            "tile_rows": tile_rows,
            "tile_columns": tile_columns,
            "chunk": chunk,
            "workspace_step": self.points * (held + max(2 * largest, self.lanes**2)) + ends,
            "slope": slope,
            "cap": cap,
        }
        return filled(JOB, values, {}, AXES)

    def _source(self, function: str) -> Source:
        (m_rows, m_columns), (r_rows, r_columns) = self.m, self.r
        return source(function, dtype_name(self.spec.dtype), m_rows, r_rows, m_columns, r_columns)

    def _call(self) -> Call:
        threads, dtype = self.spec.threads, dtype_name(self.spec.dtype)
        normalization = np.zeros((2, len(ROWS_OF_NORMALIZATION), self.filters_held), dtype)
        normalization[1, 1], normalization[1, 4] = 1.0, math.inf  # a scale and an offset that change nothing
        return Call(
            self.job,
            threads,
            self._source,
            check=np.zeros((threads, self.lanes), dtype),
            tables=np.empty((threads, TABLES, self.points), np.int64),
            bias=np.zeros(self.filters_held, dtype),
            bias_gradient=np.zeros((threads, self.filters_held), dtype),
            moments=np.empty((threads, 2, self.filters_held)),
            normalization=normalization,
        )

    def _weights(self, kernel: Tensor, group: int) -> Tensor:
        """The kernel of a group as (filters, *sizes, channels), padded to whole panels."""
        weights = kernel.movedim(-1, 0)[group * self.filters : (group + 1) * self.filters]
        held = (0, self.channels_held - self.channels), (0, self.filters_held - self.filters)
        if held != ((0, 0), (0, 0)):
            weights = F.pad(weights, (*held[0], *(0, 0) * self.spec.rank, *held[1]))
        return weights.contiguous()

    def forward(
        self, inputs: Tensor, kernel: Tensor, bias: Tensor | None, moments: Numbers | None = None
    ) -> Tensor | None:
        spec = self.spec
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        passes = PLAIN if moments is None else NORMALIZING
        later = (passes.backward, "finish_kernel_gradient") if spec.learns else ()
        with self.calls.one() as call, workspace(self.products + self.working, spec.dtype) as memory:
            held, address = call.held, memory.data_ptr()
            held["check"].fill(0)
            call.place(products=address, workspace=address + self.products * spec.dtype.itemsize)
            call.place(wants_input=0)
            for group in range(spec.groups):
                own = slice(group * self.filters, (group + 1) * self.filters)
                weights = self._weights(kernel, group)
                held["bias"][: self.filters] = 0.0 if bias is None else bias.detach()[own].numpy()
                call.place_batch("inputs", inputs, group * self.channels)
                call.place_batch("outputs", outputs, group * self.filters)
                call.place(kernel=weights.data_ptr())
                call.run("transform_kernel", *later)
                call.run(passes.forward)
                if moments is not None:
                    moments[:, own] = held["moments"].sum(0)[:, : self.filters]
            return None if np.isnan(held["check"]).any() else outputs

    def backward(
        self,
        output_gradient: Tensor,
        inputs: Tensor,
        kernel: Tensor,
        outputs: Tensor | None,
        wanted: tuple[bool, ...],
        normalization: Numbers | None = None,
    ) -> Gradients | None:
        wants_input, wants_kernel, wants_bias = wanted
        spec, threads, size = self.spec, self.spec.threads, self.spec.dtype.itemsize
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = torch.empty_like(kernel) if wants_kernel else None
        bias_gradient = kernel.new_empty(spec.filters) if wants_bias else None
        sums = threads * self.points * self.kernel_rows * self.channels_held
        kernel_size = self.filters_held * math.prod(self.r) * self.channels_held
        count = self.products + sums + kernel_size + self.working
        with self.calls.one() as call, workspace(count, spec.dtype) as memory:
            held, address = call.held, memory.data_ptr()
            held["check"].fill(0)
            call.place(products=address, kernel_sums=address + self.products * size)
            call.place(kernel_gradient=address + (self.products + sums) * size)
            call.place(workspace=address + (count - self.working) * size)
            call.place(wants_input=wants_input, wants_kernel=wants_kernel)
            for group in range(spec.groups):
                own = slice(group * self.filters, (group + 1) * self.filters)
                call.place_batch("inputs", inputs, group * self.channels)
                call.place_batch("output_gradient", output_gradient, group * self.filters)
                call.place_batch("outputs", output_gradient if outputs is None else outputs, group * self.filters)
                if input_gradient is not None:
                    call.place_batch("input_gradient", input_gradient, group * self.channels)
                    weights = self._weights(kernel, group)
                    call.place(kernel=weights.data_ptr())
                    call.run("transform_kernel")
                if normalization is not None:
                    held["normalization"][0, :, : self.filters] = normalization[:, own]
                call.run((PLAIN if normalization is None else NORMALIZING).backward)
                if kernel_gradient is not None:
                    call.run("finish_kernel_gradient")
                    found = memory[self.products + sums :][:kernel_size]
                    found = found.view(self.filters_held, *spec.window.sizes, self.channels_held)
                    kernel_gradient.movedim(-1, 0)[own].copy_(found[: self.filters, ..., : self.channels])
                if bias_gradient is not None:
                    bias_gradient[own] = torch.from_numpy(held["bias_gradient"].sum(0)[: self.filters])
            is_finite = not np.isnan(held["check"]).any()
        return (input_gradient, kernel_gradient, bias_gradient) if is_finite else None


def _chunk(channels: int, filters: int) -> int:
    """How many tiles a thread works on at a time: enough to use each factor U often, few enough for the caches."""
    return rounded_up(36 if channels * filters <= 128 * 128 else 96, registers.ROWS)
