"""Convolution and pooling against their definitions, over odd sizes, and what their plans promise."""

from __future__ import annotations

import direct
import numpy as np
import pytest
import torch
from tolerances import assert_as_exact_as

from triarch import layers
from triarch.kernels import Window, convolve, kernel_memory_order, plan_pooling, pool
from triarch.kernels.conv.choice import find_plan
from triarch.kernels.conv.spec import ConvSpec

SIZES = [1, 2, 3, 5, 7, 8]
SETTINGS = [  # window size, stride, dilation
    (1, 1, 1),
    (2, 1, 1),
    (2, 2, 1),
    (3, 1, 1),
    (3, 2, 1),
    (3, 1, 2),
    (4, 3, 1),
    (5, 1, 1),
    (2, 4, 1),
]
RANKS = [1, 2, 3]


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _spatial(size: int, rank: int) -> tuple[int, ...]:
    """Sizes that differ from axis to axis."""
    return (size, size + 1, size + 2)[:rank]


def _to_format(array: np.ndarray, data_format: str) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if data_format == "channels_last" else tensor.movedim(-1, 1).contiguous()


def _from_format(tensor: torch.Tensor, data_format: str) -> torch.Tensor:
    return tensor if data_format == "channels_last" else tensor.movedim(1, -1)


def _window_fits(window: Window, sizes: tuple[int, ...]) -> bool:
    return all(size > 0 for size in window.output_sizes(sizes))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("size", "stride", "dilation"), SETTINGS)
def test_convolution_equals_its_definition(rng, rank, padding, data_format, size, stride, dilation):
    if padding == "causal" and rank > 1:
        window_sizes = (size,)
        rank = 1
    window_sizes = (size, max(size - 1, 1), size)[:rank]
    window = Window(window_sizes, (stride,) * rank, (dilation,) * rank, padding, data_format)
    kernel = rng.normal(size=(*window_sizes, 2, 4)).astype(np.float32)
    tested = 0
    for length in SIZES:
        images = rng.normal(size=(2, *_spatial(length, rank), 4)).astype(np.float32)
        if not _window_fits(window, images.shape[1:-1]):
            continue
        truth = direct.convolve(images, kernel, window.strides, window.dilation, padding, groups=2)
        inputs = _to_format(images, data_format)
        ours = convolve(inputs, torch.from_numpy(kernel), None, window, 2, _same)
        assert tuple(ours.shape) == window.output_shape(inputs.shape, 4)
        assert_as_exact_as(truth, _from_format(ours, data_format), truth, f"length {length}")
        tested += 1
    assert tested


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("statistic", ["max", "average"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("size", "stride"), [(s, t) for s, t, d in SETTINGS if d == 1])
def test_pooling_equals_its_definition(rng, rank, padding, statistic, data_format, size, stride):
    window = Window((size, max(size - 1, 1), size)[:rank], (stride,) * rank, (1,) * rank, padding, data_format)
    tested = 0
    for length in SIZES:
        images = rng.normal(size=(2, *_spatial(length, rank), 3)).astype(np.float32) - 3  # a margin of 0 would win
        if not _window_fits(window, images.shape[1:-1]):
            continue
        truth = direct.pool(images, window.sizes, window.strides, padding, statistic)
        inputs = _to_format(images, data_format)
        ours = pool(plan_pooling(inputs.shape, window, statistic), inputs)
        assert tuple(ours.shape) == window.output_shape(inputs.shape)
        assert_as_exact_as(truth, _from_format(ours, data_format), truth, f"length {length}")
        tested += 1
    assert tested


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_convolution_adjoint_identity(rng, rank, padding, data_format):
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩, the transposed map being the gradient."""
    window = Window((2, 3, 2)[:rank], (2, 1, 2)[:rank], (1,) * rank, padding, data_format)
    inputs = _to_format(rng.normal(size=(2, *_spatial(5, rank), 4)), data_format).requires_grad_()
    kernel = torch.from_numpy(rng.normal(size=(*window.sizes, 4, 3))).requires_grad_()
    outputs = convolve(inputs, kernel, None, window, 1, _same)
    other = torch.from_numpy(rng.normal(size=tuple(outputs.shape)))
    forward = (outputs * other).sum()
    for_inputs, for_kernel = torch.autograd.grad(forward, (inputs, kernel))
    torch.testing.assert_close((inputs * for_inputs).sum(), forward)
    torch.testing.assert_close((kernel * for_kernel).sum(), forward)


@pytest.mark.parametrize("rank", RANKS)
def test_kernel_memory_is_torchs(rank):
    """The kernel made in this order needs no copy: permuted, it is what torch's convolution reads."""
    shape = (3, 3, 3, 5, 4)[3 - rank :]
    order = kernel_memory_order(rank, "channels_last")
    back = [order.index(axis) for axis in range(rank + 2)]
    kernel = torch.zeros([shape[axis] for axis in order]).permute(back)
    assert kernel.shape == shape
    window = Window((3,) * rank, *[(1,) * rank] * 2, "valid", "channels_last")
    weight = find_plan(ConvSpec((1, *(9,) * rank, 5), window, 1, 4, _same), "direct")
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    view = weight.weight(kernel)
    assert view.is_contiguous(memory_format=formats[view.ndim])
    assert view.data_ptr() == kernel.data_ptr()


def test_plans_are_found_again():
    window = Window((3, 3), (1, 1), (1, 1), "same", "channels_last")
    spec = ConvSpec((2, 8, 8, 3), window, 1, 4, _same)
    assert find_plan(spec, "auto") is find_plan(spec._replace(), "auto")
    assert plan_pooling((2, 8, 8, 3), window, "max") is plan_pooling((2, 8, 8, 3), window, "max")


def test_outputs_are_contiguous_channels_last():
    """Layer after layer, memory stays in Keras's order, so that nothing is copied between them."""
    inputs = torch.randn(2, 8, 8, 5)
    window = Window((3, 3), (1, 1), (1, 1), "same", "channels_last")
    outputs = convolve(inputs, torch.randn(3, 3, 5, 7), None, window, 1, _same)
    assert outputs.is_contiguous()
    halves = Window((2, 2), (2, 2), (1, 1), "valid", "channels_last")
    assert pool(plan_pooling(outputs.shape, halves, "max"), outputs).is_contiguous()


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 2, 8, 5), (2, 8, 8, 4)])
def test_what_does_not_fit_is_refused(shape):
    window = Window((3, 3), (1, 1), (1, 1), "valid", "channels_last", channels=5)
    with pytest.raises(ValueError, match=r"Received: shape \(2, "):
        convolve(torch.zeros(shape), torch.zeros(3, 3, 5, 4), None, window, 1, _same)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rank", RANKS)
