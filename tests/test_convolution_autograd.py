"""Gradients of convolution, to both operands and of second order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from triarch.convolution import convolve, correlate
from triarch.convolution.spec import MODES


def operand(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["auto", "direct", "fft", "overlap_add", "winograd"])
@pytest.mark.parametrize(("a", "b"), [((6,), (3,)), ((2,), (5,)), ((4, 3), (2, 3)), ((2, 3, 2), (2, 1, 2))])
def test_gradients(mode: str, method: str, a: tuple, b: tuple) -> None:
    operands = operand(*a), operand(*b)
    assert torch.autograd.gradcheck(lambda x, y: convolve(x, y, mode, method), operands)
    assert torch.autograd.gradgradcheck(lambda x, y: convolve(x, y, mode, method), operands)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_complex_correlation(mode: str) -> None:
    operands = operand(5, dtype=torch.complex128), operand(3, dtype=torch.complex128)
    assert torch.autograd.gradcheck(lambda x, y: correlate(x, y, mode), operands)
    assert torch.autograd.gradgradcheck(lambda x, y: correlate(x, y, mode), operands)
    assert torch.autograd.gradcheck(lambda x, y: convolve(x, y, mode), (operand(4), operands[1]))


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect", "symmetric", "nearest"])
def test_gradients_through_boundaries(boundary: str) -> None:
    operands = operand(4, 3), operand(3, 2)
    assert torch.autograd.gradcheck(lambda x, y: convolve(x, y, "same", boundary=boundary, fill_value=1), operands)


@pytest.mark.parametrize(("a", "b"), [((2, 5), (1, 3)), ((1, 5), (2, 3)), ((5,), (2, 3))])
def test_gradients_of_batches_that_broadcast(a: tuple, b: tuple) -> None:
    operands = operand(*a), operand(*b)
    assert torch.autograd.gradcheck(lambda x, y: convolve(x, y, axes=-1), operands)
    assert torch.autograd.gradcheck(lambda x, y: convolve(x, y, "same", "fft", axes=-1), operands)


def test_gradients_are_those_of_torch() -> None:
    a, b = operand(8, 9), operand(3, 2)
    ours = torch.autograd.grad(convolve(a, b, "valid").square().sum(), (a, b))
    theirs = torch.autograd.grad(F.conv2d(a[None, None], b.flip(0, 1)[None, None]).square().sum(), (a, b))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_keep_the_type(dtype: torch.dtype) -> None:
    a = operand(8, dtype=dtype)
    convolve(a, torch.ones(3, dtype=dtype)).sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == dtype
    assert a.grad.tolist() == [3.0] * 8


def test_only_what_asks_for_gradients_gets_them() -> None:
    a, b = operand(5), torch.ones(2, dtype=torch.float64)
    assert convolve(a, b).requires_grad
    assert not convolve(a.detach(), b).requires_grad
    with torch.no_grad():
        assert not convolve(a, b).requires_grad
