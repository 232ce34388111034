"""Polynomials: their product is the convolution of their coefficients."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from torch import Tensor

from triarch.convolution.numbers import as_array
from triarch.convolution.operation import convolve


def polymul(a: Any, b: Any, method: str = "auto", *, accuracy: str | None = None) -> Any:
    """The coefficients of the product of two polynomials, in the order in which both are given.

    Args:
        a, b: One axis of coefficients: tuples, lists, arrays or tensors. Python's integers, of any size, and fractions
            in tuples and lists are exact, and come back as they are.
        method, accuracy: As in `convolve`.

    Returns:
        What `a` is: a tuple, a list, an array; a tensor if one of both is.

    Raises:
        ValueError: An operand has not one axis, or no coefficients.
    """
    first, second = _coefficients(a), _coefficients(b)
    result = convolve(first, second, method=method, accuracy=accuracy)
    return _as_given(result, a)


def polypow(a: Any, n: int, method: str = "auto", *, accuracy: str | None = None) -> Any:
    """The coefficients of the n-th power of a polynomial, by repeated squaring; see `polymul`.

    Raises:
        TypeError: `n` is no integer.
        ValueError: `n` is negative, or `a` has no coefficients.
    """
    try:
        exponent = operator.index(n)
    except TypeError:
        raise TypeError(f"polypow expects an integer exponent. Received: {n!r}") from None
    if exponent < 0:
        raise ValueError(f"polypow expects an exponent of at least 0. Received: {n!r}")
    base = _coefficients(a)
    if exponent == 0:
        one = base[:1] ** 0
        return _as_given(one, a)
    result = None
    while True:
        if exponent & 1:
            result = base if result is None else convolve(result, base, method=method, accuracy=accuracy)
        exponent >>= 1
        if not exponent:
            return _as_given(result, a)
        base = convolve(base, base, method=method, accuracy=accuracy)


def _coefficients(value: Any) -> Any:
    """One axis; Python's own integers as objects, so that no size is too large."""
    array: Any = value if isinstance(value, Tensor) else as_array(value)
    if array.ndim != 1 or array.shape[0] == 0:
        raise ValueError(f"Expected one axis of at least one coefficient. Received: shape {tuple(array.shape)}")
    if not hasattr(value, "dtype") and array.dtype.kind in "biu":
        array = np.asarray([int(coefficient) for coefficient in array.tolist()], object)
    return array


def _as_given(result: Any, example: Any) -> Any:
    if isinstance(result, Tensor):
        return result
    if isinstance(example, tuple):
        return tuple(result.tolist())
    return result.tolist() if isinstance(example, list) else result
