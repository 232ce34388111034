"""Recurrence by compiled steps and by torch's operations, beside the layers' own steps and exact values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from triarch import config, kernels, layers, utils
from triarch.kernels.native.call import Call
from triarch.kernels.native.source import Source
from triarch.kernels.recurrent import ACTIVATIONS
from triarch.layers.recurrent import rnn

BATCH, LENGTH, FEATURES = 7, 6, 5
LAYERS = {"SimpleRNN": layers.SimpleRNN, "LSTM": layers.LSTM, "GRU": layers.GRU}


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the kernels, as a list of whether they did it."""
    answers = []

    def noted(*arguments, **settings):
        found = real(*arguments, **settings)
        answers.append(found is not None)
        return found

    real = rnn.recur
    monkeypatch.setattr(rnn, "recur", noted)
    return answers


def made(kind: str, units: int = 9, dtype: str = "float64", **settings):
    torch.manual_seed(3)
    layer = LAYERS[kind](units, dtype=dtype, return_state=True, **settings)
    layer.build((None, None, FEATURES))
    with torch.no_grad():
        for weight in layer.weights:
            weight.copy_(torch.randn_like(weight) * 0.4)
    return layer


def everything(layer, mask=None, states=None, batch=BATCH, length=LENGTH, training=False):
    """Outputs and states, and the gradients of inputs, weights and first states for random gradients of these."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=layer.weights[0].dtype)

    inputs = random(batch, length, FEATURES).requires_grad_()
    if states:
        states = [random(batch, layer.units).requires_grad_() for _ in layer.state_size]
    found = layer(inputs, initial_state=states or None, mask=mask, training=training)
    loss = sum((own * random(*own.shape)).sum() for own in found)
    operands = [inputs, *layer.trainable_weights, *(states if states else [])]
    return [*found, *torch.autograd.grad(loss, operands, allow_unused=True)]


def steps_of_the_layer(monkeypatch, layer, **settings):
    with monkeypatch.context() as patch:
        patch.setattr(rnn, "recur", lambda *arguments, **others: None)
        return everything(layer, **settings)


def same(found, expected, tolerance=1e-10):
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


MASKS = {
    "none": None,
    "right": torch.arange(LENGTH) < torch.tensor([6, 3, 1, 5, 2, 6, 4])[:, None],
    "left": torch.arange(LENGTH) >= torch.tensor([0, 3, 5, 1, 2, 0, 4])[:, None],
    # and a row of none
    "holes": torch.tensor([[1, 0, 1, 1, 0, 1], [0] * 6, [1] * 6, [0, 1] * 3, *[[1, 1, 0] * 2] * 3]) > 0,
}
CALLS = {"compiled": 10**9, "vendor": 1}


@pytest.mark.parametrize("way", CALLS)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("backwards", "sequences", "states", "zero"), list(itertools.product((False, True), repeat=4)))
def test_layers_are_as_by_their_own_steps(way, kind, mask, backwards, sequences, states, zero, asked, monkeypatch):
    layer = made(kind, go_backwards=backwards, return_sequences=sequences, zero_output_for_mask=zero)
    settings = {"mask": MASKS[mask], "states": states}
    with kernels.expecting(CALLS[way]):
        found = everything(layer, **settings)
    assert asked == [True]
    same(found, steps_of_the_layer(monkeypatch, layer, **settings))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("units", "batch", "length"), [(1, 1, 1), (16, 1, 30), (17, 2, 3), (33, 13, 2), (40, 25, 9)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_sizes(kind, units, batch, length, use_bias, asked, monkeypatch):
    layer = made(kind, units, use_bias=use_bias, return_sequences=True)
    with kernels.expecting(10**9):
        found = everything(layer, batch=batch, length=length)
    assert asked == [True]
    same(found, steps_of_the_layer(monkeypatch, layer, batch=batch, length=length))


@pytest.mark.parametrize(
    ("kind", "phi", "sigma"),
    [
        ("LSTM", "leaky_relu", "hard_sigmoid"),
        ("LSTM", "softsign", "relu6"),
        ("GRU", "selu", "linear"),
        ("GRU", "elu", "hard_tanh"),
        ("SimpleRNN", "relu", None),
    ],
)
def test_other_activations(kind, phi, sigma, asked, monkeypatch):
    layer = made(kind, return_sequences=True, activation=phi, **({"recurrent_activation": sigma} if sigma else {}))
    with kernels.expecting(10**9):
        found = everything(layer, MASKS["right"])
    assert asked == [True]
    # torch has the slope 1/6 of hard_sigmoid in single precision only.
    tolerance = 1e-6 if sigma == "hard_sigmoid" else 1e-10
    same(found, steps_of_the_layer(monkeypatch, layer, mask=MASKS["right"]), tolerance)


@pytest.mark.parametrize("kind", LAYERS)
def test_single_precision(kind, asked, monkeypatch):
    layer = made(kind, 24, "float32", return_sequences=True)
    with torch.no_grad():
        layer.cell.recurrent_kernel.mul_(0.5)  # or rounding errors grow from step to step
    with kernels.expecting(10**9):
        found = everything(layer, batch=20, length=12)
    assert asked == [True]
    same(found, steps_of_the_layer(monkeypatch, layer, batch=20, length=12), 2e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("LSTM", {"activation": "gelu"}), ("GRU", {"reset_after": False})],
)
def test_what_compiled_steps_do_not_know_is_done_by_the_layers_steps(kind, settings, asked):
    layer = made(kind, return_sequences=True, **settings)
    with kernels.expecting(10**9):
        assert all(own is not None for own in everything(layer, training=True))
    assert asked == []


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_short_numbers_are_left_to_the_layers_steps(kind, dtype, asked):
    layer = made(kind, dtype=dtype, recurrent_initializer="zeros")  # torch draws no orthogonal bfloat16
    with kernels.expecting(10**9):
        assert layer(torch.ones(2, 3, FEATURES))[0].dtype == torch.bfloat16
    assert asked == [False]


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_of_inputs(kind, asked, monkeypatch):
    layer, again = (made(kind, return_sequences=True, dropout=0.4, seed=5) for _ in range(2))
    with kernels.expecting(10**9):
        found = everything(layer, training=True)
    assert asked == [True]
    same(found, steps_of_the_layer(monkeypatch, again, training=True))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("units", "batch", "dropout"), [(9, BATCH, 0.0), (16, BATCH, 0.3), (9, 1, 0.3), (33, 2, 0.3)])
def test_dropout_of_states_by_gates(kind, mask, units, batch, dropout, asked, monkeypatch):
    settings = {"return_sequences": True, "dropout": dropout, "recurrent_dropout": 0.4, "seed": 5}
    layer, again = (made(kind, units, **settings) for _ in range(2))
    mask = None if MASKS[mask] is None else MASKS[mask][:batch]
    if batch == 1:  # few rows lie as they are
        mask = None if mask is None else mask[:, :2]
    settings = {"mask": mask, "states": True, "training": True, "batch": batch, "length": 2 if batch == 1 else LENGTH}
    with kernels.expecting(10**9):
        found = everything(layer, **settings)
    assert asked == [True]
    same(found, steps_of_the_layer(monkeypatch, again, **settings))


@pytest.mark.parametrize("kind", LAYERS)
def test_gates_that_are_computed_again_give_the_same_bits(kind):
    layer = made(kind, return_sequences=True)
    with kernels.expecting(10**9):
        expected = everything(layer, MASKS["left"])
        config.set_recomputes_gates(True)
        try:
            found = everything(layer, MASKS["left"])
        finally:
            config.set_recomputes_gates(False)
    same(found, expected, 0)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("mask", ["none", "holes"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_gradients(kind, mask, dropout):
    layer, again = (made(kind, 3, return_sequences=True, recurrent_dropout=dropout, seed=4) for _ in range(2))
    inputs = torch.randn(BATCH, LENGTH, FEATURES, dtype=torch.float64, requires_grad=True)
    with kernels.expecting(10**9):
        outputs = layer(inputs, mask=MASKS[mask], training=True)[0]
        weights = layer.trainable_weights
        first = torch.autograd.grad(outputs.square().sum(), [inputs, *weights], create_graph=True)
        second = torch.autograd.grad(sum(own.square().sum() for own in first), [inputs, *weights])
    with kernels.use("direct"):
        outputs = again(inputs, mask=MASKS[mask], training=True)[0]
        weights = again.trainable_weights
        first = torch.autograd.grad(outputs.square().sum(), [inputs, *weights], create_graph=True)
        expected = torch.autograd.grad(sum(own.square().sum() for own in first), [inputs, *weights])
    same(second, expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_nan_stays_in_its_series(kind):
    layer = made(kind, return_sequences=True)
    inputs = torch.randn(BATCH, LENGTH, FEATURES, dtype=torch.float64)
    inputs[2, 3] = math.nan
    with kernels.expecting(10**9):
        outputs = layer(inputs)[0]
    is_spoilt = outputs.isnan().any(-1)
    assert is_spoilt[2].tolist() == [False] * 3 + [True] * 3
    assert not is_spoilt[[0, 1, 3, 4, 5, 6]].any()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_long_series(kind, asked):
    layer = made(kind, 8, "float32", return_sequences=True)
    inputs = torch.randn(2, 10_000, FEATURES)
    with kernels.expecting(10**9):
        outputs = layer(inputs)[0]
        outputs.sum().backward()
    assert asked == [True]
    assert outputs.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in layer.trainable_weights)


@pytest.mark.parametrize("kind", LAYERS)
def test_results_are_the_same_every_time(kind):
    layer = made(kind, 20, "float32", return_sequences=True)
    with kernels.expecting(10**9):
        first, second = (everything(layer, MASKS["right"]) for _ in range(2))
    same(first, second, 0)


def kernel_of(name: str, dtype: str):
    """A kernel that applies an activation."""
    from numba import carray

    from triarch.kernels.native.functions import ACTIVATIONS as FUNCTIONS
    from triarch.kernels.native.vectors import Emitter, at, emitting, lanes_of, shifted

    lanes = lanes_of(dtype)

    @emitting
    def apply(typing_context, numbers):
        def emit(context, builder, signature, arguments):
            emitter = Emitter(builder, numbers.dtype)
            emitter.store(FUNCTIONS[name].apply(emitter, emitter.load(arguments[0])), arguments[0])
            return context.get_dummy_value()

        from numba import types

        return types.void(numbers), emit

    def kernel(jobs, thread, threads):
        job = carray(jobs, 1)[0]
        numbers = at(dtype, job.numbers)
        for place in range(0, job.count, lanes):
            apply(shifted(numbers, place))

    return kernel


def test_layers_ask_for_the_activations_that_there_are():
    from triarch.kernels.native.functions import ACTIVATIONS as FUNCTIONS

    assert set(FUNCTIONS) == set(ACTIVATIONS)


JOB = np.dtype([("numbers", np.int64), ("count", np.int64)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activations_are_within_two_units_in_the_last_place(name, dtype):
    kind = np.dtype(dtype)
    sizes = np.logspace(-30, 2, 60_000)
    numbers = np.concatenate([sizes, -sizes, np.linspace(-12, 12, 80_000), [0.0, -0.0, math.inf, -math.inf]]).astype(
        kind
    )
    numbers = np.concatenate([numbers, np.zeros(-len(numbers) % 64, kind)])
    found = numbers.copy()
    job = np.zeros(1, JOB)
    call = Call(job, 1, lambda function: Source(__name__, "kernel_of", (name, dtype), JOB))
    call.place(numbers=found.ctypes.data, count=len(found))
    call.run_alone("kernel_of")
    exact = numbers.astype(np.longdouble)
    expected = np.tanh(exact) if name == "tanh" else 1 / (1 + np.exp(-exact))
    is_normal = np.abs(expected) > 2 * np.finfo(kind).tiny
    units = np.abs(found - expected)[is_normal] / np.spacing(np.abs(expected[is_normal]).astype(kind))
    assert units.max() <= 2
    assert np.abs(found - expected)[~is_normal].max(initial=0) <= 4 * np.finfo(kind).tiny
    nothing = np.full(64, math.nan, kind)
    call.place(numbers=nothing.ctypes.data, count=64)
    call.run_alone("kernel_of")
    assert np.isnan(nothing).all()


MODULES = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("is_bidirectional", [False, True])
@pytest.mark.parametrize("use_bias", [True, False])
def test_weights_go_to_torch_and_back(kind, is_bidirectional, use_bias):
    def layer():
        made = LAYERS[kind](9, return_sequences=True, use_bias=use_bias)
        return layers.Bidirectional(made) if is_bidirectional else made

    module = MODULES[kind](FEATURES, 9, batch_first=True, bidirectional=is_bidirectional, bias=use_bias)
    inputs, ours = torch.randn(BATCH, LENGTH, FEATURES), layer()
    utils.recurrent_from_torch(ours, module)
    torch.testing.assert_close(ours(inputs), module(inputs)[0])
    again = utils.recurrent_to_torch(ours)
    torch.testing.assert_close(again(inputs)[0], module(inputs)[0])


def test_what_torch_does_not_have_is_refused():
    layer = made("LSTM", activation="relu")
    with pytest.raises(ValueError, match="no such activations"):
        utils.recurrent_to_torch(layer)
    with pytest.raises(ValueError, match="Expected a built"):
        utils.recurrent_to_torch(layers.Dense(3))
    with pytest.raises(ValueError, match="no room"):
        utils.recurrent_from_torch(made("LSTM"), torch.nn.LSTM(FEATURES, 10))
    with pytest.raises(ValueError, match="no room"):
        utils.recurrent_from_torch(made("LSTM"), torch.nn.GRU(FEATURES, 9))
