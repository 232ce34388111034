"""The continuous convolution, of functions: an integral, by SciPy's adaptive quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Interval = tuple[float, float]
EVERYWHERE: Interval = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class ContinuousConvolution:
    """Values of a convolution of functions.

    Args:
        value: At the places asked for, and of their shape; a number for a number.
        error: An estimate of the absolute error of each.
    """

    value: Any
    error: Any


def convolve_functions(
    f: Callable[[float], Any],
    g: Callable[[float], Any],
    t: Any,
    support: Interval | tuple[Interval, Interval] = EVERYWHERE,
    *,
    tolerance: float = 1e-9,
    points: Sequence[float] = (),
) -> ContinuousConvolution:
    """`(f * g)(t) = ∫ f(τ) g(t - τ) dτ`, to a tolerance and with an estimate of the error.

    Args:
        f, g: Real or complex functions of a number.
        t: A number or an array of them.
        support: Outside of which `f` is zero; or a pair of intervals, for `f` and for `g`. A step of a function is
            integrated well where it is an end of its support: a box, from where it begins to where it ends.
        tolerance: Of the absolute error, or relative to the value where that is above one.
        points: Other places where `f` jumps or is sharp.

    Raises:
        ValueError: A support with ends not in order, a tolerance that is not positive, values that are not finite.
        ArithmeticError: The tolerance is not reached.
        ImportError: SciPy is not installed.
    """
    f_support, g_support = _supports(support)
    if not (isinstance(tolerance, (int, float)) and tolerance > 0):
        raise ValueError(f"tolerance expects a positive number. Received: {tolerance!r}")
    places = np.asarray(t, dtype=float)
    if not np.isfinite(places).all():
        raise ValueError(f"t expects finite numbers. Received: {t!r}")
    pairs = [_integrate(f, g, float(place), f_support, g_support, tolerance, points) for place in places.reshape(-1)]
    values = np.array([value for value, _ in pairs]).reshape(places.shape)
    errors = np.array([error for _, error in pairs], float).reshape(places.shape)
    if places.ndim == 0:
        return ContinuousConvolution(values.item(), errors.item())
    return ContinuousConvolution(values, errors)


def _supports(support: Any) -> tuple[Interval, Interval]:
    ends = np.asarray(support, dtype=float)
    if ends.shape == (2,):
        ends = np.stack([ends, np.array(EVERYWHERE)])
    if ends.shape != (2, 2) or not (ends[:, 0] < ends[:, 1]).all():
        raise ValueError(
            "support expects (low, high) with low < high, or a pair of such intervals, for f and for g. "
            f"Received: {support!r}"
        )
    return (float(ends[0, 0]), float(ends[0, 1])), (float(ends[1, 0]), float(ends[1, 1]))


def _integrate(
    f: Callable[[float], Any],
    g: Callable[[float], Any],
    t: float,
    f_support: Interval,
    g_support: Interval,
    tolerance: float,
    points: Sequence[float],
) -> tuple[Any, float]:
    """The integral at one place and its error."""
    try:
        from scipy.integrate import quad_vec
    except ImportError as missing:
        raise ImportError("convolve_functions integrates with SciPy: pip install 'triarch[scipy]'") from missing
    low, high = max(f_support[0], t - g_support[1]), min(f_support[1], t - g_support[0])
    if low >= high:
        return 0.0, 0.0

    def integrand(tau: float) -> Any:
        value = f(tau) * g(t - tau)
        if not np.isfinite(value):
            raise ValueError(f"f and g expect finite values. Received: f({tau}) g({t - tau}) = {value}")
        return complex(value) if np.iscomplexobj(value) else float(value)

    inner = sorted(point for point in points if low < point < high)
    value, error, details = quad_vec(
        integrand, low, high, epsabs=tolerance, epsrel=tolerance, norm="max", points=inner or None, full_output=True
    )
    if not details.success or error > max(tolerance, tolerance * abs(value)):
        raise ArithmeticError(
            f"The integral at t = {t} is known to {error:.3g} only, where {tolerance:.3g} was asked for. "
            "Give the support of f and g, and the points where they jump, or a larger tolerance"
        )
    return value, float(error)
