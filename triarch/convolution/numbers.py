"""In which numbers a convolution is computed, and how its result gets the type that the operands ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral, Rational
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, magnitude_bits
from triarch.convolution.spec import COMPLEX, EXTENDED, FLOATS
from triarch.exactness import unhidden

_TORCH_HALF = (torch.float16, torch.bfloat16)
_TORCH = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.complex64: "complex64",
    torch.complex128: "complex128",
}
_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


class Numbers:
    """Operands in the type in which they are computed; `finish` takes the result back.

    Args:
        a, b: Arrays or tensors.
        dtype: See `ConvolutionSpec`.
        bits: Of the largest magnitudes of integers.
        finish: From the computed result to what is returned.
    """

    def __init__(
        self, a: Any, b: Any, dtype: str, finish: Callable[[Any], Any] | None = None, bits: tuple[int, int] = (0, 0)
    ) -> None:
        self.a, self.b, self.dtype, self.bits = a, b, dtype, bits
        self.finish = finish or (lambda result: result)


def of_tensors(a: Tensor, b: Tensor) -> Numbers:
    """For tensors on one device."""
    dtype = torch.promote_types(a.dtype, b.dtype)
    if dtype in _TORCH_HALF:
        return Numbers(a.to(torch.float32), b.to(torch.float32), "float32", lambda result: result.to(dtype))
    if dtype in _TORCH:
        return Numbers(a.to(dtype), b.to(dtype), _TORCH[dtype])
    if dtype is torch.complex32:
        wide = torch.complex64
        return Numbers(a.to(wide), b.to(wide), "complex64", lambda result: result.to(dtype))
    if dtype.is_floating_point:
        raise TypeError(f"Expected numbers of 16 bits or more. Received: tensors of types {a.dtype} and {b.dtype}")
    target = np.dtype(str(dtype).removeprefix("torch."))
    if a.device.type == "cpu":
        numbers = of_arrays(a.numpy(), b.numpy())
        numbers.finish, finish = lambda result: torch.from_numpy(finish(result)).to(dtype), numbers.finish
        return numbers
    a, b = a.to(torch.int64), b.to(torch.int64)
    bits = tuple(int(x.abs().max()).bit_length() if x.numel() else 0 for x in (a, b))

    def finish_integers(result: Tensor) -> Tensor:
        if dtype is torch.bool:
            return result != 0
        _check_range(int(result.min()), int(result.max()), target)
        return result.to(dtype)

    return Numbers(a, b, "int64", finish_integers, bits)  # type: ignore[arg-type]


def as_array(value: Any) -> Array:
    """An array of what has a type; of numbers in lists, one that holds each of them: objects where int64 does not.

    Raises:
        ValueError: A nested list with rows of unequal lengths, or a masked array that hides numbers.
    """
    unhidden(value, "operand")
    try:
        array = np.asarray(value)
        if hasattr(value, "dtype") or array.dtype.kind not in "uf":
            return array
        # NumPy makes floats or unsigned numbers of integers beyond int64.
        objects = np.asarray(value, object)
        is_whole = all(isinstance(number, Integral) for number in objects.reshape(-1))
        return objects if array.size and is_whole else array
    except ValueError as error:
        raise ValueError(
            f"Expected an array or a nested list with rows of equal lengths. Received: {value!r}"
        ) from error


def of_arrays(a: Array, b: Array, is_typed: bool = True) -> Numbers:
    """For arrays.

    Args:
        is_typed: Whether one of them came with a type, which the result is to keep; else integers are Python's.

    Raises:
        TypeError: They hold something else than numbers.
    """
    for operand in (a, b):
        if operand.dtype.kind not in "biufcO":
            raise TypeError(f"Expected numbers. Received: an array of type {operand.dtype}")
    if a.dtype == object or b.dtype == object:
        return _of_objects(a.astype(object), b.astype(object))
    dtype = np.result_type(a, b) if a.ndim and b.ndim else np.result_type(a.dtype, b.dtype)
    if dtype.kind == "f" and a.dtype.kind in "biu" and b.dtype.kind in "biu":
        dtype = np.dtype(np.int64)  # uint64 with signed integers, of which NumPy makes floats that round
    if dtype.kind in "biu":
        return _of_integers(a, b, dtype, is_typed)
    if dtype.name in (*FLOATS, *COMPLEX, *EXTENDED):
        return Numbers(_cast(a, dtype), _cast(b, dtype), dtype.name)
    if dtype == np.float16:
        wide = np.dtype(np.float32)
        return Numbers(a.astype(wide), b.astype(wide), "float32", lambda result: _narrow(result, dtype))
    name = "clongdouble" if dtype.kind == "c" else "longdouble"
    return Numbers(a.astype(dtype), b.astype(dtype), name)


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(array.shape)


def _narrow(result: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):  # beyond float16 lies infinity, as in every float16 sum
        return result.astype(dtype)


def _of_integers(a: Array, b: Array, dtype: np.dtype[Any], is_typed: bool) -> Numbers:
    if dtype.kind == "b":
        return Numbers(a.astype(np.int64), b.astype(np.int64), "int64", lambda result: result != 0, (1, 1))
    bits = (magnitude_bits(a), magnitude_bits(b)) if a.size and b.size else (0, 0)
    if sum(bits) + min(a.size, b.size).bit_length() > 63 and not _fits_by_sums(a, b):
        numbers = _of_objects(a.astype(object), b.astype(object))
        if is_typed:
            numbers.finish = lambda result: _checked(result, dtype)
        else:
            numbers.finish = lambda result: _narrowest(result, dtype)
        return numbers

    def finish(result: Array) -> Array:
        return result if dtype == np.int64 else _checked(result, dtype)

    return Numbers(_cast(a, np.dtype(np.int64)), _cast(b, np.dtype(np.int64)), "int64", finish, bits)


def _fits_by_sums(a: Array, b: Array) -> bool:
    """Whether the largest magnitude of one operand times the sum of the other's shows that int64 suffices."""
    if max(magnitude_bits(a), magnitude_bits(b)) > 63:
        return False
    smaller, larger = (a, b) if a.size < b.size else (b, a)
    total = sum(abs(int(value)) for value in smaller.reshape(-1))
    return total * max(int(larger.max()), -int(larger.min())) < 2**63


