"""What type goes in, comes out, or is refused; with which precision."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from triarch.convolution import convolve, polymul, polypow

NUMPY = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32", "float64"]
NUMPY += ["longdouble", "complex64", "complex128", "clongdouble"]
TORCH = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16]
TORCH += [torch.float32, torch.float64, torch.complex64, torch.complex128]


@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(NUMPY, 2)))
def test_types_of_arrays(first: str, second: str) -> None:
    a, b = np.array([1, 1, 0]).astype(first), np.array([1, 1]).astype(second)
    result = convolve(a, b)
    assert result.dtype == np.result_type(a, b)
    assert result.tolist() == ([True, True, True, False] if first == second == "bool" else [1, 2, 1, 0])


@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(TORCH, 2)))
def test_types_of_tensors(first: torch.dtype, second: torch.dtype) -> None:
    a, b = torch.tensor([1, 1, 0]).to(first), torch.tensor([1, 1]).to(second)
    result = convolve(a, b)
    assert result.dtype == torch.result_type(a, b)
    assert result.tolist() == ([True, True, True, False] if first is second is torch.bool else [1, 2, 1, 0])


def test_a_tensor_among_them_makes_the_result_a_tensor() -> None:
    assert isinstance(convolve(torch.tensor([1, 2]), [3, 4]), torch.Tensor)
    assert isinstance(convolve(np.array([1, 2]), torch.tensor([3, 4])), torch.Tensor)
    assert isinstance(convolve([[1]], ((2,),)), np.ndarray)


def test_integers_where_floats_would_be_wrong(rng) -> None:
    a, b = rng.integers(-(2**40), 2**40, 2000), rng.integers(-(2**11), 2**11, 2000)
    wide = convolve(a.astype(object), b.astype(object), method="direct")
    assert (wide != np.convolve(a.astype(float), b.astype(float)).round().astype(np.int64)).any()
    for method in ("auto", "direct", "fft"):
        assert (convolve(a, b, method=method) == wide).all()


@pytest.mark.parametrize(
    ("value", "dtype", "name"),
    [
        (100, "int8", "int16"),
        (200, "uint8", "uint16"),
        (40_000, "uint16", "uint32"),
        (2**31 - 1, "int32", "int64"),
        (2**62, "int64", "object"),
        (2**63, "uint64", "object"),
    ],
)
def test_overflow_names_what_would_hold_it(value: int, dtype: str, name: str) -> None:
    a = np.array([value], dtype)
    with pytest.raises(OverflowError, match=f"Convert an operand to {name}"):
        convolve(a, a)
    assert convolve(a.astype(object), a.astype(object)).tolist() == [value * value]


def test_the_largest_values_of_a_type_fit() -> None:
    for dtype in ("int8", "uint8", "int64", "uint64"):
        limits = np.iinfo(dtype)
        for value in (limits.min, limits.max):
            assert convolve(np.array([value], dtype), np.array([1], dtype)).tolist() == [value]


def test_python_integers_beyond_64_bits_in_lists() -> None:
    assert convolve([2**63, 1], [1, -1]).tolist() == [2**63, 1 - 2**63, -1]
    assert convolve([[2**70]], [[3]]).tolist() == [[3 * 2**70]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    a, b = torch.rand(3000).to(dtype), torch.rand(1000).to(dtype) / 500
    exact = np.convolve(a.double().numpy(), b.double().numpy())
    result = convolve(a, b, method="direct").double().numpy()
    assert (np.abs(result - exact) <= 0.51 * torch.finfo(dtype).eps * np.abs(exact) + 1e-6).all()


def test_long_doubles_keep_their_precision() -> None:
    tiny = np.longdouble(2) ** -60
    assert convolve(np.array([1 + tiny]), np.array([1], np.longdouble))[0] == 1 + tiny


def test_other_numbers_are_added_and_multiplied() -> None:
    result = convolve(np.array([Decimal("0.1"), Decimal("0.2")]), np.array([Decimal(3), Decimal(1)]))
    assert result.tolist() == [Decimal("0.3"), Decimal("0.7"), Decimal("0.2")]


@pytest.mark.parametrize("method", ["direct", "fft", "overlap_add", "winograd"])
def test_any_memory_is_read_and_none_is_written(method: str, rng) -> None:
    base = rng.standard_normal((40, 6))
    frozen = base[:, 0].copy()
    frozen.flags.writeable = False
    for a in (base[:, 0], base[::-1, 0], base[::2, 1], frozen, base[:, 0].astype(">f8")):
        kept = a.copy()
        result = convolve(a, [1.0, -2.0, 0.5], method=method)
        np.testing.assert_allclose(result, np.convolve(np.ascontiguousarray(kept), [1.0, -2.0, 0.5]), atol=1e-12)
        assert (a == kept).all()
        assert not np.shares_memory(result, a)


def test_infinities_reach_only_the_sums_that_they_stand_in() -> None:
    result = convolve([1.0, np.inf, 1.0, np.nan, 1.0, 1.0], [1.0, 2.0], method="direct")
    np.testing.assert_array_equal(result, [1.0, np.inf, np.inf, np.nan, np.nan, 3.0, 2.0])


def test_the_callback_is_called_at_the_end_of_any_work() -> None:
    calls: list[tuple[int, int]] = []
    convolve([1, 2], [3], progress=lambda *numbers: calls.append(numbers))
    assert calls == [(1, 1)]


def test_polynomials() -> None:
    assert polymul((1, 2, 3), (4, 5, 6)) == (4, 13, 28, 27, 18)
    assert polymul([1, 2], (3, 4)) == [3, 10, 8]
    assert polymul((2**100, -1), (2**100, 1)) == (2**200, 0, -1)
    assert polymul(np.array([0.5, 1]), [2, 4]).tolist() == [1, 4, 4]
    assert polypow((1, 1), 5) == (1, 5, 10, 10, 5, 1)
    assert polypow([2, 3], 0) == [1]
    assert polypow((1, 10**20), 3) == (1, 3 * 10**20, 3 * 10**40, 10**60)
    assert polypow(torch.tensor([1.0, 1.0]), 2).tolist() == [1, 2, 1]
    with pytest.raises(OverflowError, match="object"):
        polypow(np.array([1, 10**10]), 2)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: polymul((), (1,)), ValueError),
        (lambda: polymul([[1]], [1]), ValueError),
        (lambda: polypow((1,), -1), ValueError),
        (lambda: polypow((1,), 0.5), TypeError),
    ],
)
def test_polynomials_refuse(call, error: type[Exception]) -> None:
    with pytest.raises(error, match="Received"):
        call()


@pytest.mark.parametrize("bits", [8, 62, 200])
def test_powers_of_long_polynomials(bits: int, rng) -> None:
    a = tuple(int.from_bytes(rng.bytes(bits // 8)) for _ in range(60))
    third = polymul(polymul(a, a, "direct"), a, "direct")
    for method in ("auto", "fft", "kronecker"):
        assert polypow(a, 3, method) == third


def test_the_short_way_of_integers_knows_its_limits() -> None:
    small, large = np.array([3, -2, 1]), np.array([2**62, -(2**63), 5])
    for _ in range(3):  # the second call of these sizes takes the short way
        assert convolve(small, small).tolist() == [9, -12, 10, -4, 1]
        assert convolve(small, np.array([2**60, 0, 0])).tolist() == [3 * 2**60, -(2**61), 2**60, 0, 0]
        with pytest.raises(OverflowError, match="object"):
            convolve(large, large)
