"""`convolve` and `correlate`: from what users have to a plan, and back."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution import numbers
from triarch.convolution.arrays import Array, on_host
from triarch.convolution.boundaries import BOUNDARIES, extend
from triarch.convolution.choice import Explanation, explain_choice, find_plan
from triarch.convolution.gradients import Convolution, run
from triarch.convolution.methods import METHODS
from triarch.convolution.numbers import as_array
from triarch.convolution.spec import ACCURACIES, COMPLEX, FLOATS, MODES, ConvolutionSpec, Progress, Way, window_of_mode

Axes = int | Sequence[int] | None

# Plans of plain arrays of one type, which need no arrangement: the way of small convolutions.
_SHORT_WAY: dict[Any, Callable[..., Any]] = {}
_MOST_SHORT_WAYS = 1024


def convolve(
    a: Any,
    b: Any,
    mode: str = "full",
    method: str = "auto",
    axes: Axes = None,
    boundary: str = "zero",
    fill_value: Any = 0,
    *,
    accuracy: str | None = None,
    progress: Progress | None = None,
) -> Any:
    """The convolution `Σ_k a(i - k) b(k)`, over all axes or some.

    Args:
        a, b: Arrays, nested lists or tensors; without `axes` of equal rank. A tensor among them makes the result a
            tensor, with gradients to both.
        mode: `"full"`, of size N + K - 1; `"same"`, the size of `a`, centred in the full one; `"valid"`, where one
            operand lies within the other.
        method: `"auto"`, or one of `METHODS`, which must then be able to do it.
        axes: Over which to convolve, counted on the higher rank; the other axes broadcast.
        boundary: What stands beyond the ends of `a`, as in `scipy.ndimage`: `"zero"` (that is, `fill_value`), `"wrap"`,
            `"reflect"` (d c b | a b c d), `"symmetric"` (b a | a b c d) or `"nearest"`. `"valid"` does not look there.
        accuracy: Of floats. `"sum"`: at each place an error of at most 8 times the direct sum's own bound there,
            `ε n Σ |a| |b|` with n taps; the direct sum is taken wherever nothing faster keeps that. `"norm"`: what
            the method gives, of transforms some `ε ‖a‖ ‖b‖` at every place, however small the sum there. By default
            `"sum"` for `"auto"` and `"norm"` for a method that was asked for by name.
        progress: Called as `progress(done, total)` during long work and at its end.

    Returns:
        Numbers of the type that NumPy, or torch for tensors, gives to both operands together; of uint64 with signed
        integers int64. Integers, also Python's of any size, and fractions are exact. NaN and infinities stand where the
        sum has them, by every method.

    Raises:
        ValueError, TypeError: An argument that is not one of these, with what came.
        OverflowError: Integers that the type of the result does not hold.
    """
    is_plain = (
        type(a) is np.ndarray
        and type(b) is np.ndarray
        and axes is None
        and boundary == "zero"
        and not fill_value
        and progress is None
    )
    if is_plain:
        key = (a.shape, b.shape, a.dtype, b.dtype, mode, method, accuracy)
        plan = _SHORT_WAY.get(key)
        if plan is not None and a.flags.carray and b.flags.carray:
            return plan(a, b)
    way = _way(method, accuracy)
    job = _arrange(a, b, mode, way, axes, boundary, fill_value)
    if is_plain and job.spec is not None and a.dtype == b.dtype and a.dtype.isnative:
        if len(_SHORT_WAY) >= _MOST_SHORT_WAYS:
            _SHORT_WAY.clear()
        if a.dtype.name in (*FLOATS, *COMPLEX):
            _SHORT_WAY[key] = find_plan(job.spec, *way)
        elif a.dtype == np.int64 and method in ("auto", "direct") and _is_small(job.spec):
            _SHORT_WAY[key] = _plan_small_integers(job.spec, mode, way)
    return job.compute(way, progress)


def _is_small(spec: ConvolutionSpec) -> bool:
    """Whether the direct sum is the fastest, whatever the integers."""
    return spec.outputs * math.prod(spec.kernel_sizes) < 1 << 16


def _plan_small_integers(spec: ConvolutionSpec, mode: str, way: Way) -> Callable[..., Any]:
    """The direct sum of int64 numbers if no sum can leave int64, else the long way."""
    from triarch.convolution.compiled import largest_magnitude

    largest = largest_magnitude("int64")
    most_bits = 63 - math.prod(spec.kernel_sizes).bit_length()
    plan = find_plan(replace(spec, dtype="int64"), "direct")

    def compute(a: Array, b: Array) -> Any:
        if (largest(a.reshape(-1)) * largest(b.reshape(-1))).bit_length() <= most_bits:
            return plan(a, b)
        return _arrange(a, b, mode, way, None, "zero", 0).compute(way, None)

    return compute


def correlate(
    a: Any,
    b: Any,
    mode: str = "full",
    method: str = "auto",
    axes: Axes = None,
    boundary: str = "zero",
    fill_value: Any = 0,
    *,
    accuracy: str | None = None,
    progress: Progress | None = None,
) -> Any:
    """The cross-correlation `Σ_k a(i + k) conj(b(k))`: `convolve` with `b` reversed along the axes and conjugated."""
    a, b = _as_operands(a, b)
    turned = _common_axes(a, b, axes)
    if isinstance(b, Tensor):
        b = b.flip([axis for axis in turned if axis >= -b.ndim])
        b = b.conj().resolve_conj() if b.is_complex() else b
    else:
        b = np.flip(b, tuple(axis for axis in turned if axis >= -b.ndim))
        b = np.conj(b) if b.dtype.kind == "c" or b.dtype == object else b
    return convolve(a, b, mode, method, axes, boundary, fill_value, accuracy=accuracy, progress=progress)


def choose_method(
    a: Any,
    b: Any,
    mode: str = "full",
    axes: Axes = None,
    boundary: str = "zero",
    fill_value: Any = 0,
    *,
    accuracy: str = "sum",
) -> str:
    """The method that `method="auto"` takes for these operands."""
    return explain(a, b, mode, axes, boundary, fill_value, accuracy=accuracy).method


def explain(
    a: Any,
    b: Any,
    mode: str = "full",
    axes: Axes = None,
    boundary: str = "zero",
    fill_value: Any = 0,
    *,
    accuracy: str = "sum",
) -> Explanation:
    """The candidates for a convolution with their predicted times, and why each was taken or not; print it.

    Args:
        a: The first operand; or a convolutional layer, with the shape of its inputs as `b`.

    Raises:
        ValueError: The result is empty or a single product: nothing is chosen.
    """
    if hasattr(a, "explain_convolution"):
        return a.explain_convolution(b)
    job = _arrange(a, b, mode, _way("auto", accuracy), axes, boundary, fill_value)
    if job.spec is None:
        raise ValueError("explain expects operands with numbers along every convolved axis. Received: an empty result")
    return explain_choice(job.spec, on_host(job.numbers.a), on_host(job.numbers.b), accuracy)


@dataclass(frozen=True, slots=True)
class _Job:
    """One call, its operands arranged: convolved axes last, numbers of one type."""

    numbers: numbers.Numbers
    spec: ConvolutionSpec | None  # None where nothing is to be computed
    shape: tuple[int, ...]  # of the result, convolved axes last
    axes: tuple[int, ...]  # where they go back to, counted from the end

    def compute(self, way: Way, progress: Progress | None) -> Any:
        """The result."""
        a, b = self.numbers.a, self.numbers.b
        if self.spec is None:
            result = a.new_zeros(self.shape) if isinstance(a, Tensor) else np.zeros(self.shape, a.dtype)
            if progress is not None:
                progress(1, 1)
        elif isinstance(a, Tensor):
            result = Convolution.apply(a.contiguous(), b.contiguous(), self.spec, way, progress)
        else:
            result = run(self.spec, way, np.ascontiguousarray(a), np.ascontiguousarray(b), progress)
        result = self.numbers.finish(result)
        rank = len(self.axes)
        if self.axes == tuple(range(-rank, 0)):
            return result
        if isinstance(result, Tensor):
            return result.movedim(tuple(range(-rank, 0)), self.axes)
        return np.moveaxis(result, tuple(range(-rank, 0)), self.axes)


def _as_operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as arrays, or both as tensors on one device."""
    if not (isinstance(a, Tensor) or isinstance(b, Tensor)):
        return as_array(a), as_array(b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.device != b.device:
            raise ValueError(f"Expected both tensors on one device. Received: {a.device} and {b.device}")
        return a, b
    device = a.device if isinstance(a, Tensor) else b.device
    first, second = (x if isinstance(x, Tensor) else torch.tensor(as_array(x), device=device) for x in (a, b))
    return first, second


def _common_axes(a: Any, b: Any, axes: Axes) -> tuple[int, ...]:
    """The convolved axes, counted from the end, in rising order.

    Raises:
        ValueError: Unequal ranks without axes; axes that are not there, or twice.
        TypeError: Axes that are no integers.
    """
    rank = max(a.ndim, b.ndim)
    if axes is None:
        if a.ndim != b.ndim:
            raise ValueError(
                "Expected operands of equal rank; axes=... convolves over some axes and broadcasts over the others. "
                f"Received: shapes {tuple(a.shape)} and {tuple(b.shape)}"
            )
        return tuple(range(-rank, 0))
    try:
        listed = [operator.index(axis) for axis in (axes if isinstance(axes, Sequence) else [axes])]
    except TypeError:
        raise TypeError(f"axes expects an integer or a sequence of integers. Received: {axes!r}") from None
    if not listed or any(not -rank <= axis < rank for axis in listed):
        raise ValueError(f"axes expects at least one axis of {rank} axes. Received: {axes!r}")
    counted = [axis - rank if axis >= 0 else axis for axis in listed]
    if len(set(counted)) != len(counted):
        raise ValueError(f"axes expects each axis once. Received: {axes!r}")
    return tuple(sorted(counted))


def _known(name: str, value: Any, expected: Sequence[str]) -> None:
    if not (isinstance(value, str) and value in expected):
        raise ValueError(f"{name} expects one of {', '.join(map(repr, expected))}. Received: {value!r}")


def _way(method: str, accuracy: str | None) -> Way:
    _known("method", method, ("auto", *METHODS))
    if accuracy is None:
        return Way(method, "sum" if method == "auto" else "norm")
    _known("accuracy", accuracy, ACCURACIES)
    return Way(method, accuracy)


def _arrange(a: Any, b: Any, mode: str, way: Way, axes: Axes, boundary: str, fill_value: Any) -> _Job:
    _known("mode", mode, MODES)
    _known("boundary", boundary, BOUNDARIES)
    is_typed = any(hasattr(operand, "dtype") for operand in (a, b))
    a, b = _as_operands(a, b)
    convolved = _common_axes(a, b, axes)
    rank = len(convolved)
    a, b = (_axes_last(x, max(a.ndim, b.ndim), convolved) for x in (a, b))
    if rank == 0:  # two numbers: a product
        a, b, rank = a.reshape(1), b.reshape(1), 1
    is_extended = mode != "valid" and (boundary != "zero" or _is_other_than_zero(fill_value)) and bool(convolved)
    a_sizes, b_sizes = tuple(a.shape[-rank:]), tuple(b.shape[-rank:])
    batch = _broadcast(tuple(a.shape[:-rank]), tuple(b.shape[:-rank]))
    if 0 in a_sizes or 0 in b_sizes or 0 in batch:
        a, b = (x[..., :0] for x in (a, b))
        empty = _empty_sizes(mode, a_sizes, b_sizes)
        return _Job(_numbers(a, b, is_typed), None, batch + empty, convolved)
    start, length = window_of_mode(mode, a_sizes, b_sizes)
    if is_extended:
        margins = [
            (k - 1 - first, first + size - n) for n, k, first, size in zip(a_sizes, b_sizes, start, length, strict=True)
        ]
        a = extend(a, margins, boundary, _fill(fill_value, a))
        a_sizes, start = tuple(a.shape[-rank:]), tuple(k - 1 for k in b_sizes)
    found = _numbers(a, b, is_typed)
    spec = ConvolutionSpec(
        a_sizes,
        b_sizes,
        start,
        length,
        tuple(a.shape[:-rank]),
        tuple(b.shape[:-rank]),
        found.dtype,
        a.device.type if isinstance(a, Tensor) else "cpu",
        found.bits,
    )
    if not convolved:  # two numbers
        finish = found.finish
        found.finish = lambda result: finish(result).reshape(())
    if way.method != "auto":
        find_plan(spec, *way)
    return _Job(found, spec, spec.shape, convolved)


def _numbers(a: Any, b: Any, is_typed: bool) -> numbers.Numbers:
    return numbers.of_tensors(a, b) if isinstance(a, Tensor) else numbers.of_arrays(a, b, is_typed)


def _is_other_than_zero(fill_value: Any) -> bool:
    if np.ndim(fill_value) != 0 or isinstance(fill_value, (str, bytes)) or fill_value is None:
        raise ValueError(f"fill_value expects a number. Received: {fill_value!r}")
    return bool(fill_value != 0)


def _fill(fill_value: Any, a: Any) -> Any:
    """The value in the type of `a`, if that holds it."""
    if isinstance(a, Tensor):
        held = torch.tensor(fill_value).to(a.dtype).item()
    elif a.dtype == object:
        return fill_value
    elif a.dtype.kind in "biu" and not float(np.real(fill_value)).is_integer():
        raise ValueError(f"fill_value expects a whole number for {a.dtype} operands. Received: {fill_value!r}")
    else:
        held = np.array(fill_value).astype(a.dtype).item()
    is_integer = a.dtype.kind in "biu" if not isinstance(a, Tensor) else not (a.is_floating_point() or a.is_complex())
    if (is_integer and held != fill_value) or (np.imag(fill_value) != 0 and np.imag(held) == 0):
        raise ValueError(f"fill_value expects a number that {a.dtype} holds. Received: {fill_value!r}")
    return held


def _axes_last(x: Any, rank: int, axes: tuple[int, ...]) -> Any:
    """With leading axes of size 1 up to the common rank, and the convolved axes moved to the end."""
    x = x.reshape((1,) * (rank - x.ndim) + tuple(x.shape))
    last = tuple(range(-len(axes), 0))
    if axes == last:
        return x
    return x.movedim(axes, last) if isinstance(x, Tensor) else np.moveaxis(x, axes, last)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(
            f"Expected axes that are not convolved to be equal or 1. Received: sizes {a} and {b} there"
        ) from None


def _empty_sizes(mode: str, a_sizes: tuple[int, ...], b_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Of a result that holds no sum of products."""
    if mode == "same":
        return a_sizes
    if 0 not in a_sizes and 0 not in b_sizes:  # an empty batch
        return window_of_mode(mode, a_sizes, b_sizes)[1]
    pairs = list(zip(a_sizes, b_sizes, strict=True))
    return tuple(0 if 0 in (n, k) else (n + k - 1 if mode == "full" else abs(n - k) + 1) for n, k in pairs)
