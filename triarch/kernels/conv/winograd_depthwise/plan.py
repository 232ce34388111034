"""Depthwise convolution by tiles of rows and chunks of taps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.batches import Job, filled, rounded_up, with_unit_axes
from triarch.kernels.conv.depthwise.job import FEW, MANY, is_in_pairs, taps_held
from triarch.kernels.conv.depthwise.planes import PlanesKernel
from triarch.kernels.conv.spec import ConvSpec
from triarch.kernels.conv.winograd.matrices import matrix_of
from triarch.kernels.conv.winograd_depthwise.job import AXES, CHUNK, JOB, POINTS, TILE
from triarch.kernels.native.source import Source
from triarch.kernels.rectifier import kernel_numbers

_MODULE = "triarch.kernels.conv.winograd_depthwise.compiled"

FUNCTIONS = ("forward", "backward")


def source(function: str, dtype: str) -> Source:
    """A kernel of this method."""
    return Source(_MODULE, function, (dtype,), JOB)


def tiles_of(places: int, taps_row: int) -> int:
    """The tiles of a row of outputs, as a multiple of those that are summed at a time."""
    return rounded_up(-(-places // TILE), FEW if is_in_pairs(taps_row, 1) else MANY)


class WinogradDepthwiseKernel(PlanesKernel):
    """The sum by F(4, 4) along rows."""

    rearranges = True

    def __init__(self, spec: ConvSpec) -> None:
        rows, columns = with_unit_axes(spec.window.sizes, 2)
        self.chunks = -(-columns // CHUNK)
        self.chunks_held = taps_held(self.chunks)
        super().__init__(spec, source, (POINTS, rows, self.chunks_held))

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

    def _arranged(self, taps: Tensor) -> Tensor:
        """Taps (channels / lanes, rows, columns, lanes) -> U (channels / lanes, points, rows, chunks, lanes)."""
        taps = F.pad(taps, (0, 0, 0, self.chunks * CHUNK - self.taps[1])).unflatten(2, (self.chunks, CHUNK))
        return torch.einsum("pi,vrcil->vprcl", taps.new_tensor(matrix_of("kernel", TILE, CHUNK)), taps)

    def _kernel_gradient(self, sums: Tensor) -> Tensor:
        """U′ (channels / lanes, points, rows, chunks, lanes) -> the gradient of the taps (rows, columns, channels)."""
        matrix = sums.new_tensor(matrix_of("kernel_gradient", TILE, CHUNK))
        gradient = torch.einsum("ip,vprcl->rcivl", matrix, sums[..., : self.chunks, :])
        return gradient.flatten(3).flatten(1, 2)[:, : self.taps[1]]
