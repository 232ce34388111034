"""Every method against exact arithmetic, and the laws that convolution obeys."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
import scipy.ndimage
from exact_convolution import convolve_exactly, exact
from hypothesis import given, settings
from hypothesis import strategies as st

from triarch.convolution import choose_method, convolve, correlate, explain, separate, winograd_matrices
from triarch.convolution.boundaries import BOUNDARIES
from triarch.convolution.bounds import fft_rounding_bound, limb_bits
from triarch.convolution.exact_limbs import join_limbs, limb_count, split_objects
from triarch.convolution.spec import MODES
from triarch.kernels.conv.winograd.matrices import points_of

METHODS = ("auto", "direct", "fft", "overlap_add", "winograd", "separable")
LARGEST = {1: 40, 2: 12, 3: 6, 4: 4}

# How many roundings of the type, relative to ‖a‖‖b‖, a method's coefficients may lie from the exact ones. Winograd's
# matrices of F(4, 3) have entries up to 8 in two of three steps, in each axis.
ROUNDINGS = {"direct": 8, "fft": 32, "overlap_add": 32, "separable": 64, "auto": 64}


def roundings(method: str, rank: int) -> float:
    return 8 * 30.0**rank if method == "winograd" else ROUNDINGS[method]


@st.composite
def operands(draw: st.DrawFn, largest_kernel: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of whole numbers of one rank; in half of the cases the second one is of rank 1."""
    rank = draw(st.integers(1, 4))
    a = tuple(draw(st.integers(1, LARGEST[rank])) for _ in range(rank))
    b = tuple(draw(st.integers(1, min(LARGEST[rank], largest_kernel))) for _ in range(rank))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(-9, 10, a), rng.integers(-9, 10, b)


def outer(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    result = np.ones((), np.int64)
    for size in sizes:
        result = np.multiply.outer(result, rng.integers(-5, 6, size))
    return result


def compute(a: np.ndarray, b: np.ndarray, method: str, **arguments: object) -> np.ndarray | None:
    """The result; None where the method says that it cannot do it."""
    try:
        return convolve(a, b, method=method, **arguments)
    except ValueError as error:
        if method not in ("winograd", "separable") or "Received" not in str(error):
            raise
        return None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25)
@given(pair=operands(), boundary=st.sampled_from(BOUNDARIES), fill_value=st.integers(-3, 3))
def test_integers_are_exact(
    method: str, mode: str, pair: tuple[np.ndarray, np.ndarray], boundary: str, fill_value: int
) -> None:
    a, b = pair
    if mode == "valid" and any(n < k for n, k in zip(a.shape, b.shape, strict=True)):
        a, b = np.maximum(a.shape, b.shape), b
        a = np.arange(np.prod(a)).reshape(a) % 17 - 8
    if method == "separable":
        b = outer(np.random.default_rng(a.size), b.shape)
    if boundary == "reflect" and 1 in a.shape:
        boundary = "symmetric"  # np.pad has no reflection of a single place
    result = compute(a, b, method, mode=mode, boundary=boundary, fill_value=fill_value)
    expected = convolve_exactly(a.astype(object), b.astype(object), mode, boundary, fill_value)
    if result is None:
        assert method == "separable" or max(min(a.size, b.size), *b.shape, *a.shape) > 7
        return
    assert result.dtype == np.int64
    assert result.shape == expected.shape
    assert (result == expected).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(pair=operands(7), mode=st.sampled_from(MODES), seed=st.integers(0, 2**32 - 1))
def test_floats_are_near_the_exact_result(
    method: str, dtype: str, pair: tuple[np.ndarray, np.ndarray], mode: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(x.shape) for x in pair)
    if method == "separable":
        b = outer(rng, b.shape) / 4.0
    if mode == "valid" and any(n < k for n, k in zip(a.shape, b.shape, strict=True)):
        mode = "full"
    turn = 1 if dtype.startswith("float") else 2 - 1j
    a, b = (a * turn).astype(dtype), b.astype(dtype)
    result = compute(a, b, method, mode=mode)
    if result is None:
        return
    parts = [convolve_exactly(exact(part), exact(b.real), mode).astype(float) for part in (a.real, a.imag)]
    expected = parts[0] + 1j * parts[1]
    scale = float(np.linalg.norm(a.reshape(-1)) * np.linalg.norm(b.reshape(-1)))
    assert result.dtype == dtype
    error = np.abs(result - expected).max()
    assert error <= roundings(method, a.ndim) * np.finfo(dtype).eps * scale


