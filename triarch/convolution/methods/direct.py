"""The sum as it is defined: every product of the kernel with the signal, added up.

On the CPU a compiled loop; on other devices the vendor's convolution; for numbers that neither knows (Python integers,
fractions, long doubles) one scaled copy of the signal for each tap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from triarch.convolution.arrays import batch_numbers, last_axes
from triarch.convolution.memory import BLOCK
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec, Sizes
from triarch.convolution.threads import split_work, threads_for

Array = NDArray[Any]

_COMPILED = (*FLOATS, *COMPLEX, "int64")
_REAL_OF = {"complex64": "float32", "complex128": "float64"}
_SECONDS_PER_BYTE = 1e-11  # of one thread, for each multiplication: only decides how many threads are worth waking


def refuse(spec: ConvolutionSpec) -> str | None:
    """Why this method cannot do it; None where it can."""
    if spec.device == "cpu":
        return None
    if spec.dtype not in (*FLOATS, *COMPLEX):
        return f"there is no direct convolution of {spec.dtype} numbers on {spec.device}"
    return None if spec.rank <= 3 else f"on {spec.device} at most 3 axes are convolved directly, here {spec.rank}"


def count(spec: ConvolutionSpec) -> dict[str, float]:
    """What the time depends on."""
    products = float(spec.outputs * math.prod(spec.kernel_sizes))
    if spec.device != "cpu" or spec.dtype not in _COMPILED:
        digits = math.prod(-(-bits // 30) for bits in spec.bits)  # of Python's integers
        return {"calls": 1.0, "products": products, "digit_products": products * digits}
    rows = 0.0 if _is_row(spec) else float(spec.outputs // spec.length[-1])
    threads = threads_for(_items(spec), _seconds(spec))
    return {
        "calls": 1.0,
        "products" if threads == 1 else "shared_products": spec.reals**2 * products / threads,
        "row_taps": rows * math.prod(spec.kernel_sizes) * spec.reals,
        "rows": rows,
        "numbers": float(spec.outputs * spec.reals),
    }


def plan(spec: ConvolutionSpec) -> Callable[..., Any]:
    """What computes it, from arrays on the CPU and from tensors elsewhere: None for floats of a kernel not finite."""
    if spec.device != "cpu":
        return partial(_convolve_by_vendor, spec)
    if spec.dtype not in _COMPILED:
        return partial(_shift_and_add, spec)
    return _plan_row(spec) if _is_row(spec) else _plan_rows(spec)


def _seconds(spec: ConvolutionSpec) -> float:
    """About what one thread takes."""
    return _SECONDS_PER_BYTE * spec.outputs * math.prod(spec.kernel_sizes) * np.dtype(spec.dtype).itemsize


def _items(spec: ConvolutionSpec) -> int:
    """How many blocks of the output there are."""
    return spec.outputs // spec.length[-1] * -(-spec.length[-1] * spec.reals // BLOCK)


def _is_row(spec: ConvolutionSpec) -> bool:
    return spec.rank == 1 and not spec.batch


def _is_finite(kernel: Array) -> bool:
    """Whether zeros beyond the signal's ends stay zeros."""
    return kernel.dtype.kind not in "fc" or bool(np.isfinite(kernel).all())


def _turned(signal: Array) -> Array:
    """Times i, infinities too."""
    turned = np.empty_like(signal)
    turned.real, turned.imag = -signal.imag, signal.real
    return turned


