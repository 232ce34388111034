"""The promise of the direct sum: errors place by place, numbers that are not finite, scales of any size."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from triarch import kernels, layers
from triarch.cli.app import app
from triarch.convolution import choose_method, convolve, correlate, explain, polymul, polypow, separate
from triarch.convolution.boundaries import BOUNDARIES, extend
from triarch.convolution.spec import MODES

METHODS = ("auto", "direct", "fft", "overlap_add", "winograd", "separable")
FALLBACKS = ("auto", "fft", "overlap_add")  # long kernels
MULTIPLE = 8


def windowed(full: np.ndarray, a: np.ndarray, b: np.ndarray, mode: str) -> np.ndarray:
    """What a mode returns of a full convolution."""
    if mode == "full":
        return full
    if mode == "same":
        return full[tuple(slice((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(a.shape, b.shape, strict=True))]
    axes = zip(a.shape, b.shape, strict=True)
    return full[tuple(slice(min(n, k) - 1, max(n, k)) for n, k in axes)]


def term_by_term(a: np.ndarray, b: np.ndarray, mode: str = "full") -> np.ndarray:
    """The sum of the products that there are, nothing for the zeros beyond the ends."""
    full = np.zeros([n + k - 1 for n, k in zip(a.shape, b.shape, strict=True)], np.result_type(a, b))
    with np.errstate(all="ignore"):
        for tap in np.ndindex(b.shape):
            part = tuple(slice(t, t + n) for t, n in zip(tap, a.shape, strict=True))
            if np.iscomplexobj(full):  # part by part, as complex numbers are multiplied
                full.real[part] += a.real * b[tap].real - a.imag * b[tap].imag
                full.imag[part] += a.real * b[tap].imag + a.imag * b[tap].real
            else:
                full[part] += a * b[tap]
    return windowed(full, a, b, mode)


def assert_same_places(result: np.ndarray, expected: np.ndarray, rtol: float = 1e-4) -> None:
    """NaN and infinities at the same places, and the rest near each other."""
    parts = (
        [(result.real, expected.real), (result.imag, expected.imag)]
        if np.iscomplexobj(result)
        else [(result, expected)]
    )
    for ours, theirs in parts:
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        np.testing.assert_array_equal(np.isposinf(ours), np.isposinf(theirs))
        np.testing.assert_array_equal(np.isneginf(ours), np.isneginf(theirs))
        held = np.isfinite(theirs)
        scale = np.abs(theirs[held]).max(initial=1.0)
        np.testing.assert_allclose(ours[held], theirs[held], rtol=rtol, atol=rtol * scale)


def whole(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Floats as integers times a power of two."""
    pairs = [math.frexp(value) for value in x.reshape(-1).tolist()]
    lowest = min((exponent for fraction, exponent in pairs if fraction), default=0)
    numbers = [int(fraction * 2**53) << (exponent - lowest) if fraction else 0 for fraction, exponent in pairs]
    result = np.empty(len(numbers), object)
    result[:] = numbers
    return result.reshape(x.shape), lowest - 53


def assert_within_the_bound(a: np.ndarray, b: np.ndarray, result: np.ndarray, mode: str) -> None:
    """`|error| <= 8 ε n Σ |a| |b|` at each place, against exact sums of integers."""
    (x, low_a), (y, low_b), (found, low) = whole(a), whole(b), whole(result)
    exact, magnitudes = convolve(x, y, mode), convolve(abs(x), abs(y), mode)
    assert result.shape == exact.shape
    terms, epsilon = min(a.size, b.size), Fraction(float(np.finfo(result.dtype).eps))
    smallest = Fraction(float(np.finfo(result.dtype).smallest_subnormal)) * (terms + 1)  # where sums themselves vanish
    unit, found_unit = Fraction(2) ** (low_a + low_b), Fraction(2) ** low
    for ours, theirs, size in zip(found.flat, exact.flat, magnitudes.flat, strict=True):
        allowed = MULTIPLE * epsilon * terms * size * unit + (smallest if size else 0)
        assert abs(ours * found_unit - theirs * unit) <= allowed


