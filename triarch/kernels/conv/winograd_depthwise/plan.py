"""Depthwise convolution by tiles of rows and chunks of taps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, name_of, place, rounded_up, with_channels_together, with_unit_axes
from triarch.kernels.conv.binding import Gradients, Kernel
from triarch.kernels.conv.depthwise.job import is_in_pairs, taps_held
from triarch.kernels.conv.depthwise.plan import by_vectors
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd.matrices import matrix_of
from triarch.kernels.conv.winograd_depthwise.job import AXES, CHUNK, JOB, POINTS, TILE
from triarch.kernels.native import registers
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import run
from triarch.kernels.native.workspaces import workspace
from triarch.kernels.rectifier import kernel_numbers

_MODULE = "triarch.kernels.conv.winograd_depthwise.compiled"

FUNCTIONS = ("forward", "backward")


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype,), JOB)


def tiles_of(places: int, taps_row: int) -> int:
    """The tiles of a row of outputs, as a multiple of those that are summed at a time."""
    return rounded_up(-(-places // TILE), 4 if is_in_pairs(taps_row, 1) else 8)


class WinogradDepthwiseKernel(Kernel):
    """The convolution of each channel with its own filter, by F(4, 4) along rows."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec = spec
        self.lanes = registers.lanes(spec.dtype)
        self.channels_held = rounded_up(spec.channels, self.lanes)
        self.taps = with_unit_axes(spec.window.sizes, 2)
        self.chunks = -(-self.taps[1] // CHUNK)
        self.chunks_held = taps_held(self.chunks)
        self.job = self._job()
        self.step = int(self.job["workspace_step"][0])

    def _job(self) -> Job:
        """All of the job but addresses and steps."""
        spec = self.spec
        sizes, outputs = with_unit_axes(spec.sizes, 2), with_unit_axes(spec.output_sizes, 2)
        margins = with_unit_axes([before for before, _ in spec.margins], 2, 0)
        gradient_margins = tuple(taps - 1 - margin for taps, margin in zip(self.taps, margins, strict=True))
        tiles, gradient_tiles = tiles_of(outputs[1], self.taps[0]), tiles_of(sizes[1], self.taps[0])
        seen, gradient_seen = (number + self.chunks_held - 1 for number in (tiles, gradient_tiles))
        line = max(TILE * max(seen, gradient_seen) + CHUNK - 1, margins[1] + sizes[1], gradient_margins[1] + outputs[1])
        v = max((outputs[0] + self.taps[0] - 1) * seen, (sizes[0] + self.taps[0] - 1) * gradient_seen)
        sums = 2 * POINTS * max(tiles, gradient_tiles)
        gradient = outputs[0] * tiles * (TILE + POINTS)
        slope, cap = kernel_numbers(spec.rectifier)
        values = {
            "images": spec.batch,
            "channels": spec.channels,
            "in_pairs": is_in_pairs(self.taps[0], 1),
            "chunks": self.chunks,
            "chunks_held": self.chunks_held,
            "tiles": tiles,
            "tiles_seen": seen,
            "gradient_tiles": gradient_tiles,
            "gradient_tiles_seen": gradient_seen,
            "line": line,
            "workspace_step": (line + 2 * TILE + sums + gradient + POINTS * v + 2) * self.lanes,
            "slope": slope,
            "cap": cap,
        }
        of_axes = {
            "size": sizes,
            "out": outputs,
            "taps": self.taps,
            "margin": margins,
            "gradient_margin": gradient_margins,
        }
        return filled(JOB, values, of_axes, AXES)

    def _transformed(self, taps: Tensor) -> Tensor:
        """Taps (channels / lanes, rows, columns, lanes) -> U (channels / lanes, points, rows, chunks, lanes)."""
        taps = F.pad(taps, (0, 0, 0, self.chunks * CHUNK - self.taps[1])).unflatten(2, (self.chunks, CHUNK))
        matrix = taps.new_tensor(matrix_of("kernel", TILE, CHUNK))
        return torch.einsum("pi,vrcil->vprcl", matrix, taps).contiguous()

    def _started(self) -> tuple[Job, np.ndarray]:
        """A job, and the numbers in which its threads tell that something was not finite."""
        job, check = self.job.copy(), np.zeros(self.spec.threads * self.lanes, name_of(self.spec.dtype))
        job["check"] = check.ctypes.data
        return job, check

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor | None:
        spec, threads = self.spec, self.spec.threads
        inputs = with_channels_together(inputs)
        outputs = inputs.new_empty(spec.batch, *spec.output_sizes, spec.filters)
        taps = self._transformed(by_vectors(kernel, self.taps, self.lanes))
        job, check = self._started()
        with workspace(self.channels_held + threads * self.step, spec.dtype) as memory:
            offsets = memory[: self.channels_held].zero_()
            if bias is not None:
                offsets[: spec.channels].copy_(bias)
            job["bias"], job["workspace"] = offsets.data_ptr(), memory[self.channels_held :].data_ptr()
            place(job, "inputs", inputs, 0, AXES)
            place(job, "outputs", outputs, 0, AXES)
            job["kernel"] = taps.data_ptr()
            run(compiled(source("forward", name_of(spec.dtype))), job, threads)
        return None if np.isnan(check).any() else outputs

    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients | None:
        wants_input, wants_kernel, wants_bias = wanted
        spec, threads = self.spec, self.spec.threads
        inputs, output_gradient = with_channels_together(inputs), with_channels_together(output_gradient)
        input_gradient = torch.empty_like(inputs, memory_format=torch.contiguous_format) if wants_input else None
        kernel_gradient = bias_gradient = None
        taps = self._transformed(by_vectors(kernel, self.taps, self.lanes).flip(1, 2))
        job, check = self._started()
        job["wants_input"], job["wants_kernel"] = wants_input, wants_kernel
        sums = threads * self.channels_held * POINTS * self.taps[0] * self.chunks_held
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
            if wants_kernel:
                found = memory[:sums].view(threads, -1, POINTS, self.taps[0], self.chunks_held, self.lanes).sum(0)
                kernel_gradient = self._kernel_gradient(found[..., : self.chunks, :]).reshape(kernel.shape)
            if wants_bias:
                bias_gradient = parts.view(threads, -1)[:, : spec.channels].sum(0)
        is_finite = not np.isnan(check).any() and (kernel_gradient is None or bool(kernel_gradient.isfinite().all()))
        return (input_gradient, kernel_gradient, bias_gradient) if is_finite else None

    def _kernel_gradient(self, sums: Tensor) -> Tensor:
        """U′ (channels / lanes, points, rows, chunks, lanes) -> the gradient of the taps (rows, columns, channels)."""
        matrix = sums.new_tensor(matrix_of("kernel_gradient", TILE, CHUNK))
        gradient = torch.einsum("ip,vprcl->rcivl", matrix, sums)
        return gradient.flatten(3).flatten(1, 2)[:, : self.taps[1], : self.spec.channels]