def _plan_row(spec: ConvolutionSpec) -> Callable[[Array, Array], Array | None]:
    """For one unbatched axis."""
    from triarch.convolution import compiled

    step = spec.reals
    length, start, items, seconds = spec.length[0], spec.start[0] * step, _items(spec), _seconds(spec)
    dtype = np.dtype(spec.dtype)
    real = np.dtype(_REAL_OF.get(spec.dtype, spec.dtype))
    add_short, add = compiled.add_short_row(real.name, spec.is_complex), compiled.add_row(real.name)

    def compute_short(signal: Array, kernel: Array) -> Array | None:
        output = np.empty(length, dtype)
        return output if add_short(signal, kernel, start, output) else None

    def compute_short_complex(signal: Array, kernel: Array) -> Array | None:
        output = np.empty(length, dtype)
        is_finite = add_short(signal.view(real), kernel.view(real), start, output.view(real))
        return output if is_finite else None

    def compute(signal: Array, kernel: Array) -> Array | None:
        if not _is_finite(kernel):
            return None
        output = np.empty(length, dtype)
        parts = [(signal, kernel)] if step == 1 else [(signal, kernel.real), (_turned(signal), kernel.imag)]
        for number, (values, taps) in enumerate(parts):
            operands = values.view(real), np.ascontiguousarray(taps), start, output.view(real), step, number == 0
            split_work(partial(add, *operands), items, seconds)
        return output

    is_short = threads_for(items, seconds) == 1
    chosen = (compute_short_complex if spec.is_complex else compute_short) if is_short else compute
    return chosen if spec.is_a_signal else lambda a, b: chosen(b, a)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Several axes or a batch: the signal with its margins, and a table of where each row of the output begins."""

    is_a_signal: bool
    batch: Sizes  # of the signal
    padded: Sizes
    inside: tuple[Any, ...]  # where in the padded signal the signal stands
    taken: tuple[Any, ...]  # the part of the signal that the window sees
    is_padded: bool
    starts: Array
    filters: Array
    offsets: Array
    shape: Sizes
    dtype: np.dtype
    step: int
    items: int
    seconds: float
    add: Callable[..., None]

    def __call__(self, a: Array, b: Array) -> Array | None:
        signal, kernel = (a, b) if self.is_a_signal else (b, a)
        if not _is_finite(kernel):
            return None
        if self.is_padded:
            margins = np.zeros(self.batch + self.padded, self.dtype)
            margins[self.inside] = signal[self.taken]
            signal = margins
        weights = kernel.reshape(-1, self.offsets.size)[:, ::-1]
        output = np.empty(self.shape, self.dtype)
        flat = output.reshape(-1)
        if self.step == 1:
            self._add(signal.reshape(-1), weights, flat, is_fresh=True)
        else:
            real = flat.dtype.type(0).real.dtype
            self._add(signal.reshape(-1).view(real), weights.real, flat.view(real), is_fresh=True)
            self._add(_turned(signal).reshape(-1).view(real), weights.imag, flat.view(real), is_fresh=False)
        return output

    def _add(self, signal: Array, weights: Array, output: Array, is_fresh: bool) -> None:
        width = self.shape[-1] * self.step
        weights = np.ascontiguousarray(weights)
        work = partial(self.add, signal, self.starts, weights, self.filters, self.offsets, output, width, is_fresh)
        split_work(work, self.items, self.seconds)


def _plan_rows(spec: ConvolutionSpec) -> _Rows:
    from triarch.convolution import compiled

    step = spec.reals
    dtype = np.dtype(spec.dtype)
    windows = list(zip(spec.signal_sizes, spec.kernel_sizes, spec.start, spec.length, strict=True))
    lows = [start - k + 1 for _, k, start, _ in windows]  # of the signal's places that the window sees
    highs = [start + length for _, _, start, length in windows]
    is_padded = any(low < 0 or high > n for low, high, n in zip(lows, highs, spec.signal_sizes, strict=True))
    padded = tuple(high - low for low, high in zip(lows, highs, strict=True)) if is_padded else spec.signal_sizes
    seen = [(max(low, 0), min(high, n)) for low, high, n in zip(lows, highs, spec.signal_sizes, strict=True)]
    inside = (..., *(slice(first - low, last - low) for (first, last), low in zip(seen, lows, strict=True)))
    taken = (..., *(slice(first, last) for first, last in seen))
    strides = [math.prod(padded[axis + 1 :]) * step for axis in range(spec.rank)]
    origin = 0 if is_padded else sum(low * stride for low, stride in zip(lows, strides, strict=True))
    starts = _sums(spec.length[:-1], strides[:-1]) + origin
    volume = math.prod(padded) * step
    signals = batch_numbers(spec.signal_batch, spec.batch)
    return _Rows(
        is_a_signal=spec.is_a_signal,
        batch=spec.signal_batch,
        padded=padded,
        inside=inside,
        taken=taken,
        is_padded=is_padded,
        starts=(signals[:, None] * volume + starts).reshape(-1),
        filters=np.repeat(batch_numbers(spec.kernel_batch, spec.batch), starts.size),
        offsets=_sums(spec.kernel_sizes, strides),
        shape=spec.shape,
        dtype=dtype,
        step=step,
        items=_items(spec),
        seconds=_seconds(spec),
        add=compiled.add_rows(_REAL_OF.get(spec.dtype, spec.dtype)),
    )


def _sums(sizes: Sizes, strides: list[int]) -> Array:
    """The flat places of all index tuples below `sizes`, in order."""
    total = np.zeros(1, np.int64)
    for size, stride in zip(sizes, strides, strict=True):
        total = (total[:, None] + np.arange(size) * stride).reshape(-1)
    return total


def _shift_and_add(spec: ConvolutionSpec, a: Array, b: Array) -> Array:
    """A scaled copy of the signal for each tap of the kernel."""
    signal, kernel = (a, b) if spec.is_a_signal else (b, a)
    output = np.zeros(spec.shape, signal.dtype)
    for tap in product(*map(range, spec.kernel_sizes)):
        # The tap at n carries the signal's place p to the window's place n + p - start.
        lows = [max(0, n - start) for n, start in zip(tap, spec.start, strict=True)]
        highs = [
            min(length, n + size - start)
            for n, size, start, length in zip(tap, spec.signal_sizes, spec.start, spec.length, strict=True)
        ]
        ends = [(low, max(high, low)) for low, high in zip(lows, highs, strict=True)]
        shifts = [start - n for n, start in zip(tap, spec.start, strict=True)]
        taken = [(low + shift, high + shift) for (low, high), shift in zip(ends, shifts, strict=True)]
        weight = kernel[last_axes((n, n + 1) for n in tap)]
        output[last_axes(ends)] += signal[last_axes(taken)] * weight
    return output


_VENDOR = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _convolve_by_vendor(spec: ConvolutionSpec, a: Tensor, b: Tensor) -> Tensor | None:
    """torch's convolution, one group for each entry of the batch where kernels differ."""
    if not bool((b if spec.is_a_signal else a).isfinite().all()):
        return None
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return _convolve_on_device(spec, a, b)


