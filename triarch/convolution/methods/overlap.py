"""Short transforms of overlapping blocks of the signal (overlap-save), when the kernel is much shorter than the signal.

Every block of B places gives B - K + 1 places of the result, in each axis. Overlap-add, which adds blocks of the
result, was measured too: up to a third faster on signals that the cache holds, a fifth slower on long ones, whose
result it writes twice. Blocks go through in chunks that stay in the cache, so that the memory beside the signal and
the result is a small constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from triarch.convolution.arrays import last_axes, like, next_smooth, part_with_zeros, tensor_of
from triarch.convolution.bounds import is_rounding_safe
from triarch.convolution.memory import CHUNK
from triarch.convolution.methods import fourier
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Progress, Sizes
from triarch.convolution.transforms import WholeTransform


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.dtype == "int64" and not is_one_block(spec):
        points = math.prod(block_sizes(spec))
        norm = 2.0 ** sum(spec.bits) * math.sqrt(points) * math.sqrt(math.prod(spec.kernel_sizes))
        if not is_rounding_safe(norm, points):
            return f"integers of {spec.bits[0]} and {spec.bits[1]} bits are not proven exact in one float64 transform"
    elif spec.dtype not in (*FLOATS, *COMPLEX, "int64"):
        return f"no transform is exact for numbers of type {spec.dtype}"
    return None


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    blocks, sizes = _blocks(spec), block_sizes(spec)
    if is_one_block(spec):
        return fourier.count(spec)
    points = math.prod(sizes)
    times = math.prod(blocks) * (math.prod(spec.signal_batch) + math.prod(spec.batch))
    transforms = times + math.prod(spec.kernel_batch)
    work = transforms * points * sum(_cost_of_point(size, spec.rank) for size in sizes)
    return {
        "calls": 1.0,
        "row_work" if spec.rank == 1 else "work": work * spec.reals / torch.get_num_threads(),
        "numbers": float(points * times * 2) * spec.reals,
        "chunks": float(-(-math.prod(blocks) * points * math.prod(spec.batch) // CHUNK)),
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it; a single block is no block but one transform."""
    if is_one_block(spec):
        return fourier.plan(spec)
    return _OverlapSave(spec, block_sizes(spec), _blocks(spec))


def is_one_block(spec: ConvolutionSpec) -> bool:
    """Whether the kernel is too long for several blocks, so that this is the method `fft`."""
    return math.prod(_blocks(spec)) == 1


