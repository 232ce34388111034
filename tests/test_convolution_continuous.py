"""The convolution of functions against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from triarch.convolution import convolve_functions


def box(x: float) -> float:
    return 1.0 if 0 <= x <= 1 else 0.0


def test_two_boxes_give_the_triangle() -> None:
    t = np.linspace(-0.5, 2.5, 13)
    result = convolve_functions(box, box, t, ((0, 1), (0, 1)))
    assert np.abs(result.value - np.maximum(0, 1 - np.abs(t - 1))).max() < 1e-12
    assert (result.error < 1e-9).all()
    assert result.value.shape == result.error.shape == t.shape


def test_gaussians_add_their_variances() -> None:
    def gaussian(variance: float):
        return lambda x: math.exp(-x * x / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    for t in (-2.0, 0.0, 0.7):
        result = convolve_functions(gaussian(1.0), gaussian(0.25), t)
        assert abs(result.value - gaussian(1.25)(t)) <= max(result.error, 1e-12)
        assert isinstance(result.value, float)


def test_exponentials() -> None:
    support = ((0, math.inf), (0, math.inf))
    result = convolve_functions(lambda x: math.exp(-x), lambda x: math.exp(-2 * x), [0.5, 3.0, -1.0], support)
    expected = [math.exp(-0.5) - math.exp(-1), math.exp(-3) - math.exp(-6), 0.0]
    np.testing.assert_allclose(result.value, expected, atol=1e-9)


def test_complex_functions_commute() -> None:
    def wave(x: float) -> complex:
        return np.exp(1j * x - x * x)

    forth = convolve_functions(wave, lambda x: math.exp(-x * x), 0.3)
    back = convolve_functions(lambda x: math.exp(-x * x), wave, 0.3)
    assert abs(forth.value - back.value) < 1e-8
    assert abs(forth.value.imag) > 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"support": (1, 0)}, ValueError, r"Received: \(1, 0\)"),
        ({"support": (0, 1, 2)}, ValueError, "low < high"),
        ({"tolerance": 0}, ValueError, "Received: 0"),
        ({"t": math.inf}, ValueError, "Received: inf"),
        ({"f": lambda x: math.nan, "support": (0, 1)}, ValueError, "finite values"),
    ],
)
def test_bad_input(arguments: dict, error: type[Exception], words: str) -> None:
    call = {"f": box, "g": box, "t": 0.5} | arguments
    with pytest.raises(error, match=words):
        convolve_functions(**call)


def test_a_tolerance_that_is_not_reached_is_an_error() -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        convolve_functions(lambda x: 1 / abs(x - 0.3) if x != 0.3 else 0.0, box, 0.5, (0, 1))


def gaussian_at(mean: float, deviation: float):
    return lambda x: math.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


@pytest.mark.parametrize(
    ("first", "second", "support"),
    [
        ((100.0, 3.0), (0.0, 1.0), (-math.inf, math.inf)),
        ((30.0, 1.0), (-30.0, 1.0), (-math.inf, math.inf)),
        ((0.0, 1e-3), (0.0, 1.0), (-math.inf, math.inf)),
        ((3.0, 1e4), (-2e4, 1e5), (-math.inf, math.inf)),
        ((500.0, 1.0), (0.0, 1.0), (0.0, 1000.0)),
        ((1e4, 1.0), (0.0, 2.0), (9e3, 1.1e4)),
    ],
)
def test_functions_far_from_zero_and_narrow_ones_are_found(first: tuple, second: tuple, support: tuple) -> None:
    t = first[0] + second[0] + 0.3 * math.hypot(first[1], second[1])
    result = convolve_functions(gaussian_at(*first), gaussian_at(*second), t, support, tolerance=1e-12)
    expected = gaussian_at(first[0] + second[0], math.hypot(first[1], second[1]))(t)
    assert abs(result.value - expected) <= 1e-6 * expected


def test_what_is_not_found_is_an_error_and_not_zero() -> None:
    lost = gaussian_at(1e4, 1.0)
    with pytest.raises(ValueError, match=r"f is 0 at all \d+ places .* Give the support .*points=.* Received: support"):
        convolve_functions(lost, box, 1e4)
    with pytest.raises(ValueError, match="g is 0 at all"):
        convolve_functions(box, lost, 1e4, (0, 1))
    assert convolve_functions(gaussian_at(0, 1), gaussian_at(0, 1), 1e3).value == 0  # both found, far from each other