@pytest.mark.parametrize("method", ["auto", "direct", "fft", "kronecker", "winograd"])
@settings(max_examples=20)
@given(bits=st.sampled_from([3, 31, 63, 64, 200, 1000]), pair=operands(7), seed=st.integers(0, 2**32 - 1))
def test_integers_of_any_size_are_exact(method: str, bits: int, pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.vectorize(lambda _: int.from_bytes(rng.bytes(bits // 8 + 1)) - 2**bits, [object])(x) for x in pair)
    result = compute(a, b, method)
    if result is not None:
        assert (result == convolve_exactly(a, b)).all()
        assert all(type(value) is int for value in result.reshape(-1))


@pytest.mark.parametrize("method", ["auto", "direct", "fft", "kronecker"])
def test_fractions_are_exact(method: str) -> None:
    a = [Fraction(1, 2), Fraction(-3, 7), 5]
    b = [Fraction(2, 3), 1]
    assert convolve(np.array(a, object), np.array(b, object), method=method).tolist() == [
        Fraction(1, 3),
        Fraction(3, 14),
        Fraction(61, 21),
        5,
    ]


@pytest.mark.parametrize(("bits", "size"), [(20, 3000), (26, 500), (25, 1 << 12)])
def test_transforms_of_integers_split_where_one_piece_would_be_wrong(bits: int, size: int, rng) -> None:
    a, b = rng.integers(-(2**bits), 2**bits, (2, size))
    assert limb_bits(bits + 1, bits + 1, size, size, 2 * size) < bits + 1
    assert (convolve(a, b, method="fft") == np.convolve(a, b)).all()


@pytest.mark.parametrize("size", [16, 1000, 1 << 15])
def test_the_bound_of_rounding_holds(size: int, rng) -> None:
    for a in (np.full(size, 2.0**20), rng.integers(-(2**20), 2**20, size).astype(float)):
        points = 2 * size
        result = np.fft.irfft(np.fft.rfft(a, points) ** 2, points)
        places = rng.integers(0, 2 * size - 1, 20)
        whole = [int(value) for value in a]
        for place in places:
            true = sum(whole[j] * whole[place - j] for j in range(max(0, place - size + 1), min(size, place + 1)))
            assert abs(int(result[place].round()) - true) <= fft_rounding_bound(float(a @ a), points) + 1


@pytest.mark.parametrize("size", [(17,), (6, 5)])
def test_convolution_theorem(size: tuple[int, ...], rng) -> None:
    a, b = rng.standard_normal((2, *size))
    full = tuple(2 * n - 1 for n in size)
    spectrum = np.fft.fftn(a, full, range(a.ndim)) * np.fft.fftn(b, full, range(a.ndim))
    np.testing.assert_allclose(np.fft.fftn(convolve(a, b, method="direct")), spectrum, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", ["direct", "fft", "overlap_add"])
@settings(max_examples=20)
@given(pair=operands(), other=st.integers(0, 2**32 - 1))
def test_laws(method: str, pair: tuple[np.ndarray, np.ndarray], other: int) -> None:
    a, b = pair
    c = np.random.default_rng(other).integers(-5, 6, tuple(min(n, 3) for n in a.shape))
    ab = convolve(a, b, method=method)
    assert (ab == convolve(b, a, method=method)).all()
    assert (convolve(ab, c, method=method) == convolve(a, convolve(b, c, method=method), method=method)).all()
    y = np.random.default_rng(other + 1).integers(-5, 6, ab.shape)
    assert (ab * y).sum() == (a * correlate(y, b, "valid", method)).sum()


@pytest.mark.parametrize(("ours", "theirs"), [("wrap", "wrap"), ("reflect", "mirror"), ("symmetric", "reflect")])
def test_boundaries_where_the_kernel_is_longer_than_the_signal(ours: str, theirs: str, rng) -> None:
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((11, 9))
    np.testing.assert_allclose(
        convolve(a, b, "same", boundary=ours), scipy.ndimage.convolve(a, b, mode=theirs), atol=1e-12
    )


def test_chosen_axes_and_broadcasting(rng) -> None:
    a, b = rng.standard_normal((4, 50, 3)), rng.standard_normal((7, 1))
    expected = np.stack([[np.convolve(a[n, :, c], b[:, 0]) for c in range(3)] for n in range(4)]).transpose(0, 2, 1)
    for method in ("auto", "direct", "fft", "overlap_add", "winograd"):
        np.testing.assert_allclose(convolve(a, b, axes=1, method=method), expected, atol=1e-12)


def test_long_signals_go_through_many_blocks(rng) -> None:
    a, b = rng.standard_normal(300_001), rng.standard_normal(777)
    calls: list[tuple[int, int]] = []
    result = convolve(a, b, "same", "overlap_add", progress=lambda done, total: calls.append((done, total)))
    np.testing.assert_allclose(result, convolve(a, b, "same", "fft"), atol=1e-10)
    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.parametrize(("a", "b"), [((0,), (3,)), ((3,), (0,)), ((4, 0), (2, 2))])
def test_empty_operands(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    full = tuple(0 if 0 in (n, k) else n + k - 1 for n, k in zip(a, b, strict=True))
    assert convolve(np.ones(a), np.ones(b)).shape == full
    same = convolve(np.ones(a), np.ones(b), "same")
    assert same.shape == a
    assert not same.any()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mode": "half"}, ValueError, "mode expects one of .* Received: 'half'"),
        ({"method": "magic"}, ValueError, "method expects one of .* Received: 'magic'"),
        ({"boundary": "mirror"}, ValueError, "boundary expects one of .* Received: 'mirror'"),
        ({"b": [1.0, 2.0]}, ValueError, r"equal rank.* Received: shapes \(3, 3\) and \(2,\)"),
        ({"axes": 2}, ValueError, "Received: 2"),
        ({"axes": (0, -2)}, ValueError, "each axis once"),
        ({"axes": 0.5}, TypeError, "Received: 0.5"),
        ({"a": [["x"]], "b": [[1]]}, TypeError, "Expected numbers. Received"),
        ({"a": [[1, 2], [3]]}, ValueError, "rows of equal lengths"),
        ({"fill_value": "1"}, ValueError, "fill_value expects a number"),
        ({"a": [[1]], "fill_value": 0.5}, ValueError, "whole number"),
        ({"b": np.ones((2, 4)), "mode": "valid"}, ValueError, "valid.*Received: sizes"),
        ({"b": np.ones((8, 8)), "a": np.ones((9, 9)), "method": "winograd"}, ValueError, "7 taps.*Received"),
        ({"b": np.eye(2), "method": "separable"}, ValueError, "rank 1.*Received"),
        ({"method": "kronecker"}, ValueError, "Python integers.*Received"),
        ({"a": np.ones((2, 3, 3)), "b": np.ones((3, 3, 3)), "axes": (1, 2)}, ValueError, "equal or 1"),
    ],
)
def test_bad_input(arguments: dict, error: type[Exception], words: str) -> None:
    call = {"a": np.ones((3, 3)), "b": np.ones((2, 2))} | arguments
    with pytest.raises(error, match=words):
        convolve(**call)


def test_the_choice_can_be_asked(rng) -> None:
    a, b = rng.standard_normal(100_000), rng.standard_normal(1000)
    table = explain(a, b)
    assert table.method == choose_method(a, b)
    assert table.candidates[0].method == table.method
    assert re.fullmatch(
        r"chosen; \d+ of 100,999 places by the direct sum, for its accuracy", table.candidates[0].reason
    )
    assert explain(a, b, accuracy="norm").candidates[0].reason == "chosen"
    assert {candidate.method for candidate in table.candidates if candidate.seconds is None} == {
        "winograd",
        "separable",
        "kronecker",
    }
    assert "times as long" in str(table)
    with pytest.raises(ValueError, match="empty"):
        explain([], [1.0])


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4)])
def test_separate(shape: tuple[int, ...], rng) -> None:
    kernel = outer(rng, shape)
    factors = separate(kernel)
    assert factors is not None
    product = factors[0]
    for factor in factors[1:]:
        product = np.multiply.outer(product, factor)
    assert (product == kernel).all()
    assert product.dtype == kernel.dtype
    near = kernel + 1e-6 * rng.standard_normal(shape)
    assert separate(near) is None
    assert separate(near, tolerance=1e-4) is not None
    with pytest.raises(ValueError, match="tolerance"):
        separate(near, tolerance=-1)


@pytest.mark.parametrize(("m", "r"), [(1, 1), (2, 3), (4, 3), (6, 3), (3, 5), (5, 1), (1, 4), (8, 8)])
def test_winograd_matrices_are_exact(m: int, r: int, rng) -> None:
    evaluation, kernel, tile = (np.array(matrix, object) for matrix in winograd_matrices(m, r))
    g, d = (np.array([Fraction(int(x)) for x in rng.integers(-9, 10, size)]) for size in (r, m + r - 1))
    result = evaluation @ ((kernel @ g) * (tile @ d))
    assert result.tolist() == [sum(d[i + k] * g[k] for k in range(r)) for i in range(m)]


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (2, 5), (4, 5), (2, 2), (4, 2), (1, 1)])
def test_winograd_matrices_of_the_layers_are_exact(m: int, r: int, rng) -> None:
    evaluation, kernel, tile = (np.array(matrix, object) for matrix in winograd_matrices(m, r, points_of(m + r - 1)))
    g, d = (np.array([Fraction(int(x)) for x in rng.integers(-9, 10, size)]) for size in (r, m + r - 1))
    result = evaluation @ ((kernel @ g) * (tile @ d))
    assert result.tolist() == [sum(d[i + k] * g[k] for k in range(r)) for i in range(m)]


