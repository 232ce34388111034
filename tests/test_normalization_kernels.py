"""Batch normalisation in one pass: exact as torch's, with gradients; and layers that are put together for it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tolerances import assert_as_exact_as

from triarch import Input, Model, Sequential, applications, kernels, layers
from triarch.kernels.conv.binding import NormalizingKernel
from triarch.kernels.normalization import Convolution, infer, normalize
from triarch.kernels.normalization.operation import _by_torch
from triarch.layers.fusion import FusedNormalization

MANY = 10**9  # calls, for which compiled code is worth while


def operands(shape, dtype, has_residual, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (shape, shape[-1:], shape[-1:], *((shape,) if has_residual else ()))
    parts = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    parts[0] = parts[0] * 3 + 20
    made = [part.to(dtype).requires_grad_() for part in parts]
    return made if has_residual else [*made, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rectifies", [False, True])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("shape", [(4, 5, 7, 3), (3, 17), (2, 8, 8, 64), (5, 3, 1000), (2, 1, 1, 1)], ids=str)
def test_outputs_and_gradients_are_as_exact_as_torchs(shape, has_residual, rectifies, dtype):
    parts = operands(shape, dtype, has_residual)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def results(function, inputs, dtype):
        made = [None if part is None else part.detach().to(dtype).requires_grad_() for part in inputs]
        found = function(*made, 1e-3, rectifies)
        outputs = found[0] if isinstance(found, tuple) else found
        learnt = [part for part in made if part is not None]
        return [outputs, *torch.autograd.grad(outputs, learnt, weights.to(dtype))]

    ours, plain = results(normalize, parts, dtype), results(_by_torch, parts, dtype)
    truth = results(_by_torch, parts, torch.float64)
    names = ["outputs", *(f"gradient of {name}" for name in ("inputs", "gamma", "beta", "residual"))]
    for name, one, other, true in zip(names, ours, plain, truth, strict=False):
        assert_as_exact_as(other, one, true, name)


WINDOWS = {  # name -> (method, shape, filters, size, stride, padding, groups)
    "winograd_4": ("winograd_4", (3, 8, 8, 16), 16, 3, 1, "same", 1),
    "winograd_4, odd sizes": ("winograd_4", (2, 7, 9, 5), 20, 3, 1, "valid", 1),
    "winograd_2, series": ("winograd_2", (3, 13, 16), 32, 3, 1, "same", 1),
    "winograd_2, groups": ("winograd_2", (2, 6, 5, 32), 32, 3, 1, "same", 2),
    "patches, strides": ("patches", (2, 9, 8, 16), 16, 3, 2, ((1, 1), (1, 1)), 1),
    "patches, odd sizes": ("patches", (2, 5, 7, 3), 11, 3, 1, "same", 1),
    "patches, one place": ("patches", (3, 4, 4, 8), 24, 1, 2, "valid", 1),
}


def convolution_of(name, dtype, generator):
    """Numbers for one of `WINDOWS`, and its plan."""
    method, shape, filters, size, stride, padding, groups = WINDOWS[name]
    rank = len(shape) - 2
    window = kernels.Window((size,) * rank, (stride,) * rank, (1,) * rank, padding, "channels_last", shape[-1])
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    kernel = torch.randn((filters, *window.sizes, shape[-1] // groups), generator=generator, dtype=torch.float64)
    with kernels.use(method):
        plan = kernels.plan_for(inputs.to(dtype).requires_grad_(), window, groups, filters, torch.Tensor.contiguous)
    assert isinstance(plan, NormalizingKernel)
    return plan, inputs, kernel.movedim(0, -1), torch.randn(filters, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("has_residual", "rectifies"), [(False, False), (False, True), (True, True), (True, False)])
@pytest.mark.parametrize("name", WINDOWS)
def test_a_convolution_and_its_normalisation_are_as_exact_as_torchs(name, has_residual, rectifies, dtype):
    generator = torch.Generator().manual_seed(0)
    plan, *parts = convolution_of(name, dtype, generator)
    shape = plan.output_shape
    for size in (shape[-1:], shape[-1:], *((shape,) if has_residual else ())):
        parts.append(torch.randn(size, generator=generator, dtype=torch.float64))
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)

    def as_one(inputs, kernel, bias, gamma, beta, residual=None):
        return normalize(inputs, gamma, beta, residual, 1e-3, rectifies, Convolution(plan, kernel, bias))[0]

    def by_torch(inputs, kernel, bias, gamma, beta, residual=None):
        return _by_torch(plan.reference(inputs, kernel, bias), gamma, beta, residual, 1e-3, rectifies)

    def results(function, dtype):
        made = [part.to(dtype).requires_grad_() for part in parts]
        outputs = function(*made)
        return [outputs, *torch.autograd.grad(outputs, made, weights.to(dtype))]

    names = ["outputs", *(f"gradient of {name}" for name in ("inputs", "kernel", "bias", "gamma", "beta", "residual"))]
    found = zip(names, results(as_one, dtype), results(by_torch, dtype), results(by_torch, torch.float64), strict=False)
    for what, one, other, true in found:
        if what == "gradient of bias":  # 0 but for rounding: a bias changes the mean alone
            scale = weights.abs().sum() * (1 if dtype is torch.float64 else 1e9) * 1e-15
            assert one.abs().max() < scale
        else:
            factor = 8 if name.startswith("winograd") else 1  # of Winograd's products, and more
            assert_as_exact_as(other, one, true, what, amplification=factor)


def test_a_mean_far_from_zero_leaves_the_variance_exact():
    generator = torch.Generator().manual_seed(0)
    plan, inputs, kernel, _ = convolution_of("winograd_4", torch.float32, generator)
    parts = [part.to(torch.float32) for part in (inputs, kernel, torch.full((16,), 1e4))]
    _, mean, variance = normalize(parts[0], None, None, None, 1e-3, False, Convolution(plan, *parts[1:]))
    outputs = plan.reference(*(part.to(torch.float64) for part in parts))
    torch.testing.assert_close(mean, outputs.mean((0, 1, 2)).float())
    torch.testing.assert_close(variance, outputs.var((0, 1, 2), correction=0).float(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["winograd_2, groups", "patches, strides"])
def test_second_gradients_through_a_convolution(name):
    plan, *operands = convolution_of(name, torch.float64, torch.Generator().manual_seed(0))
    operands = [part.requires_grad_() for part in operands]

    def gradient(inputs, kernel, bias):
        outputs = normalize(inputs, None, None, None, 1e-3, False, Convolution(plan, kernel, bias))[0]
        (found,) = torch.autograd.grad(outputs.square().sum(), kernel, create_graph=True)
        return found

    def plain(inputs, kernel, bias):
        outputs = _by_torch(plan.reference(inputs, kernel, bias), None, None, None, 1e-3, False)
        (found,) = torch.autograd.grad(outputs.square().sum(), kernel, create_graph=True)
        return found

    for one, other in zip(
        torch.autograd.grad(gradient(*operands).square().sum(), operands),
        torch.autograd.grad(plain(*operands).square().sum(), operands),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_numbers_that_are_not_finite_spread_as_directly():
    plan, inputs, kernel, bias = convolution_of("winograd_4", torch.float32, torch.Generator().manual_seed(0))
    inputs[1, 3, 3, 0] = float("inf")
    parts = [part.to(torch.float32).requires_grad_() for part in (inputs, kernel, bias)]
    outputs = normalize(parts[0], None, None, None, 1e-3, True, Convolution(plan, *parts[1:]))[0]
    expected = _by_torch(plan.reference(*parts), None, None, None, 1e-3, True)
    assert torch.equal(outputs.isnan(), expected.isnan())
    for one, other in zip(
        torch.autograd.grad(outputs.sum(), parts), torch.autograd.grad(expected.sum(), parts), strict=True
    ):
        assert torch.equal(one.isfinite(), other.isfinite())


def test_margins_are_a_part_of_the_convolution(rng):
    inputs = Input((9, 8, 4))
    x = layers.ZeroPadding2D(((1, 2), (0, 1)))(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, use_bias=False)(x))
    model = Model(inputs, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    twin = copy.deepcopy(model)
    (operation,) = (step.operation for step in model._fast_steps if isinstance(step.operation, FusedNormalization))
    assert [type(layer).__name__ for layer in operation.layers] == [
        *("ZeroPadding2D", "Conv2D", "BatchNormalization", "ReLU")
    ]
    x = torch.from_numpy(rng.normal(size=(4, 9, 8, 4)).astype(np.float32))
    for one, other in zip(learnt(model, x, MANY), learnt(twin, x, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"shortcut": "projection"}, {"drop_path": 0.5}, {"scale": 0.5}], ids=str)
def test_residual_blocks_are_put_together(options, activation, rng):
    block = [
        *(layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()),
        *(layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization()),
    ]
    residual = layers.Residual(block, activation=activation, seed=1, **options)
    model = Sequential([Input((6, 6, 4)), residual, layers.Flatten()])
    twin = copy.deepcopy(model)
    is_whole = activation != "tanh" and options.get("scale") is None
    assert (residual._ending is not None) == is_whole
    x = torch.from_numpy(rng.normal(size=(4, 6, 6, 4)).astype(np.float32))
    for one, other in zip(learnt(model, x, MANY), learnt(twin, x, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    parts = (residual.block[:3], residual.block[3:])
    plain = x
    with torch.no_grad():
        for layer in (*parts[0], *parts[1]):
            plain = layer(plain)
        plain = residual.activation(plain * options.get("scale", 1.0) + residual._shortcut_of(x))
        torch.testing.assert_close(residual(x), plain, rtol=1e-4, atol=1e-5)


def test_margins_of_a_stack_are_a_part_of_the_convolution(rng):
    members = [layers.ZeroPadding1D(2), layers.Conv1D(5, 3), layers.BatchNormalization(), layers.ReLU()]
    stack = Sequential([Input((6, 4)), *members])
    twin = copy.deepcopy(stack)
    assert [type(operation) for operation in stack._operations] == [FusedNormalization]
    x = torch.from_numpy(rng.normal(size=(4, 6, 4)).astype(np.float32))
    for one, other in zip(learnt(stack, x, MANY), learnt(twin, x, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_statistics_are_the_batchs():
    inputs, gamma, beta, _ = operands((6, 4, 4, 8), torch.float32, False)
    _, mean, variance = normalize(inputs, gamma, beta, None, 1e-3, False)
    torch.testing.assert_close(mean, inputs.mean((0, 1, 2)))
    torch.testing.assert_close(variance, inputs.var((0, 1, 2), correction=0), rtol=1e-4, atol=1e-5)
    assert not mean.requires_grad


def test_second_gradients():
    parts = operands((3, 2, 4), torch.float64, True)
    function = lambda *parts: normalize(*parts, 1e-3, False)[0]  # noqa: E731 - a short name for both checks
    assert torch.autograd.gradcheck(function, parts)
    assert torch.autograd.gradgradcheck(function, parts)


def test_numbers_that_are_not_finite_stay():
    inputs, gamma, beta, residual = operands((4, 3, 2), torch.float32, True)
    with torch.no_grad():
        inputs[0, 0, 0] = float("nan")
        residual[1, 1, 1] = float("nan")
        outputs = normalize(inputs, gamma, beta, residual, 1e-3, True)[0]
    assert outputs[..., 0].isnan().all()
    assert outputs[1, 1, 1].isnan()
    assert outputs[..., 1].isnan().sum() == 1


def test_inference_is_torchs():
    inputs, gamma, beta, residual = operands((4, 5, 5, 6), torch.float32, True)
    mean, variance = inputs.detach().mean((0, 1, 2)), inputs.detach().var((0, 1, 2))
    expected = torch.nn.functional.batch_norm(inputs.movedim(-1, 1), mean, variance, gamma, beta, eps=1e-3).movedim(
        1, -1
    )
    outputs = infer(inputs.detach(), gamma, beta, mean, variance, residual.detach(), 1e-3, True)
    torch.testing.assert_close(outputs, torch.relu(expected + residual), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_every_time(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = operands((8, 9, 9, 16), torch.float32, True)
        runs = []
        for _ in range(3):
            outputs = normalize(*parts, 1e-3, True)[0]
            runs.append([outputs, *torch.autograd.grad(outputs.square().sum(), parts)])
        for run in runs[1:]:
            assert all(torch.equal(one, other) for one, other in zip(run, runs[0], strict=True))
    finally:
        torch.set_num_threads(before)


def small_network() -> Model:
    inputs = Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(inputs)))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.Activation("relu")(layers.Add()([x, y]))
    return Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def learnt(model, x, expected_calls):
    """Outputs, gradients and moving averages of a training step, then of inference."""
    with kernels.expecting(expected_calls):
        outputs = model(x, training=True)
        gradients = torch.autograd.grad(outputs.square().sum(), model.trainable_weights)
        with torch.no_grad():
            return [outputs, *gradients, *(w.clone() for w in model.non_trainable_weights), model(x)]


@pytest.mark.parametrize("make", [small_network, applications.ResNet20], ids=["small", "resnet20"])
def test_layers_put_together_compute_the_same(make, rng):
    model = make()
    twin = copy.deepcopy(model)
    count = sum(isinstance(step.operation, FusedNormalization) for step in model._fast_steps)
    assert count == sum(type(layer) is layers.BatchNormalization for layer in model.layers)
    size = model.input_shape[1]
    x = torch.from_numpy(rng.normal(size=(4, size, size, 3)).astype(np.float32))
    for one, other in zip(learnt(model, x, MANY), learnt(twin, x, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["ResNet20", "ResNet50", "ResNet50V2"])
def test_folding_into_convolutions_changes_nothing(name, rng):
    model = getattr(applications, name)(weights=None, input_shape=(32, 32, 3))
    for weight in model.non_trainable_weights:
        weight.data = torch.rand(weight.shape) * 0.5 + 0.5
    x = torch.from_numpy(rng.normal(size=(2, 32, 32, 3)).astype(np.float32))
    plain = model(x, training=False)
    with torch.no_grad():
        torch.testing.assert_close(model(x, training=False), plain, rtol=1e-3, atol=1e-5)


def test_stacks_are_put_together(rng):
    stack = Sequential(
        [Input((6, 6, 4)), layers.Conv2D(5, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten()]
    )
    twin = copy.deepcopy(stack)
    assert [type(operation) for operation in stack._operations] == [FusedNormalization, layers.Flatten]
    x = torch.from_numpy(rng.normal(size=(4, 6, 6, 4)).astype(np.float32))
    for one, other in zip(learnt(stack, x, MANY), learnt(twin, x, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    stack.pop()
    stack.pop()
    assert stack._operations[-1].rectifier is None


def test_who_listens_to_a_layer_hears_it(rng):
    model = small_network()
    normalization = next(layer for layer in model.layers if type(layer) is layers.BatchNormalization)
    heard = []
    normalization.register_forward_hook(lambda layer, inputs, outputs: heard.append(outputs.shape))
    with kernels.expecting(MANY):
        model(rng.normal(size=(2, 8, 8, 3)).astype(np.float32))
    assert heard == [(2, 8, 8, 8)]


def test_what_others_read_is_not_put_together():
    inputs = Input((8, 8, 3))
    normal = layers.BatchNormalization()(inputs)
    model = Model(inputs, [layers.ReLU()(normal), normal])
    capped = Model(inputs, layers.ReLU(max_value=6.0)(layers.BatchNormalization()(inputs)))
    for each in (model, capped):
        assert not any(isinstance(step.operation, FusedNormalization) for step in each._fast_steps)
