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

from triarch.kernels.conv.batches import Job, checked, filled, place, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import NUMBERS_OF_NORMALIZATION, Gradients, NormalizingKernel, Numbers
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd.job import AXES, JOB, TABLES
from triarch.kernels.native import registers
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.rectifier import kernel_numbers
from triarch.tensors import dtype_name

_MODULE = "triarch.kernels.conv.winograd.compiled"

FUNCTIONS = ("transform_kernel", "forward", "backward", "finish_kernel_gradient")
NORMALIZING_FUNCTIONS = ("forward", "backward")


def source(function: str, dtype: str, *tile: int, is_normalized: bool = False) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype, *tile, *((True,) if is_normalized else ())), JOB)


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
        self.job = self._job()

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

    def _compiled(self, function: str, is_normalized: bool = False) -> int:
        (m_rows, m_columns), (r_rows, r_columns) = self.m, self.r
        tile = (m_rows, r_rows, m_columns, r_columns)
        return compiled(source(function, dtype_name(self.spec.dtype), *tile, is_normalized=is_normalized))

    def _tables(self) -> Numbers:
        return np.empty((self.spec.threads, TABLES, self.points), np.int64)

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
        spec, threads = self.spec, self.spec.threads
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        job, check = checked(self.job, threads, spec.dtype)
        tables = self._tables()
        job["tables"] = tables.ctypes.data
        transform = self._compiled("transform_kernel")
        convolve = self._compiled("forward", is_normalized=moments is not None)
        parts = np.empty((threads, 2, self.filters_held))
        job["moments"] = parts.ctypes.data
        products = self.points * self.channels_held * self.filters_held
        with workspace(products + self.filters_held + threads * int(job["workspace_step"][0]), spec.dtype) as memory:
            offsets = memory[products : products + self.filters_held].zero_()
            job["products"], job["bias"] = memory.data_ptr(), offsets.data_ptr()
            job["workspace"] = memory[products + self.filters_held :].data_ptr()
            for group in range(spec.groups):
                weights = self._weights(kernel, group)
                if bias is not None:
                    offsets[: self.filters].copy_(bias[group * self.filters : (group + 1) * self.filters])
                place(job, "inputs", inputs, group * self.channels, AXES)
                place(job, "outputs", outputs, group * self.filters, AXES)
                job["kernel"] = weights.data_ptr()
                run(transform, job, threads)
                run(convolve, job, threads)
                if moments is not None:
                    own = slice(group * self.filters, (group + 1) * self.filters)
                    moments[:, own] = parts.sum(0)[:, : self.filters]
        return None if np.isnan(check).any() else outputs

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
        spec, threads = self.spec, self.spec.threads
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = torch.empty_like(kernel) if wants_kernel else None
        bias_gradient = kernel.new_empty(spec.filters) if wants_bias else None
        job, check = checked(self.job, threads, spec.dtype)
        job["wants_input"], job["wants_kernel"] = wants_input, wants_kernel
        products = self.points * self.channels_held * self.filters_held
        sums = threads * self.points * self.kernel_rows * self.channels_held if wants_kernel else 0
        parts = threads * self.filters_held
        kernel_size = self.filters_held * math.prod(self.r) * self.channels_held
        step = int(job["workspace_step"][0])
        tables = self._tables()
        job["tables"] = tables.ctypes.data
        propagate = self._compiled("backward", is_normalized=normalization is not None)
        numbers = np.zeros((2, NUMBERS_OF_NORMALIZATION, self.filters_held), dtype_name(spec.dtype))
        numbers[1, 1], numbers[1, 4] = 1.0, math.inf  # a scale and an offset that change nothing
        job["normalization"] = numbers.ctypes.data
        with workspace(products + sums + parts + kernel_size + threads * step, spec.dtype) as memory:
            job["products"] = memory.data_ptr()
            job["kernel_sums"] = memory[products:].data_ptr()
            bias_parts = memory[products + sums : products + sums + parts]
            job["bias_gradient"] = bias_parts.data_ptr()
            whole_kernel = memory[products + sums + parts :][:kernel_size]
            job["kernel_gradient"] = whole_kernel.data_ptr()
            job["workspace"] = memory[products + sums + parts + kernel_size :].data_ptr()
            for group in range(spec.groups):
                own = slice(group * self.filters, (group + 1) * self.filters)
                place(job, "inputs", inputs, group * self.channels, AXES)
                place(job, "output_gradient", output_gradient, group * self.filters, AXES)
                place(job, "outputs", output_gradient if outputs is None else outputs, group * self.filters, AXES)
                if input_gradient is not None:
                    place(job, "input_gradient", input_gradient, group * self.channels, AXES)
                    weights = self._weights(kernel, group)
                    job["kernel"] = weights.data_ptr()
                    run(self._compiled("transform_kernel"), job, threads)
                if normalization is not None:
                    numbers[0, :, : self.filters] = normalization[:, own]
                run(propagate, job, threads)
                if kernel_gradient is not None:
                    run(self._compiled("finish_kernel_gradient"), job, threads)
                    found = whole_kernel.view(self.filters_held, *spec.window.sizes, self.channels_held)
                    kernel_gradient.movedim(-1, 0)[own].copy_(found[: self.filters, ..., : self.channels])
                if bias_gradient is not None:
                    torch.sum(bias_parts.view(threads, -1)[:, : self.filters], 0, out=bias_gradient[own])
        is_finite = not np.isnan(check).any() and (kernel_gradient is None or math.isfinite(kernel_gradient.sum()))
        return (input_gradient, kernel_gradient, bias_gradient) if is_finite else None


def _chunk(channels: int, filters: int) -> int:
    """How many tiles a thread works on at a time: enough to use each factor U often, few enough for the caches."""
    return rounded_up(36 if channels * filters <= 128 * 128 else 96, registers.ROWS)