def sequences(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What transforms find hard."""
    size, order = math.prod(shape), np.indices(shape).sum(0)
    spikes = np.zeros(shape)
    spikes.flat[rng.integers(0, size, max(1, size // 60))] = rng.standard_normal(max(1, size // 60))
    hole, lonely = rng.standard_normal((2, *shape))
    hole[shape[0] // 4 : shape[0] // 2] = 0
    lonely[tuple(n // 2 for n in shape)] = 1e14
    return {
        "normal": rng.standard_normal(shape),
        "whole": rng.integers(-99, 100, shape).astype(float),
        "falling": 0.97**order,
        "rising": 1.05**order,
        "powers of two": 2.0 ** (order * 7 % 301 - 150),
        "hundreds of binades": rng.standard_normal(shape) * 2.0 ** rng.integers(-150, 150, shape),
        "steps": rng.standard_normal(shape) * 10.0 ** (-9.0 * (order * 4 // (order.max() + 1))),
        "bell": np.exp(-(((order - order.mean()) / order.max() * 14) ** 2) / 2),
        "ones": np.ones(shape),
        "spikes": spikes,
        "hole": hole,
        "lonely": lonely,
    }


NAMES = tuple(sequences(np.random.default_rng(0), (8,)))
SHAPES = [((900,), (130,)), ((400,), (390,)), ((40, 50), (19, 21)), ((12, 11, 13), (6, 7, 6))]


@pytest.mark.parametrize("method", FALLBACKS)
@settings(max_examples=25)
@given(
    shapes=st.sampled_from(SHAPES),
    names=st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)),
    mode=st.sampled_from(MODES),
    dtype=st.sampled_from(["float64", "float32"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_errors_are_within_the_bound_of_the_direct_sum(
    method: str, shapes: tuple, names: tuple[str, str], mode: str, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        a, b = (sequences(rng, shape)[name].astype(dtype) for shape, name in zip(shapes, names, strict=True))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return
    assert_within_the_bound(a, b, convolve(a, b, mode, method, accuracy="sum"), mode)
    assert_within_the_bound(b, a, convolve(b, a, mode, method, accuracy="sum"), mode)


@pytest.mark.parametrize("exponents", [(-1020, -20), (900, -900), (500, 500), (-500, -540), (1000, 10), (0, 1020)])
@pytest.mark.parametrize("method", METHODS)
def test_scales_neither_overflow_nor_vanish(method: str, exponents: tuple[int, int], rng) -> None:
    for shapes in (((400,), (7,)), ((40, 30), (5, 5)), ((12, 9, 8), (3, 3, 3))):
        if method == "separable" and len(shapes[0]) == 1:
            continue
        a, b = rng.uniform(1, 2, shapes[0]), np.ones(shapes[1])
        expected = convolve(a, b, "valid", "direct")
        result = convolve(np.ldexp(a, exponents[0]), np.ldexp(b, exponents[1]), "valid", method)
        with np.errstate(over="ignore"):
            right = np.ldexp(expected, sum(exponents))
        np.testing.assert_allclose(result, right, rtol=1e-12, atol=5e-324 * b.size)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("size", "taps"), [(3000, 200), (20_000, 500)])
def test_running_means_of_large_numbers(dtype: str, size: int, taps: int) -> None:
    large = float(np.finfo(dtype).max) / 4
    a, b = np.full(size, large, dtype), np.full(taps, 1 / taps, dtype)
    for method in ("auto", "fft", "overlap_add"):
        np.testing.assert_allclose(convolve(a, b, "valid", method) / large, 1, rtol=5e-3)


def test_one_sum_that_overflows_spoils_no_other() -> None:
    for dtype, large in (("float64", 1e306), ("float32", 1e37)):
        a, b = np.zeros(20_000, dtype), np.full(500, 1000, dtype)
        a[0], a[9000] = 1, large
        for method in ("auto", "fft", "overlap_add"):
            result = convolve(a, b, method=method, accuracy="sum")
            assert (result[:500] == 1000).all()
            assert np.isinf(result[9000:9500]).all()
            assert not result[500:9000].any()
            assert not result[9500:].any()


def test_falling_sequences_have_positive_products() -> None:
    a = 0.7 ** np.arange(2000)
    assert (convolve(a, a)[:2000] > 0).all()
    assert (np.array(polymul(a, a)) >= 0).all()
    assert (convolve(torch.from_numpy(a), torch.from_numpy(a)).numpy() >= 0).all()


def test_sums_of_powers_of_two_are_exact() -> None:
    a = 2.0 ** (np.arange(3000) % 400)
    b = np.zeros(600)
    b[0], b[5] = 1, -1
    for method in FALLBACKS:
        result = convolve(a, b, method=method, accuracy="sum")
        assert (result == np.convolve(a, b)).all()


VALUES = (np.nan, np.inf, -np.inf)
GRID_SHAPES = [((90,), (5,)), ((300,), (120,)), ((20, 17), (4, 3)), ((40, 30), (21, 19)), ((7, 8, 9), (3, 2, 4))]


def spoilt(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, count: int) -> np.ndarray:
    """Whole numbers, zeros among them, with some that are not finite."""
    x = rng.integers(-3, 4, shape).astype(dtype)
    if dtype.startswith("complex"):
        x = x + 1j * rng.integers(-3, 4, shape).astype(dtype)
    for place in rng.integers(0, x.size, count):
        value = VALUES[rng.integers(3)]
        part = x.real if not np.iscomplexobj(x) or rng.random() < 0.5 else x.imag
        part.flat[place] = value
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12)
@given(
    shapes=st.sampled_from(GRID_SHAPES),
    mode=st.sampled_from(MODES),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    swapped=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_numbers_that_are_not_finite_stand_where_the_sum_has_them(
    method: str, dtype: str, shapes: tuple, mode: str, counts: tuple[int, int], swapped: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (spoilt(rng, shape, dtype, count) for shape, count in zip(shapes, counts, strict=True))
    if method == "separable":
        if a.ndim == 1:
            return
        b = np.ones_like(b)
    if method == "winograd" and max(b.shape) > 7:
        return
    a, b = (b, a) if swapped else (a, b)
    expected = term_by_term(a.astype(np.result_type(a, "float32")), b.astype(np.result_type(b, "float32")), mode)
    assert_same_places(convolve(a, b, mode, method), expected.astype(dtype))
    tensors = (torch.from_numpy(x) for x in (a, b))
    assert_same_places(convolve(*tensors, mode, method).numpy(), expected.astype(dtype))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("method", ["auto", "direct", "fft", "overlap_add"])
@pytest.mark.parametrize("fill_value", [0, np.nan, np.inf, 2.5])
def test_beyond_the_ends(boundary: str, method: str, fill_value: float, rng) -> None:
    if boundary != "zero" and fill_value:
        return
    for shapes in (((400,), (150,)), ((30, 40), (9, 12))):
        a, b = spoilt(rng, shapes[0], "float64", 1), spoilt(rng, shapes[1], "float64", 0)
        for mode in ("full", "same"):
            if boundary == "zero" and not fill_value:
                expected = term_by_term(a, b, mode)
            else:
                start = [(k - 1) // 2 if mode == "same" else 0 for k in b.shape]
                length = [n if mode == "same" else n + k - 1 for n, k in zip(a.shape, b.shape, strict=True)]
                margins = [
                    (k - 1 - low, low + size - n)
                    for n, k, low, size in zip(a.shape, b.shape, start, length, strict=True)
                ]
                expected = term_by_term(extend(a, margins, boundary, fill_value), b, "valid")
            result = convolve(a, b, mode, method, boundary=boundary, fill_value=fill_value)
            assert_same_places(result, expected)


def test_batches_keep_to_themselves(rng) -> None:
    a, b = rng.standard_normal((3, 4, 500)), rng.standard_normal((4, 130))
    a[1, 2, 250], b[3, 7] = np.nan, np.inf
    expected = np.array([[term_by_term(a[i, j], b[j], "same") for j in range(4)] for i in range(3)])
    for method in FALLBACKS:
        assert_same_places(convolve(a, b, "same", method, axes=-1), expected)
    quiet = rng.standard_normal((2, 3000)) * np.array([[1e20], [1e-20]])
    kernel = rng.standard_normal((1, 200))
    for method in FALLBACKS:
        result = convolve(quiet, kernel, method=method, axes=1, accuracy="sum")
        for row in range(2):
            assert_within_the_bound(quiet[row], kernel[0], result[row], "full")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_keep_the_promise(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(4000, generator=generator).to(dtype).requires_grad_()
    b = torch.randn(300, generator=generator).to(dtype).requires_grad_()
    arriving = torch.randn(4299, generator=generator).to(dtype)
    arriving[2000] = torch.inf
    convolve(a, b).backward(arriving)
    assert a.grad is not None
    assert b.grad is not None
    met = torch.zeros(4000, dtype=torch.bool)
    met[2000 - 299 : 2001] = True
    assert torch.equal(~a.grad.isfinite(), met)
    assert not b.grad.isfinite().any()


def test_gradients_of_falling_numbers_are_those_of_the_sum() -> None:
    falling = torch.from_numpy(0.9 ** np.arange(2500))
    a, b = falling.clone().requires_grad_(), torch.ones(300, dtype=torch.float64, requires_grad=True)
    convolve(a, b, "valid").backward(falling[:2201])
    expected = term_by_term(0.9 ** np.arange(2201), np.ones(300))
    np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-12)


def test_speed_can_be_asked_for_by_name() -> None:
    a, b = np.full(5000, 1.0), np.full(400, 1.0)
    a[1000] = 1e17
    exact = convolve(a, b, method="direct")
    np.testing.assert_array_equal(convolve(a, b)[:900], exact[:900])
    for arguments in ({"accuracy": "norm"}, {"method": "fft"}):
        assert np.abs(convolve(a, b, **arguments) - exact).max() > 1
    np.testing.assert_array_equal(convolve(a, b, method="fft", accuracy="sum")[:900], exact[:900])
    assert choose_method(a, b, accuracy="norm") in ("fft", "overlap_add")
    for call in (convolve, correlate, polymul, explain):
        with pytest.raises(ValueError, match="accuracy expects one of 'sum', 'norm'"):
            call(a, b, accuracy="best")


def test_the_choice_says_what_it_does_for_accuracy(rng) -> None:
    a, b = rng.standard_normal(60_000), rng.standard_normal(3000)
    assert "by the direct sum, for its accuracy" in str(explain(a, b))
    wide = a * 2.0 ** rng.integers(-100, 100, a.size)
    table = explain(wide[:6000], b)
    assert table.method == "direct"
    assert "accuracy='norm' allows it" in str(table)
    a[7] = np.nan
    assert "not finite" in str(explain(a, b))


def test_kernels_almost_of_rank_one_are_none() -> None:
    kernel = np.outer([1e8, 1.0], [1e8, 1.0])
    assert separate(kernel) is not None
    kernel[1, 1] = 3.0
    assert separate(kernel) is None
    assert separate(kernel, tolerance=1e-9) is not None
    image = np.zeros((300, 300))
    image[150, 150] = 1.0
    large = np.zeros((31, 31))
    large[0, 0], large[30, 30] = 1e9, 1e-9
    assert convolve(image, large, "same")[165, 165] == 1e-9


INTEGERS = [2**63 + 1, 2**64 - 1, 2**64 + 3, -(2**63) - 5, 2**200, 2**62, True, np.int8(-7), np.uint64(2**64 - 1), 0]


@settings(max_examples=60)
@given(
    a=st.lists(st.sampled_from(INTEGERS), min_size=1, max_size=5),
    b=st.lists(st.sampled_from(INTEGERS), min_size=1, max_size=4),
)
def test_integers_in_lists_are_exact_at_any_size(a: list, b: list) -> None:
    exact = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            exact[i + j] += int(x) * int(y)
    for first, second in ((a, b), (tuple(a), tuple(b)), (np.array(a, object), b), (a, np.array(b, object))):
        for result in (convolve(first, second), polymul(first, second)):
            assert [int(value) for value in result] == exact
            assert not any(isinstance(value, (float, np.floating)) for value in result)
    assert [int(value) for value in polypow(a, 2)] == [int(value) for value in polymul(a, a)]
    assert [int(value) for value in correlate(a, b)] == [int(value) for value in convolve(a, b[::-1])]
    halves = [Fraction(int(value), 2) for value in b]
    assert list(convolve(a, halves)) == [Fraction(value, 2) for value in exact]


def test_unsigned_integers_with_signed_ones_do_not_become_floats() -> None:
    large = np.array([2**53 + 1], np.int64)
    for signed in (np.int8, np.int32, np.int64):
        result = convolve(np.array([2**53 + 1, 5], np.uint64), np.array([1, -1], signed))
        assert result.dtype == np.int64
        assert result.tolist() == [2**53 + 1, -(2**53) + 4, -5]
    assert convolve(large, np.array([1], np.uint64)).tolist() == [2**53 + 1]
    assert convolve([-1], np.array([2**63 - 1], np.uint64)).tolist() == [1 - 2**63]
    with pytest.raises(OverflowError, match="uint64"):
        convolve(np.array([2**63], np.uint64), np.array([1], np.int64))
    assert convolve(torch.tensor([2**63], dtype=torch.uint64), torch.tensor([1], dtype=torch.uint64)).tolist() == [
        2**63
    ]


CONVOLUTIONS = [
    (lambda: layers.Conv2D(16, 3, padding="same", activation="relu"), (4, 12, 11, 16)),
    (lambda: layers.Conv2D(4, 9, padding="same"), (2, 20, 20, 4)),
    (lambda: layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"), (3, 13, 12, 6)),
    (lambda: layers.DepthwiseConv2D(4, padding="same", activation="relu"), (3, 12, 12, 16)),
]


METHODS_OF = (("patches", "fourier", "winograd_2", "winograd_4"), ("narrow", "patches", "fourier"))
METHODS_OF += (("patches",), ("depthwise", "winograd_depthwise", "fourier"))


@pytest.mark.parametrize(
    ("number", "method"), [(number, method) for number, methods in enumerate(METHODS_OF) for method in methods]
)
def test_layers_keep_what_is_not_finite_where_the_vendor_has_it(number: int, method: str, rng) -> None:
    make, shape = CONVOLUTIONS[number]
    for value in (*VALUES, 1e37, 3e38):
        inputs = rng.integers(-3, 4, shape).astype("float32")
        inputs[1].flat[rng.integers(inputs[1].size)] = value
        layer = make()
        layer.build(shape)
        weights = [rng.integers(-2, 3, weight.shape).astype("float32") for weight in layer.get_weights()]
        weights[1][3] = -np.inf
        layer.set_weights(weights)
        found = []
        for name in ("direct", method):
            x = torch.from_numpy(inputs).requires_grad_()
            with kernels.use(name):
                outputs = layer(x)
            outputs.backward(torch.ones_like(outputs))
            assert x.grad is not None
            found.append((outputs.detach().numpy(), x.grad.numpy()))
        for ours, theirs in zip(found[1], found[0], strict=True):
            assert_same_places(ours, theirs)
        assert np.isfinite(found[1][0][[0, 2 % len(inputs)]][..., :3]).all()


def test_the_command_is_exact_for_integers_of_files_too(tmp_path) -> None:
    np.save(tmp_path / "unsigned.npy", np.array([2**63, 2**64 - 1], np.uint64))
    np.save(tmp_path / "signed.npy", np.array([1, -1], np.int64))
    unsigned, signed = (str(tmp_path / name) for name in ("unsigned.npy", "signed.npy"))
    for first, second, expected in (
        ("9223372036854775809,1", "2,-1", [2**64 + 2, -(2**63) + 1, -1]),
        (unsigned, "1,1", [2**63, 2**63 + 2**64 - 1, 2**64 - 1]),
        (unsigned, signed, [2**63, 2**63 - 1, 1 - 2**64]),
        (unsigned, unsigned, [2**126, 2**64 * (2**64 - 1), (2**64 - 1) ** 2]),
    ):
        found = CliRunner().invoke(app, ["convolve", first, second])
        assert found.output.strip() == ",".join(map(str, expected))
    kept = str(tmp_path / "kept.npy")
    assert CliRunner().invoke(app, ["convolve", unsigned, "1", "--output", kept]).exit_code == 0
    assert np.load(kept).tolist() == [2**63, 2**64 - 1]


@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_numbers(size: int) -> None:
    for value in (np.nan, np.inf, 1e300):
        result = convolve(np.full(size, value), np.array([value, 0.0]))
        assert_same_places(result, term_by_term(np.full(size, value), np.array([value, 0.0])) if size else np.zeros(0))
    assert np.isnan(convolve(np.inf, 0.0))
    assert convolve(np.inf, -2.0) == -np.inf
