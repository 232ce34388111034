"""Recurrent layers: the equations as they are written, Keras's and torch's numbers, masks, states and dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from triarch import Input, Model, Sequential, layers, models, optimizers

NAMES = ("SimpleRNN", "LSTM", "GRU")
_rng = np.random.default_rng(5)
SERIES = _rng.normal(size=(4, 6, 3)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [0] * 6], bool)  # right, left, holes, none


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def random_weights(layer, scale=0.6):
    generator = np.random.default_rng(8)
    return [generator.normal(scale=scale, size=tuple(weight.shape)).astype(np.float32) for weight in layer.weights]


def test_the_recurrent_network_is_the_chapters():
    rnn, dense = layers.SimpleRNN(5, activation="sigmoid", return_sequences=True), layers.Dense(2, "sigmoid")
    outputs = Sequential([Input((6, 3)), rnn, dense])(torch.from_numpy(SERIES))
    (w_i, w_h, b_h), (w_o, b_y) = rnn.get_weights(), dense.get_weights()
    h = np.zeros((4, 5))
    for t in range(6):
        h = sigmoid(h @ w_h + SERIES[:, t] @ w_i + b_h)
        y = sigmoid(h @ w_o + b_y)
        np.testing.assert_allclose(outputs[:, t].detach(), y, rtol=1e-5, atol=1e-6)


def test_long_short_term_memory_is_the_chapters():
    lstm, dense = layers.LSTM(5, return_sequences=True), layers.Dense(2, "sigmoid")
    model = Sequential([Input((6, 3)), lstm, dense])
    lstm.set_weights(random_weights(lstm))
    outputs = model(torch.from_numpy(SERIES))
    (w, u, b), (w_y, b_y) = lstm.get_weights(), dense.get_weights()
    w_i, w_f, w_c, w_o = np.split(np.concatenate([w, u]), 4, axis=1)
    b_i, b_f, b_c, b_o = np.split(b, 4)
    h, c = np.zeros((4, 5)), np.zeros((4, 5))
    for t in range(6):
        x = np.concatenate([SERIES[:, t], h], axis=1)
        f = sigmoid(x @ w_f + b_f)
        i = sigmoid(x @ w_i + b_i)
        new = np.tanh(x @ w_c + b_c)
        c = f * c + i * new
        o = sigmoid(x @ w_o + b_o)
        h = o * np.tanh(c)
        np.testing.assert_allclose(outputs[:, t].detach(), sigmoid(h @ w_y + b_y), rtol=1e-5, atol=1e-6)


def test_order_matters():
    layer = layers.SimpleRNN(4)
    series = torch.from_numpy(SERIES)
    assert (layer(series) - layer(series.flip(1))).abs().max() > 0.01


def _pair(make, keras):
    """Our layer and Keras's with the same weights."""
    ours, theirs = make(layers), make(keras.layers)
    for layer in (ours, theirs):
        layer(torch.from_numpy(SERIES))
    ours.set_weights(random_weights(ours))
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def _results(layer, **options):
    """Outputs, states and gradients."""
    series = torch.from_numpy(SERIES.copy()).requires_grad_()
    found = torch.utils._pytree.tree_leaves(layer(series, **options))
    weights = [weight if isinstance(weight, torch.Tensor) else weight.value for weight in layer.trainable_weights]
    loss = sum((part * torch.linspace(-1, 1, part.numel()).reshape(part.shape)).sum() for part in found)
    return [*found, *torch.autograd.grad(loss, [series, *weights])]


_ARGUMENTS = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True, "return_sequences": True, "return_state": True},
    {"zero_output_for_mask": True, "return_sequences": True},
]