def block_sizes(spec: ConvolutionSpec) -> Sizes:
    """How many places are transformed together in each axis."""
    return tuple(
        next_smooth(-(-length // blocks) + k - 1)
        for length, blocks, k in zip(spec.length, _blocks(spec), spec.kernel_sizes, strict=True)
    )


def _blocks(spec: ConvolutionSpec) -> Sizes:
    """How many blocks each axis has."""
    axes = zip(spec.length, spec.kernel_sizes, fourier.least_periods(spec), strict=True)
    return tuple(_blocks_of_axis(length, k, whole, spec.rank) for length, k, whole in axes)


def _blocks_of_axis(length: int, kernel: int, whole: int, rank: int) -> int:
    """The number whose transforms cost the least for each place of the result; one where the kernel is too long."""
    least = max(2 * kernel, {1: 1024, 2: 64}.get(rank, 32))
    sizes = [size for e in range(4, 26) for size in (2**e, 3 * 2 ** (e - 1)) if least <= size < whole]

    def cost(size: int) -> float:
        return -(-length // (size - kernel + 1)) * size * _cost_of_point(size, rank)

    best = min(sizes, key=cost, default=whole)
    is_whole = best == whole or cost(best) > whole * _cost_of_point(whole, rank)
    return 1 if is_whole else -(-length // (best - kernel + 1))


def _cost_of_point(size: int, rank: int) -> float:
    """Up to a factor. Measured in one axis, it grows faster than the logarithm: larger blocks leave the caches."""
    return size**0.4 if rank == 1 else math.log2(size) + 4


@dataclass(frozen=True, slots=True)
class _OverlapSave:
    """All blocks, chunk after chunk."""

    spec: ConvolutionSpec
    sizes: Sizes
    blocks: Sizes

    @property
    def reports(self) -> bool:
        """Whether calls take a progress callback."""
        return True

    def __call__(self, a: Any, b: Any, progress: Progress | None = None) -> Any:
        spec = self.spec
        signal, kernel = (tensor_of(x) for x in ((a, b) if spec.is_a_signal else (b, a)))
        dtype = torch.float64 if spec.dtype == "int64" else signal.dtype
        transform = WholeTransform(self.sizes, spec.is_complex, is_small=False)
        spectra = transform.forward(kernel.to(dtype))
        steps = self._steps()
        result = signal.new_empty(
            spec.batch + tuple(count * step for count, step in zip(self.blocks, steps, strict=True))
        )
        inner = [k - 1 for k in spec.kernel_sizes]
        done, total = 0, self.blocks[0] * (spec.batch[0] if spec.batch else 1)
        for entries, first, last in self._chunks():
            blocks = self._gather(signal, entries, first, last).to(dtype)
            spectrum = transform.forward(blocks)
            filters = self._part(spectra, spec.kernel_batch, entries)
            filters = filters.reshape(filters.shape[: -spec.rank] + (1,) * spec.rank + filters.shape[-spec.rank :])
            values = transform.inverse(spectrum * filters)
            values = values[last_axes(zip(inner, self.sizes, strict=True))]
            self._scatter(values, self._part(result, spec.batch, entries), first, last, steps)
            done += (last - first) * (entries.stop - entries.start)
            if progress is not None:
                progress(done, total)
        return like(result[last_axes((0, length) for length in spec.length)], a)

    def _steps(self) -> Sizes:
        return tuple(size - k + 1 for size, k in zip(self.sizes, self.spec.kernel_sizes, strict=True))

    def _chunks(self) -> Iterator[tuple[slice, int, int]]:
        """Entries of the batch's first axis, and blocks of the first convolved axis: many of one or all of several."""
        spec = self.spec
        row = math.prod(self.sizes) * math.prod(self.blocks[1:]) * math.prod(spec.batch[1:])
        height = min(self.blocks[0], max(1, CHUNK // row))
        many = max(1, CHUNK // (row * self.blocks[0]))
        entries = spec.batch[0] if spec.batch else 1
        for entry, first in product(range(0, entries, many), range(0, self.blocks[0], height)):
            yield slice(entry, min(entry + many, entries)), first, min(first + height, self.blocks[0])

    def _part(self, x: Tensor, batch: Sizes, entries: slice) -> Tensor:
        """What of an operand meets these entries of the first batch axis."""
        return x[entries] if len(batch) == len(self.spec.batch) and batch and batch[0] > 1 else x

    def _gather(self, signal: Tensor, entries: slice, first: int, last: int) -> Tensor:
        """The overlapping blocks of the signal: (*batch, *blocks, *sizes)."""
        spec, steps = self.spec, self._steps()
        part = self._part(signal, spec.signal_batch, entries)
        counts = (last - first, *self.blocks[1:])
        lows = [start - k + 1 for start, k in zip(spec.start, spec.kernel_sizes, strict=True)]
        lows[0] += first * steps[0]
        shape = [count * step + k - 1 for count, step, k in zip(counts, steps, spec.kernel_sizes, strict=True)]
        slab = part_with_zeros(part, lows, shape)
        lead = slab.ndim - spec.rank
        for axis, (size, step) in enumerate(zip(self.sizes, steps, strict=True)):
            slab = slab.unfold(lead + axis, size, step)
        return slab

    def _scatter(self, values: Tensor, result: Tensor, first: int, last: int, steps: Sizes) -> None:
        """Write (*batch, *blocks, *steps) into the rows of the result."""
        rank = self.spec.rank
        rows = result.narrow(result.ndim - rank, first * steps[0], (last - first) * steps[0])
        lead = rows.ndim - rank
        for axis, step in enumerate(steps):
            rows = rows.unflatten(lead + 2 * axis, (-1, step))
        order = (*range(lead), *range(lead, lead + 2 * rank, 2), *range(lead + 1, lead + 2 * rank, 2))
        target = rows.permute(order)
        target.copy_(values.round() if self.spec.dtype == "int64" else values)