def test_points_of_winograd_matrices_are_checked() -> None:
    for points in ((Fraction(0), Fraction(1)), (Fraction(0), Fraction(1), Fraction(1))):
        with pytest.raises(ValueError, match="needs 3 different points"):
            winograd_matrices(2, 3, points)


def test_winograd_matrices_refuse() -> None:
    with pytest.raises(ValueError, match="Received: m=0, r=3"):
        winograd_matrices(0, 3)


@pytest.mark.parametrize("width", range(2, 27))
@pytest.mark.parametrize("bits", [70, 200, 1000])
def test_limbs_hold_every_integer(width: int, bits: int, rng) -> None:
    largest = 2**bits - 1
    inner = [int(value) * largest // 2**31 for value in rng.integers(-(2**31), 2**31, 50)]
    values = np.array([largest, -largest, 0, 1, -1, largest - 1, 1 - largest, *inner], object)
    limbs = split_objects(values, width, limb_count(bits, width))
    assert float(limbs.abs().max()) <= 2 ** (width - 1)
    assert join_limbs(limbs.numpy(), width).tolist() == values.tolist()
    summed = join_limbs(limbs.numpy() * 1e6, width)  # what products of limbs sum up to
    assert summed.tolist() == [value * 10**6 for value in values]


@pytest.mark.parametrize(("terms", "bits"), [(1500, 999), (1500, 1000), (700, 2001), (20_000, 64), (20_000, 65)])
def test_large_integers_at_the_ends_of_their_range(terms: int, bits: int) -> None:
    a, b = np.full(terms, 2**bits - 1, object), np.full(terms, 1 - 2**bits, object)
    result = convolve(a, b, method="fft")
    tops = np.minimum(np.arange(1, 2 * terms), np.arange(2 * terms - 1, 0, -1))
    assert result.tolist() == [int(top) * (2**bits - 1) * (1 - 2**bits) for top in tops]


@pytest.mark.parametrize(
    "shapes", [((3, 40), (9,)), ((40,), (3, 9)), ((2, 1, 40), (3, 9)), ((3, 40), (1, 9)), ((40,), (9,))]
)
@pytest.mark.parametrize("bits", [8, 28, 90, 900])
def test_limbs_of_batches(shapes: tuple[tuple[int, ...], tuple[int, ...]], bits: int, rng) -> None:
    a, b = (rng.integers(-(2**8), 2**8, shape).astype(object) * 2 ** (bits - 8) + 1 for shape in shapes)
    expected = convolve(a, b, method="direct", axes=-1)
    assert (convolve(a, b, method="fft", axes=-1) == expected).all()
    if bits < 30:
        whole = convolve(a.astype(np.int64), b.astype(np.int64), method="fft", axes=-1)
        assert whole.dtype == np.int64
        assert (whole == expected).all()