def _assert_same(make, keras, **options):
    ours, theirs = _pair(make, keras)
    results = (_results(ours, **options), _results(theirs, **options))
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("arguments", _ARGUMENTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_states_and_gradients_are_keras(name, arguments, is_masked, keras):
    options = {"mask": torch.from_numpy(MASK)} if is_masked else {}
    _assert_same(lambda library: getattr(library, name)(5, **arguments), keras, **options)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("arguments", _ARGUMENTS[:3], ids=str)
def test_both_directions_are_keras(arguments, merge_mode, is_masked, keras):
    options = {"mask": torch.from_numpy(MASK)} if is_masked else {}

    def make(library):
        return library.Bidirectional(library.LSTM(3, **arguments), merge_mode=merge_mode)

    _assert_same(make, keras, **options)


def test_another_layer_may_go_backwards(keras):
    def make(library):
        return library.Bidirectional(library.GRU(3), backward_layer=library.LSTM(3, go_backwards=True))

    _assert_same(make, keras)


@pytest.mark.parametrize("is_masked", [False, True])
def test_cells_on_top_of_each_other_are_keras(is_masked, keras):
    def make(library):
        cells = [library.LSTMCell(5), library.GRUCell(4, reset_after=False), library.SimpleRNNCell(3)]
        return library.RNN(cells, return_sequences=True, return_state=True)

    _assert_same(make, keras, **({"mask": torch.from_numpy(MASK)} if is_masked else {}))


def test_a_layer_for_each_step_is_keras(keras):
    _assert_same(lambda library: library.TimeDistributed(library.Dense(4, activation="tanh")), keras)


def test_normalisation_of_each_step_learns_step_by_step(keras):
    ours, theirs = (library.TimeDistributed(library.BatchNormalization()) for library in (layers, keras.layers))
    for layer in (ours, theirs):
        outputs = layer(torch.from_numpy(SERIES), training=True)
    torch.testing.assert_close(outputs, ours(torch.from_numpy(SERIES), training=True))
    for one, other in zip(ours.get_weights()[:2], theirs.get_weights()[:2], strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_numbers_are_torchs(kind):
    peer = getattr(nn, kind)(3, 5, batch_first=True)
    layer = getattr(layers, {"RNN": "SimpleRNN"}.get(kind, kind))(5, return_sequences=True)
    layer.build((None, 6, 3))
    with torch.no_grad():
        order = {"RNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}[kind]  # of gates
        blocks = [torch.cat([weight.chunk(len(order))[gate] for gate in order]) for weight in peer.parameters()]
        w, u, b_w, b_u = blocks
        bias = torch.stack([b_w, b_u]) if kind == "GRU" else b_w + b_u
    layer.set_weights([w.T.numpy(), u.T.numpy(), bias.numpy()])
    series = torch.from_numpy(SERIES)
    torch.testing.assert_close(layer(series), peer(series)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_numbers(name):
    layer = getattr(layers, name)(2, return_sequences=True, dtype="float64")
    series = torch.from_numpy(SERIES[:2, :3]).double().requires_grad_()
    layer.build((2, 3, 3))
    mask = torch.tensor([[True, True, False], [False, True, True]])
    assert torch.autograd.gradcheck(lambda x: layer(x, mask=mask), series)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 4, 3), (2, 0, 3), (1, 500, 1)], ids=str)
@pytest.mark.parametrize("return_sequences", [False, True])
def test_sizes_at_the_edge(name, shape, return_sequences):
    layer = getattr(layers, name)(7, return_sequences=return_sequences, return_state=True)
    output, *states = layer(torch.ones(shape))
    assert output.shape == ((shape[0], shape[1], 7) if return_sequences else (shape[0], 7))
    assert all(state.shape == (shape[0], 7) for state in states)
    assert output.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_stateful_layer_goes_on_where_the_last_batch_ended(name):
    whole = getattr(layers, name)(5, return_sequences=True)
    series = torch.from_numpy(SERIES)
    expected = whole(series)
    parts = getattr(layers, name)(5, return_sequences=True, stateful=True)
    parts.build((4, 3, 3))
    parts.set_weights(whole.get_weights())
    for _ in range(2):
        found = [parts(series[:, :3]), parts(series[:, 3:])]
        torch.testing.assert_close(torch.cat(found, 1), expected)
        parts.reset_state()
    with pytest.raises(ValueError, match="needs states for 2 series"):
        parts(series[:2])
    with pytest.raises(ValueError, match="stateful, so the batch size must be known"):
        getattr(layers, name)(5, stateful=True).build((None, 3, 3))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}], ids=str)
def test_dropout_stays_the_same_for_all_steps(name, arguments):
    layer = getattr(layers, name)(50, activation="linear", seed=1, use_bias=False, **arguments)
    ones = torch.ones(1, 4, 8)
    with torch.no_grad():
        assert torch.equal(layer(ones), layer(ones))
        one, other = layer(ones, training=True), layer(ones, training=True)
        assert not torch.equal(one, other)
        masks = layer.cell.draw_masks(ones, True)
        drawn = masks.inputs if "dropout" in arguments else masks.states
        assert set(drawn.unique().tolist()) == {0.0, 2.0}
        projected = layer.cell.project(ones, masks)
        torch.testing.assert_close(projected[:, 0], projected[:, 3])