def _convolve_on_device(spec: ConvolutionSpec, a: Tensor, b: Tensor) -> Tensor:
    if spec.is_complex:
        parts = ((x, y) for x in (a.real, a.imag) for y in (b.real, b.imag))
        rr, ri, ir, ii = (_convolve_real(spec, x.contiguous(), y.contiguous()) for x, y in parts)
        return torch.complex(rr - ii, ri + ir)
    return _convolve_real(spec, a, b)


def _convolve_real(spec: ConvolutionSpec, a: Tensor, b: Tensor) -> Tensor:
    signal, kernel = (a, b) if spec.is_a_signal else (b, a)
    flipped = kernel.flip(tuple(range(-spec.rank, 0)))
    filters = math.prod(spec.kernel_batch)
    if filters == 1:
        images, weight = signal.reshape(-1, 1, *spec.signal_sizes), flipped.reshape(1, 1, *spec.kernel_sizes)
    else:
        images = signal.expand(*spec.batch, *spec.signal_sizes).reshape(1, -1, *spec.signal_sizes)
        weight = flipped.expand(*spec.batch, *spec.kernel_sizes).reshape(-1, 1, *spec.kernel_sizes)
    padding = tuple(k - 1 for k in spec.kernel_sizes)
    groups = 1 if filters == 1 else weight.shape[0]
    ends = [start + length for start, length in zip(spec.start, spec.length, strict=True)]
    full = _VENDOR[spec.rank](images, weight, padding=padding, groups=groups)
    return full[last_axes(zip(spec.start, ends, strict=True))].reshape(spec.shape)