def test_transposed_convolution_of_one_channel_has_gradients(rank, batch, dtype):
    """They are those that two channels have, of which the other one is zero."""
    _assert_same_gradients(f"Conv{rank}DTranspose", rank, batch, dtype, filters=4, channels=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rank", RANKS)
def test_convolution_of_one_filter_has_gradients(rank, batch, dtype):
    """They are those of the first of two filters."""
    _assert_same_gradients(f"Conv{rank}D", rank, batch, dtype, filters=1, channels=3)


def _assert_same_gradients(kind: str, rank: int, batch: int, dtype: str, filters: int, channels: int) -> None:
    """A layer's gradients are a part of those of a layer with one filter and one channel more."""
    x = torch.randn(batch, *(5, 4, 3)[:rank], channels, dtype=getattr(torch, dtype))
    narrow, wide = (getattr(layers, kind)(filters + more, 2, strides=2, padding="same", dtype=dtype) for more in (0, 1))
    wider_x = torch.cat([x, torch.zeros_like(x[..., :1])], -1)
    narrow(x)
    wide(wider_x)
    part = (..., slice(narrow.kernel.shape[-2]), slice(narrow.kernel.shape[-1]))
    with torch.no_grad():
        wide.kernel[part] = narrow.kernel
    outputs, wider = narrow(x), wide(wider_x)[..., :filters]
    torch.testing.assert_close(outputs, wider)
    outputs.square().sum().backward()
    wider.square().sum().backward()
    torch.testing.assert_close(narrow.kernel.grad, wide.kernel.grad[part], rtol=1e-4, atol=1e-4)