def test_states_can_be_given_and_are_given_back(keras):
    def make(library, inputs):
        series = inputs((6, 3))
        _, *states = library.LSTM(5, return_state=True)(series)
        outputs = library.LSTM(5, return_sequences=True)(series, initial_state=states)
        return outputs, series

    ours, theirs = make(layers, Input), make(keras.layers, keras.Input)
    model, peer = Model(ours[1], ours[0]), keras.Model(theirs[1], theirs[0])
    peer.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict(SERIES, verbose=0), peer.predict(SERIES, verbose=0), rtol=1e-4, atol=1e-5)


def test_masks_flow_through_models(keras):
    numbers = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [5, 4, 3, 2, 1]])

    def make(library):
        return [
            library.Embedding(6, 4, mask_zero=True),
            library.Bidirectional(library.LSTM(3, return_sequences=True)),
            library.GRU(5, return_sequences=True),
            library.TimeDistributed(library.Dense(4)),
            library.SimpleRNN(2),
        ]

    ours, theirs = Sequential([Input((5,)), *make(layers)]), keras.Sequential([keras.Input((5,)), *make(keras.layers)])
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(
        ours.predict(numbers, verbose=0), theirs.predict(numbers, verbose=0), rtol=1e-4, atol=1e-5
    )


class Accumulator(layers.Layer):
    """A cell of a user: the running sum of the inputs."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = self.state_size = size

    def call(self, inputs, states):
        total = states[0] + inputs
        return total, [total]


def test_cells_of_a_user():
    outputs = layers.RNN(Accumulator(3), return_sequences=True)(torch.from_numpy(SERIES))
    np.testing.assert_allclose(outputs, SERIES.cumsum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "bidirectional", "cells"])
def test_files_are_keras_files_both_ways(name, keras, tmp_path):
    def make(library, inputs):
        made = {
            "lstm": lambda: library.LSTM(4, return_sequences=True, unit_forget_bias=False),
            "bidirectional": lambda: library.Bidirectional(library.GRU(3), merge_mode="sum"),
            "cells": lambda: library.RNN([library.LSTMCell(4), library.SimpleRNNCell(2)]),
        }
        return [inputs((6, 3)), made[name]()]

    ours, theirs = Sequential(make(layers, Input)), keras.Sequential(make(keras.layers, keras.Input))
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    for saved, opened in (
        (ours, keras.models.load_model(tmp_path / "ours.keras")),
        (theirs, models.load_model(tmp_path / "theirs.keras")),
    ):
        np.testing.assert_allclose(
            saved.predict(SERIES, verbose=0), opened.predict(SERIES, verbose=0), rtol=1e-4, atol=1e-5
        )


def test_training_lowers_the_loss():
    targets = SERIES.sum((1, 2))[:, None]
    model = Sequential([Input((6, 3)), layers.LSTM(8), layers.Dense(1)])
    model.compile(optimizers.Adam(0.05), "mse")
    history = model.fit(SERIES, targets, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


def test_what_is_refused():
    series = torch.from_numpy(SERIES)
    with pytest.raises(ValueError, match=r"mask of shape \(batch, steps\), here \(4, 6\). Received: .*\(4, 5\)"):
        layers.LSTM(3)(series, mask=torch.ones(4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"has 2 states\. Received: 1"):
        layers.LSTM(3)(series, initial_state=[torch.zeros(4, 3)])
    with pytest.raises(ValueError, match="needs states for 4 series"):
        layers.GRU(3)(series, initial_state=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="positive integer"):
        layers.LSTM(0)
    with pytest.raises(ValueError, match=r"expects 3 axes \(batch, steps, features\)"):
        layers.GRU(3)(torch.zeros(4, 3))
    built = layers.GRU(3)
    built(series)
    with pytest.raises(ValueError, match="expects 3 features"):
        built(torch.zeros(4, 6, 2))
    with pytest.raises(ValueError, match="`merge_mode` is None or one of"):
        layers.Bidirectional(layers.LSTM(3), merge_mode="max")
    with pytest.raises(ValueError, match="is a recurrent layer"):
        layers.Bidirectional(layers.Dense(3))
    with pytest.raises(ValueError, match="goes backwards and the other does not"):
        layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3))
    with pytest.raises(ValueError, match="`state_size`"):
        layers.RNN(layers.Dense(3))
    with pytest.raises(ValueError, match=r"takes series \(batch, steps, ...\)"):
        layers.TimeDistributed(layers.Dense(3))(torch.zeros(4, 3))
