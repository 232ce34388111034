"""Whole steps of recurrent networks, and batches that are asked for again and again: the same as layer by layer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.test_whole_step import OPTIMIZERS, ROWS, SOFTMAX, assert_same, calls, layer_by_layer, run  # noqa: F401
from triarch import Sequential, activations, kernels, layers
from triarch.kernels.native import call as calling
from triarch.kernels.native.team import prepared

STEPS, FEATURES = 6, 5
STACKS = {
    "lstm": lambda: [layers.LSTM(9)],
    "gru": lambda: [layers.GRU(16, use_bias=False)],
    "simple, backwards": lambda: [layers.SimpleRNN(17, activation="relu", go_backwards=True)],
    "bidirectional": lambda: [layers.Bidirectional(layers.LSTM(7))],
    "two kinds": lambda: [layers.Bidirectional(layers.GRU(7, return_sequences=True)), layers.SimpleRNN(8)],
    "two of both directions": lambda: [
        layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(6), backward_layer=layers.GRU(5, go_backwards=True)),
        layers.Dense(11, activation="relu"),
    ],
}


def make(stack="lstm", steps=STEPS, optimizer="adam", seed=3, **settings):
    model = Sequential([layers.Input((steps, FEATURES), **settings), *STACKS[stack](), layers.Dense(**SOFTMAX)])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    return model, rng.standard_normal((ROWS, STEPS, FEATURES), np.float32), rng.integers(0, 5, ROWS)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("steps", [STEPS, None])
def test_the_same_in_double_precision(float64, calls, stack, steps):  # noqa: F811
    theirs = layer_by_layer(*make(stack, steps))
    assert not calls
    ours = run(*make(stack, steps))
    assert (calls.count("learn"), calls.count("evaluate"), calls.count("predict")) == (11, 4, 4)
    assert_same(ours, theirs, 1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "rmsprop", "adamw"])
def test_every_optimizer(float64, optimizer):
    def made():
        return make("two kinds", optimizer=OPTIMIZERS.get(optimizer, lambda: optimizer)())

    assert_same(run(*made()), layer_by_layer(*made()), 1e-9)


def test_gates_that_are_computed_again(float64):
    from triarch import config

    expected = run(*make("two kinds"))
    config.set_recomputes_gates(True)
    try:
        assert_same(run(*make("two kinds")), expected, 1e-12)  # layer by layer
    finally:
        config.set_recomputes_gates(False)


def stateful(batch=4):
    model = Sequential(
        [
            layers.Input(batch_shape=(batch, 3, FEATURES)),
            layers.GRU(16, stateful=True, return_sequences=True),
            layers.LSTM(9, stateful=True),
            layers.Dense(**SOFTMAX),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    return model, rng.standard_normal((8 * batch, 3, FEATURES), np.float32), rng.integers(0, 5, 8 * batch)


def test_states_go_on_from_batch_to_batch(float64, calls):  # noqa: F811
    def states(model):
        return [state.numpy() for layer in model.layers[:2] for state in layer.states]

    model, x, y = stateful()
    other, _, _ = stateful()
    ours, theirs = run(model, x, y, batch_size=4), layer_by_layer(other, x, y, batch_size=4)
    assert calls.count("learn") == 8 * 3 - 1
    assert_same(ours, theirs, 1e-9)
    for own, expected in zip(states(model), states(other), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-9)


def test_a_stream_of_single_batches(float64, calls):  # noqa: F811
    model, x, _ = stateful()
    other, _, _ = stateful()
    batches = x.reshape(8, 4, 3, FEATURES)
    for number, batch in enumerate(batches):
        found = model.predict_on_batch(batch)
        assert calls == ["predict"] * (number + 1)
        with kernels.use("direct"):
            np.testing.assert_allclose(found, other.predict_on_batch(batch), rtol=1e-9, atol=1e-9)
    kept = model.layers[1].states
    first = [state.clone() for state in kept]
    kept_outputs = [model.predict_on_batch(batch) for batch in batches for _ in range(30)]
    copies = [outputs.copy() for outputs in kept_outputs]
    for _ in range(300):
        model.predict_on_batch(batches[0])
    assert all(map(np.array_equal, kept_outputs, copies))
    assert all(torch.equal(own, before) for own, before in zip(kept, first, strict=True))  # no tensor is written over
    for each in (model, other):
        each.layers[0].reset_state()
        each.layers[1].reset_state()
    with kernels.use("direct"):
        expected = other.predict_on_batch(batches[2])
    np.testing.assert_allclose(model.predict_on_batch(batches[2]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [3, 5, 400])
def test_states_of_another_batch_are_refused(float64, calls, rows):  # noqa: F811
    model, x, _ = stateful()
    model.predict_on_batch(x[:4])
    before = [state.clone() for state in model.layers[0].states]
    others = np.zeros((rows, *x.shape[1:]), np.float32)
    for call in (model.predict_on_batch, lambda own: model.train_on_batch(own, np.zeros(rows, np.int64))):
        with pytest.raises(ValueError, match=r"batch|states for 4"):
            call(others)
    assert calls == ["predict"]
    assert all(map(torch.equal, model.layers[0].states, before))


@pytest.mark.parametrize("is_put_in", [False, True])
def test_states_that_are_given_are_used(float64, is_put_in):
    model, x, _ = stateful()
    for _ in range(3):
        model.predict_on_batch(x[:4])
    given = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(16, 4).T
    found = []
    for method in ("auto", "direct"):
        if is_put_in:
            model.layers[0].states[0] = given
        else:
            model.layers[0].states = [given]
        model.layers[1].reset_state()
        with kernels.use(method):
            found.append(model.predict_on_batch(x[4:8]))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9)


def test_what_is_not_finite_leaves_states_to_the_layers(float64, calls):  # noqa: F811
    model, x, _ = stateful()
    model.predict_on_batch(x[:4])
    spoilt = x[4:8].copy()
    spoilt[1, 1, 1] = np.nan
    found = model.predict_on_batch(spoilt)
    assert calls == ["predict"]
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2, 3]]).all()


CHANGES = {
    "activation": lambda model: setattr(model.layers[1], "activation", activations.sigmoid),
    "activation of the cell": lambda model: setattr(model.layers[0].cell, "activation", activations.relu),
    "weight": lambda model: setattr(model.layers[1], "kernel", torch.nn.Parameter(2 * model.layers[1].kernel.detach())),
    "numbers": lambda model: model.layers[0].set_weights([0.3 * own for own in model.layers[0].get_weights()]),
    "place": lambda model: setattr(model.layers[1].kernel, "data", 3 * model.layers[1].kernel.detach()),
    "layers": lambda model: model.pop(),
    "predict_step": lambda model: setattr(model, "predict_step", lambda data: model(data, training=False) + 1),
    "hook": lambda model: model.layers[1].register_forward_hook(lambda layer, given, found: found + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_predictions_see_what_has_changed(float64, change):
    model, x, _ = make()
    for _ in range(5):
        with kernels.expecting(10**6):
            before = model.predict_on_batch(x)
    CHANGES[change](model)
    with kernels.expecting(10**6):
        found = [model.predict_on_batch(x) for _ in range(5)]
    with kernels.use("direct"):
        expected = model.predict_on_batch(x)
    assert before.shape != expected.shape or np.abs(before - expected).max() > 1e-3
    for own in found:
        np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stack", ["lstm", "two of both directions"])
def test_predictions_see_that_weights_have_another_type(stack):
    model, x, _ = make(stack)
    with kernels.expecting(10**6):
        before = [model.predict_on_batch(x) for _ in range(3)][-1]
        model.double()
        found = model.predict_on_batch(x)
    np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-5)


def test_predictions_of_one_series_leave_those_of_many_their_threads(monkeypatch):
    threads = []

    def noted(kernel, job, number):
        threads.append(number)
        return prepared(kernel, job, number)

    monkeypatch.setattr(calling, "prepared", noted)
    before, recurrent = torch.get_num_threads(), layers.SimpleRNN(8)
    torch.set_num_threads(2)
    try:
        with kernels.expecting(10**6):
            for rows in (1, 4):
                recurrent(np.zeros((rows, 3, 2), np.float32))
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 1, 2, 2]


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
def test_several_threads_may_predict(float64, method):
    model, x, _ = make()
    options = {"verbose": 0} if method == "predict" else {}
    batches = [x[start : start + 9] for start in range(20)]
    with kernels.use("direct"):
        expected = [model.predict_on_batch(batch) for batch in batches]

    def predict(number):
        with kernels.expecting(10**6):
            return number, getattr(model, method)(batches[number], **options)

    with ThreadPoolExecutor(8) as pool:
        for number, found in pool.map(predict, list(range(20)) * 20):
            np.testing.assert_allclose(found, expected[number], rtol=1e-9, atol=1e-9)


REFUSED = {
    "dropout": ([layers.LSTM, {"units": 4, "dropout": 0.2}], "no plain recurrent layer"),
    "all steps": ([layers.LSTM, {"units": 4, "return_sequences": True}], "the outputs of all steps"),
    "regularizer": ([layers.LSTM, {"units": 4, "kernel_regularizer": "l2"}], "a regularizer or a constraint"),
    "activation": ([layers.GRU, {"units": 4, "activation": "gelu"}], "no plain recurrent layer"),
    "reset": ([layers.GRU, {"units": 4, "reset_after": False}], "no plain recurrent layer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_others_go_layer_by_layer_and_say_why(float64, calls, name):  # noqa: F811
    (kind, settings), reason = REFUSED[name]
    layer = kind(**settings)
    after = [layers.Flatten()] if layer.return_sequences else []
    model = Sequential([layers.Input((STEPS, FEATURES)), layer, *after, layers.Dense(**SOFTMAX)])
    model.compile("adam", "sparse_categorical_crossentropy")
    _, x, y = make()
    run(model, x, y)
    assert "learn" not in calls
    with kernels.expecting(10**6):
        assert reason in model.explain_step()


def test_explanations():
    model, x, y = make()
    model.fit(x, y, verbose=0)
    assert model.explain_step(10**6).startswith("by calls of compiled code, for batches of up to ")
    assert "save less than compiling takes" in model.explain_step(steps=20)
