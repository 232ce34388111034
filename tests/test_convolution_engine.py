"""What the methods stand on: transforms of every kind, and work shared among threads."""

from __future__ import annotations

import multiprocessing
import threading

import numba
import numpy as np
import pytest
import torch

from triarch.convolution import compiled, convolve
from triarch.convolution.choice import find_plan
from triarch.convolution.methods import METHODS
from triarch.convolution.spec import ConvolutionSpec
from triarch.convolution.threads import split_work, threads_for
from triarch.convolution.transforms import MOST_SMALL, transform_of

KINDS = [
    ((1000,), True, "small_row_work"),
    ((30, 40), True, "small_work"),
    ((1000,), False, "row_work"),
    ((30, 40), False, "work"),
    ((300, 300), True, "work"),
    ((MOST_SMALL + 1,), True, "long_work"),
    ((MOST_SMALL + 12_345,), False, "long_work"),
]


@pytest.mark.parametrize(("least", "is_single", "kind"), KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_product_of_spectra_is_the_cyclic_convolution(
    least: tuple[int, ...], is_single: bool, kind: str, dtype: str, rng: np.random.Generator
) -> None:
    is_complex = dtype.startswith("c")
    transform = transform_of(least, is_complex, is_single, "cpu")
    assert transform.kind == kind
    assert all(n >= k for n, k in zip(transform.sizes, least, strict=True))
    batch = () if is_single else (3,)
    a, b = rng.standard_normal((2, *batch, *(n - 5 for n in least)))
    if is_complex:
        a = a + 1j * rng.standard_normal(a.shape)
    a, b = a.astype(dtype), b.astype(dtype)
    operands = (a, b) if kind.startswith("small") else (torch.from_numpy(a), torch.from_numpy(b))
    result = np.asarray(transform.inverse(transform.forward(operands[0]) * transform.forward(operands[1])))
    axes = tuple(range(-len(least), 0))
    expected = np.fft.ifftn(
        np.fft.fftn(a.astype(complex), transform.sizes, axes) * np.fft.fftn(b.astype(complex), transform.sizes, axes),
        axes=axes,
    )
    assert result.shape == (*batch, *transform.sizes)
    assert np.iscomplexobj(result) == is_complex
    tolerance = 1e-5 if dtype in ("float32", "complex64") else 1e-13
    assert np.abs(result - expected).max() < tolerance * np.linalg.norm(a) * np.linalg.norm(b)


def test_other_devices_have_the_plain_transform() -> None:
    assert transform_of((100_000,), False, True, "cuda").kind == "row_work"


@pytest.mark.parametrize("items", [1, 2, 3, 7, 100])
def test_every_item_is_worked_on_once(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    seen, lock = [], threading.Lock()

    def work(first: int, last: int) -> None:
        with lock:
            seen.extend(range(first, last))

    for _ in range(20):
        seen.clear()
        split_work(work, items, seconds=1.0)
        assert sorted(seen) == list(range(items))


def test_little_work_stays_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [threads_for(100, seconds) for seconds in (1e-6, 1e-4, 3.1e-4, 1.0)] == [1, 1, 5, 8]
    assert threads_for(2, 1.0) == 2


def test_errors_of_threads_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def work(first: int, last: int) -> None:
        raise ArithmeticError(f"part {first}")

    with pytest.raises(ArithmeticError, match="part"):
        split_work(work, 10, seconds=1.0)


def _convolve_in_child(queue: multiprocessing.Queue) -> None:
    torch.get_num_threads = lambda: 2
    queue.put(float(convolve(np.ones(300_000), np.ones(50), method="direct").sum()))


def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert convolve(np.ones(300_000), np.ones(50), method="direct").sum() == 15e6  # the parent's pool has run
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_convolve_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 15e6
    child.join(timeout=60)
    assert child.exitcode == 0


@pytest.mark.parametrize("method", ["direct", "fft", "overlap_add", "winograd", "separable"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64"])
@pytest.mark.parametrize("sizes", [((90,), (5,)), ((20, 30), (3, 4)), ((8, 9, 10), (3, 2, 3))])
@pytest.mark.parametrize("batches", [((), ()), ((2,), ()), ((2,), (2,)), ((), (2,))])
def test_what_other_devices_compute(method: str, dtype: str, sizes: tuple, batches: tuple, rng) -> None:
    """The plans for tensors of another device, which "cpu:0" is by name, against those for arrays."""
    bits = (4, 4) if dtype == "int64" else (0, 0)
    spec = ConvolutionSpec.of_mode(
        "same", *sizes, a_batch=batches[0], b_batch=batches[1], dtype=dtype, device="cpu:0", bits=bits
    )
    if METHODS[method].refuse(spec) is not None:
        with pytest.raises(ValueError, match="cannot do"):
            find_plan(spec, method)
        return
    a = rng.integers(-9, 10, (*batches[0], *sizes[0]))
    b = np.ones((), int)
    for size in sizes[1]:  # of rank 1, for the separable method
        b = np.multiply.outer(b, rng.integers(1, 4, size))
    a, b = a.astype(dtype), np.broadcast_to(b, (*batches[1], *sizes[1])).astype(dtype)
    if np.iscomplexobj(a):
        a = a * (1 + 2j)
    a, b = a.astype(dtype), b.astype(dtype)
    result = find_plan(spec, method)(torch.from_numpy(a), torch.from_numpy(b))
    axes = tuple(range(-len(sizes[0]), 0))
    assert isinstance(result, torch.Tensor)
    assert str(result.dtype) == f"torch.{dtype}"
    tolerance = 0 if dtype == "int64" else 1e-4
    np.testing.assert_allclose(
        result.numpy(), convolve(a, b, "same", "direct", axes), rtol=tolerance, atol=tolerance * 100
    )


def test_where_no_folder_can_keep_machine_code_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit("int64(int64)", cache=True)(lambda x: x)
    largest = compiled.largest_magnitude.__wrapped__("int64")
    assert largest(np.array([3, -(2**63), 5])) == 2**63