def _narrowest(result: Array, dtype: np.dtype[Any]) -> Array:
    """In the type, or as Python's integers where that does not hold them."""
    limits = np.iinfo(dtype)
    is_held = not result.size or (limits.min <= int(result.min()) and int(result.max()) <= limits.max)
    return result.astype(dtype) if is_held else result


def _checked(result: Array, dtype: np.dtype[Any]) -> Array:
    if result.size:
        _check_range(int(result.min()), int(result.max()), dtype)
    return result.astype(dtype)


def _check_range(lowest: int, highest: int, dtype: np.dtype[Any]) -> None:
    """Raise OverflowError, naming a type that holds both, where `dtype` does not."""
    limits = np.iinfo(dtype)
    if limits.min <= lowest and highest <= limits.max:
        return
    names = (*_UNSIGNED, *_SIGNED) if dtype.kind == "u" else (*_SIGNED, *_UNSIGNED)
    wider = (name for name in names if np.iinfo(name).min <= lowest and highest <= np.iinfo(name).max)
    name = next(wider, "object (Python integers)")
    raise OverflowError(
        f"The result of {dtype.name} operands reaches from {lowest} to {highest}, which {dtype.name} does not hold. "
        f"Convert an operand to {name}, which does"
    )


def _of_objects(a: Array, b: Array) -> Numbers:
    """Integers and fractions become integers; whatever else can be added and multiplied stays as it is."""
    kinds = set().union(*(map(type, operand.reshape(-1).tolist()) for operand in (a, b)))
    if all(issubclass(kind, Integral) for kind in kinds):
        if kinds != {int}:
            a, b = _mapped(int, a), _mapped(int, b)
        return Numbers(a, b, "integer", None, _bits(a, b))
    if all(issubclass(kind, Rational) for kind in kinds):
        (a, below_a), (b, below_b) = _over_common_denominator(a), _over_common_denominator(b)
        below = below_a * below_b

        def finish(result: Array) -> Array:
            return _mapped(lambda value: Fraction(value, below), result)

        return Numbers(a, b, "integer", finish, _bits(a, b))
    refused = next((kind for kind in kinds if not (hasattr(kind, "__add__") and hasattr(kind, "__mul__"))), None)
    refused = refused or next((kind for kind in kinds if issubclass(kind, (str, bytes, list, tuple, dict))), None)
    if refused is not None:
        raise TypeError(f"Expected numbers. Received: an object array that holds {refused.__name__}")
    return Numbers(a, b, "object")


def _bits(a: Array, b: Array) -> tuple[int, int]:
    return (magnitude_bits(a), magnitude_bits(b)) if a.size and b.size else (0, 0)


def _mapped(function: Callable[[Any], Any], array: Array) -> Array:
    result = np.empty(array.size, object)
    result[:] = [function(value) for value in array.reshape(-1).tolist()]
    return result.reshape(array.shape)


def _over_common_denominator(array: Array) -> tuple[Array, int]:
    below = math.lcm(*(int(value.denominator) for value in array.reshape(-1).tolist()))
    return _mapped(lambda value: int(value.numerator) * (below // int(value.denominator)), array), below
