"""`convolve` and `correlate` in the place of NumPy's and SciPy's functions; where they differ, the difference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from triarch.convolution import choose_method, convolve, correlate
from triarch.convolution.methods import METHODS
from triarch.convolution.spec import MODES

PAIRS_1D = [((7,), (3,)), ((3,), (7,)), ((6,), (4,)), ((4,), (6,)), ((5,), (5,)), ((1,), (1,)), ((1,), (5,))]
PAIRS_ND = [*PAIRS_1D, ((5, 6), (3, 2)), ((3, 2), (5, 6)), ((4, 5, 3), (2, 3, 3)), ((1, 6), (1, 2))]
DTYPES = ["int32", "int64", "float32", "float64", "complex64", "complex128"]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = rng.integers(-9, 10, shape).astype(dtype)
    return values + 1j * rng.integers(-9, 10, shape).astype(values.real.dtype) if dtype.startswith("c") else values


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3 if ours.dtype.itemsize < 8 else 1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a", "b"), PAIRS_ND)
@pytest.mark.parametrize("mode", MODES)
def test_scipy_signal(mode: str, a: tuple, b: tuple, dtype: str, rng) -> None:
    a, b = draw(rng, a, dtype), draw(rng, b, dtype)
    assert_same(convolve(a, b, mode), scipy.signal.convolve(a, b, mode, method="direct"))
    assert_same(correlate(a, b, mode), scipy.signal.correlate(a, b, mode, method="direct"))
    if dtype.startswith(("f", "c")):
        assert_same(convolve(a, b, mode), scipy.signal.fftconvolve(a, b, mode))
        assert_same(convolve(a, b, mode, "overlap_add"), scipy.signal.oaconvolve(a, b, mode))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a", "b"), PAIRS_1D)
@pytest.mark.parametrize("mode", ["full", "valid"])
def test_numpy(mode: str, a: tuple, b: tuple, dtype: str, rng) -> None:
    a, b = draw(rng, a, dtype), draw(rng, b, dtype)
    assert_same(convolve(a, b, mode), np.convolve(a, b, mode))
    assert_same(correlate(a, b, mode), np.correlate(a, b, mode))


def test_same_has_the_size_of_the_first_operand_as_in_scipy_not_of_the_larger_as_in_numpy() -> None:
    assert convolve([1, 2], [1, 1, 1], "same").tolist() == [3, 3]
    assert np.convolve([1, 2], [1, 1, 1], "same").tolist() == [1, 3, 3]


@pytest.mark.parametrize(("ours", "theirs"), [("zero", "fill"), ("wrap", "wrap"), ("symmetric", "symm")])
@pytest.mark.parametrize("mode", ["full", "same"])
def test_convolve2d(mode: str, ours: str, theirs: str, rng) -> None:
    a, b = rng.standard_normal((6, 7)), rng.standard_normal((3, 4))
    fill = 2.5 if ours == "zero" else 0
    expected = scipy.signal.convolve2d(a, b, mode, theirs, fillvalue=fill)
    assert_same(convolve(a, b, mode, boundary=ours, fill_value=fill), expected)
    b = b[:, :3]  # SciPy's correlate2d and correlate centre kernels of even sizes differently; ours is the second
    expected = scipy.signal.correlate2d(a, b, mode, theirs, fillvalue=fill)
    assert_same(correlate(a, b, mode, boundary=ours, fill_value=fill), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("zero", "constant"), ("wrap", "wrap"), ("reflect", "mirror"), ("symmetric", "reflect"), ("nearest", "nearest")],
)
def test_ndimage(ours: str, theirs: str, rng) -> None:
    a, b = rng.standard_normal((6, 7)), rng.standard_normal((3, 5))
    assert_same(convolve(a, b, "same", boundary=ours), scipy.ndimage.convolve(a, b, mode=theirs))


@pytest.mark.parametrize("axes", [0, -1, (0, 2), [1, -1]])
def test_axes_of_fftconvolve(axes: object, rng) -> None:
    a, b = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5))
    assert_same(convolve(a, b, axes=axes), scipy.signal.fftconvolve(a, b, axes=axes))


def test_a_number_times_a_number() -> None:
    assert convolve(3, 4) == scipy.signal.convolve(3, 4)
    assert convolve(3, 4).shape == ()


def test_the_choice_is_a_name() -> None:
    assert scipy.signal.choose_conv_method(np.ones(9), np.ones(3)) in ("direct", "fft")
    for n, k in product((9, 10_000), (3, 1000)):
        assert choose_method(np.ones(n), np.ones(k)) in METHODS


def test_the_documented_example_of_numpy() -> None:
    assert convolve([1, 2, 3], [0, 1, 0.5]).tolist() == [0.0, 1.0, 2.5, 4.0, 1.5]
    assert convolve([1, 2, 3], [0, 1, 0.5], "valid").tolist() == [2.5]


def test_integers_that_do_not_fit_raise_where_numpy_wraps_around() -> None:
    byte = np.array([100, 100], np.int8)
    assert np.convolve(byte, byte).tolist() == [16, 32, 16]
    with pytest.raises(OverflowError, match="int16"):
        convolve(byte, byte)
