"""The continuous convolution, of functions: an integral, by SciPy's adaptive quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Interval = tuple[float, float]
EVERYWHERE: Interval = (-math.inf, math.inf)

_PLACES = 257
_CLIMBS = 400  # steps to the place where a function is largest


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

    Both functions are looked for first, at some hundred places of every scale within their supports, and the integral
    is cut where they are largest: a function that lies where nobody looks would give 0 with an error of 0.

    Args:
        f, g: Real or complex functions of a number.
        t: A number or an array of them.
        support: Outside of which `f` is zero; or a pair of intervals, for `f` and for `g`. A step of a function is
            integrated well where it is an end of its support: a box, from where it begins to where it ends.
        tolerance: Of the absolute error, or relative to the value where that is above one.
        points: Other places where `f` jumps or is sharp.

    Raises:
        ValueError: A support with ends not in order, a tolerance that is not positive, values that are not finite; a
            function that is 0 wherever it was looked for.
        ArithmeticError: The tolerance is not reached.
        ImportError: SciPy is not installed.
    """
    f_support, g_support = _supports(support)
    if not (isinstance(tolerance, (int, float)) and tolerance > 0):
        raise ValueError(f"tolerance expects a positive number. Received: {tolerance!r}")
    places = np.asarray(t, dtype=float)
    if not np.isfinite(places).all():
        raise ValueError(f"t expects finite numbers. Received: {t!r}")
    of_f, of_g = _cuts("f", f, f_support, points), _cuts("g", g, g_support, ())
    pairs = []
    for place in places.reshape(-1).tolist():
        cuts = [*points, *of_f, *(place - cut for cut in of_g)]
        pairs.append(_integrate(f, g, place, f_support, g_support, tolerance, cuts))
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


def _cuts(name: str, function: Callable[[float], Any], support: Interval, points: Sequence[float]) -> list[float]:
    """Where a function is largest, and places around, in steps of the width that it has there."""

    def size(place: float) -> float:
        if not support[0] <= place <= support[1]:
            return 0.0
        try:
            value = function(place)
        except ArithmeticError:  # 1 / cosh(10**9), 1 / 0: it is looked for elsewhere
            return 0.0
        if not np.isfinite(value):
            raise ValueError(f"f and g expect finite values. Received: {name}({place}) = {value}")
        return float(abs(value))

    places = _places_of_every_scale(*support) + [float(point) for point in points]
    sizes = [size(place) for place in places]
    largest = max(sizes)
    if largest == 0:
        hint = ", or points=... where it is sharp" if name == "f" else ""
        raise ValueError(
            f"{name} is 0 at all {len(places)} places where it was looked for. Give the support in which it is not"
            f"{hint}. Received: support {support} for {name}"
        )
    order = sorted(range(len(places)), key=places.__getitem__)
    number = order.index(sizes.index(largest))
    beside = [abs(places[order[n]] - places[order[number]]) for n in (number - 1, number + 1) if 0 <= n < len(order)]
    peak, step = places[order[number]], min((gap for gap in beside if gap > 0), default=1.0)
    for _ in range(_CLIMBS):
        best = max((peak - step, peak + step), key=size)
        if size(best) > size(peak):
            peak, step = best, 2 * step
        else:
            step /= 2
        if step <= 1e-12 * max(1.0, abs(peak)):
            break
    width = 1e-9 * max(1.0, abs(peak))
    while width < 1e12 and max(size(peak - width), size(peak + width)) > size(peak) / 2:
        width *= 2
    return [peak + times * width for times in (-30, -6, -1, 0, 1, 6, 30)]


def _places_of_every_scale(low: float, high: float) -> list[float]:
    """Even ones within a finite interval; else of rising distances from its end, or from 0."""
    if math.isfinite(low) and math.isfinite(high):
        return [low + (high - low) * (number + 0.5) / _PLACES for number in range(_PLACES)]
    distances: list[float] = np.geomspace(1e-6, 1e9, _PLACES).tolist()
    if math.isfinite(low):
        return [low + distance for distance in distances]
    if math.isfinite(high):
        return [high - distance for distance in distances]
    return [*distances, *(-distance for distance in distances)]


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
