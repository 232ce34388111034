"""The convolution theorem, block by block (overlap-save), for large kernels.

A block of n places gives n - k + 1 outputs of a kernel of k taps; the spectra of its channels are multiplied by those
of the kernel, frequency by frequency. Backward, with ^ for spectra: dX^ = dY^ K^ is added over overlapping blocks, and
dK^ = X^ conj(dY^).
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from triarch.kernels.conv.binding import Gradients, Kernel
from triarch.kernels.conv.methods import direct
from triarch.kernels.conv.spec import ConvSpec
from triarch.tensors import dtype_name

_FLOATS = (torch.float32, torch.float64)


class Blocks(NamedTuple):
    """How an axis is cut: `number` blocks of `size` places give `step` outputs each."""

    number: int
    size: int
    step: int

    @property
    def outputs(self) -> int:
        """Of all blocks, those beyond the end included."""
        return self.number * self.step


@cache
def _fast_sizes(largest: int) -> tuple[int, ...]:
    """The sizes up to `largest` and the next power of two that have the factors 2, 3 and 5 alone."""
    top = 1 << largest.bit_length()
    exponents = product(range(21), range(14), range(10))
    return tuple(sorted({size for a, b, c in exponents if (size := 2**a * 3**b * 5**c) <= top}))


@cache
def blocks_of(outputs: int, taps: int, signals: int, kernels: int) -> Blocks:
    """The cut of an axis that needs the fewest operations.

    Args:
        signals: How many rows are transformed along it, of inputs and outputs.
        kernels: How many of the kernel.
    """
    best = None
    for size in _fast_sizes(outputs + taps - 1):
        if size < taps:
            continue
        step = size - taps + 1
        number = -(-outputs // step)
        work = (number * signals + kernels) * size * (math.log2(size) + 4)
        if best is None or work < best[0]:
            best = work, Blocks(number, size, step)
        if number == 1:
            break
    assert best is not None
    return best[1]


def _cuts(spec: ConvSpec) -> list[Blocks]:
    signals = spec.batch * (spec.channels + spec.filters)
    kernels = spec.channels * spec.filters // spec.groups
    sizes = zip(spec.output_sizes, spec.window.sizes, strict=True)
    return [blocks_of(outputs, taps, signals, kernels) for outputs, taps in sizes]


def refuse(spec: ConvSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    window = spec.window
    if spec.dtype not in _FLOATS:
        return f"there is no Fourier transform for numbers of type {dtype_name(spec.dtype)}"
    if window.data_format != "channels_last":
        return "channels do not come last"
    if spec.batch == 0:
        return "there is nothing to transform"
    if max(window.strides) > 1 or max(window.dilation) > 1:
        return f"the window moves by {window.strides} and is dilated by {window.dilation}: spectra need 1"
    return None


def count(spec: ConvSpec) -> dict[str, float]:
    """What the time depends on."""
    cuts = _cuts(spec)
    places = spec.batch * math.prod(cut.number * cut.size for cut in cuts)
    size = math.prod(cut.size for cut in cuts)
    passes = 1 + spec.gradients / 2  # of each a transform of one kind, and of the other where it is not kept
    channels, filters = spec.channels // spec.groups, spec.filters // spec.groups
    numbers = spec.channels * spec.filters // spec.groups * size + passes * places * (spec.channels + spec.filters)
    products = (1 + spec.gradients) * places / 2 * channels * filters * spec.groups
    is_elementwise = channels == filters == 1
    return {
        "calls": 1.0,
        "transformed": numbers * math.log2(max(size, 2)) / spec.threads,
        "numbers": numbers / spec.threads,
        "depthwise_products" if is_elementwise else "products": products / spec.threads,
    }


def plan(spec: ConvSpec) -> FourierKernel:
    """What computes it."""
    return FourierKernel(spec)


class FourierKernel(Kernel):
    """The convolution by spectra. Axes: batch, blocks (one for each spatial axis), channels, frequencies."""

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__(direct.plan(spec), keeps_outputs=spec.rectifier is not None)
        self.spec = spec
        self.axes = tuple(range(-spec.rank, 0))
        self.cuts = _cuts(spec)
        self.size = [cut.size for cut in self.cuts]
        self.channels, self.filters = spec.channels // spec.groups, spec.filters // spec.groups
        self.is_elementwise = self.channels == self.filters == 1

    def forward(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor | None:
        spectra = self._times(self._input_spectra(inputs), self._kernel_spectra(kernel).conj())
        outputs = self._joined(torch.fft.irfftn(spectra, self.size, self.axes))
        if bias is not None:
            outputs += bias
        if not bool(outputs.isfinite().all()):
            return None
        return self.spec.finish(outputs)

    def backward(
        self, output_gradient: Tensor, inputs: Tensor, kernel: Tensor, outputs: Tensor | None, wanted: tuple[bool, ...]
    ) -> Gradients | None:
        wants_input, wants_kernel, wants_bias = wanted
        rectifier = self.spec.rectifier
        if rectifier is not None and outputs is not None:
            output_gradient = rectifier.gradient(output_gradient, outputs)
        bias_gradient = output_gradient.flatten(0, -2).sum(0) if wants_bias else None
        spectra = self._output_spectra(output_gradient)
        input_gradient = kernel_gradient = None
        if wants_input:
            of_blocks = self._times(spectra, self._kernel_spectra(kernel).transpose(1, 2))
            input_gradient = self._overlapped(torch.fft.irfftn(of_blocks, self.size, self.axes))
        if wants_kernel:
            of_kernel = self._correlated(self._input_spectra(inputs), spectra)
            kernel_gradient = self._as_kernel(torch.fft.irfftn(of_kernel, self.size, self.axes), kernel)
        found = [gradient for gradient in (input_gradient, kernel_gradient) if gradient is not None]
        if not all(bool(gradient.isfinite().all()) for gradient in found):
            return None
        return input_gradient, kernel_gradient, bias_gradient

    def _input_spectra(self, inputs: Tensor) -> Tensor:
        """Of the overlapping blocks of the input: (batch, channels, *numbers, *frequencies)."""
        batch = inputs.movedim(-1, 1).contiguous()
        missing = []
        for cut, size, (before, _) in zip(self.cuts, self.spec.sizes, self.spec.margins, strict=True):
            missing.append((before, cut.outputs + cut.size - cut.step - size - before))
        blocks = F.pad(batch, [count for pair in reversed(missing) for count in pair])
        for axis, cut in enumerate(self.cuts):
            blocks = blocks.unfold(2 + axis, cut.size, cut.step)
        return torch.fft.rfftn(blocks, dim=self.axes)

    def _output_spectra(self, gradient: Tensor) -> Tensor:
        """Of the blocks of the output, which do not overlap: (batch, filters, *numbers, *frequencies)."""
        rank, batch = self.spec.rank, gradient.movedim(-1, 1).contiguous()
        missing = [cut.outputs - size for cut, size in zip(self.cuts, self.spec.output_sizes, strict=True)]
        blocks = F.pad(batch, [count for pair in reversed([(0, number) for number in missing]) for count in pair])
        for axis, cut in enumerate(self.cuts):
            blocks = blocks.unfold(2 + axis, cut.step, cut.step)
        return torch.fft.rfftn(blocks, self.size, dim=tuple(range(-rank, 0)))

    def _kernel_spectra(self, kernel: Tensor) -> Tensor:
        """(groups, filters of a group, channels of a group, *frequencies)."""
        rank = self.spec.rank
        taps = kernel.permute(rank + 1, rank, *range(rank)).unflatten(0, (self.spec.groups, self.filters))
        return torch.fft.rfftn(taps, self.size, self.axes)

    def _times(self, batch: Tensor, kernel: Tensor) -> Tensor:
        """The batch's spectra times the kernel's, summed over its second axis of each group."""
        rank, groups = self.spec.rank, self.spec.groups
        if self.is_elementwise:
            return batch * kernel.reshape(groups, *(1,) * rank, *kernel.shape[3:])
        images, numbers, frequencies = batch.shape[0], batch.shape[2 : 2 + rank], batch.shape[2 + rank :]
        rows = self._by_frequency(batch)
        factors = kernel.flatten(3).permute(3, 0, 2, 1).flatten(0, 1)  # (frequencies * groups, in, out)
        found = torch.bmm(rows, factors).unflatten(0, (-1, groups))  # (frequencies, groups, rows, out)
        found = found.permute(2, 1, 3, 0).reshape(images, *numbers, groups * kernel.shape[1], *frequencies)
        return found.movedim(1 + rank, 1)

    def _by_frequency(self, batch: Tensor) -> Tensor:
        """(frequencies * groups, batch * numbers, channels of a group)."""
        rank, groups = self.spec.rank, self.spec.groups
        spectra = batch.unflatten(1, (groups, -1)).flatten(-rank)  # (batch, groups, channels, *numbers, frequencies)
        spectra = spectra.permute(-1, 1, 0, *range(3, 3 + rank), 2)
        return spectra.flatten(2, -2).flatten(0, 1)

    def _correlated(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """`inputs conj(outputs)` summed over batch and blocks: (groups, filters, channels of a group, *frequencies)."""
        rank, groups = self.spec.rank, self.spec.groups
        frequencies = inputs.shape[2 + rank :]
        if self.is_elementwise:
            summed = (inputs * outputs.conj()).sum((0, *range(2, 2 + rank)))
            return summed.reshape(groups, 1, 1, *frequencies)
        found = torch.bmm(self._by_frequency(outputs).mH, self._by_frequency(inputs))
        return found.unflatten(0, (-1, groups)).permute(1, 2, 3, 0).unflatten(-1, frequencies)

    def _joined(self, blocks: Tensor) -> Tensor:
        """The outputs of all blocks in their places: (batch, *sizes, filters)."""
        spec, rank = self.spec, self.spec.rank
        for axis, cut in enumerate(self.cuts):
            blocks = blocks.narrow(2 + rank + axis, 0, cut.step)
        pairs = [axis for pair in zip(range(2, 2 + rank), range(2 + rank, 2 + 2 * rank), strict=True) for axis in pair]
        whole = blocks.permute(0, *pairs, 1).reshape(spec.batch, *(cut.outputs for cut in self.cuts), spec.filters)
        for axis, size in enumerate(spec.output_sizes):
            whole = whole.narrow(1 + axis, 0, size)
        return whole.contiguous()

    def _overlapped(self, blocks: Tensor) -> Tensor:
        """The sums of overlapping blocks, without the margins: (batch, *sizes, channels)."""
        for axis, cut in enumerate(self.cuts):
            # Axes: batch, channels, the numbers of blocks that are left, their places, the sizes that are done.
            place = 1 + self.spec.rank - axis
            length = cut.outputs + cut.size - cut.step
            joined = blocks.new_zeros(
                *blocks.shape[:2], *blocks.shape[3 : place + 1], length, *blocks.shape[place + 2 :]
            )
            for number in range(cut.number):
                joined.narrow(place, number * cut.step, cut.size).add_(blocks.select(2, number))
            (before, _), size = self.spec.margins[axis], self.spec.sizes[axis]
            kept = joined.narrow(place, before, min(size, length - before)).movedim(place, -1)
            blocks = F.pad(kept, (0, size - kept.shape[-1]))
        return blocks.movedim(1, -1).contiguous()

    def _as_kernel(self, taps: Tensor, like: Tensor) -> Tensor:
        """(groups, filters, channels, *places) -> a gradient laid out as the kernel is."""
        for axis, number in enumerate(self.spec.window.sizes):
            taps = taps.narrow(3 + axis, 0, number)
        rank = self.spec.rank
        gradient = torch.empty_like(like)
        gradient.copy_(taps.flatten(0, 1).permute(*range(2, 2 + rank), 1, 0))
        return gradient
