"""Several outputs of one layer or model, each with a loss, metrics, targets and weights of its own."""

from __future__ import annotations

import numpy as np
import pytest

import triarch

A = np.array([[1.0], [3.0]], "float32")
B = np.array([[2.0], [2.0]], "float32")
TARGETS = [np.array([[0.0], [0.0]], "float32"), np.array([[0.0], [1.0]], "float32")]
SQUARES, DISTANCES = [5.0, 2.5], [2.0, 1.5]  # of the two outputs: means of 1, 9 and 4, 1; of 1, 3 and 2, 1


def shared_head(k, kind=list):
    a, b = k.Input((1,), name="a"), k.Input((1,), name="b")
    head = k.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="head")
    return k.Model([a, b], kind([head(a), head(b)]))


def inner_twice(k):
    a, b, inside = (k.Input((1,), name=name) for name in ("a", "b", "inside"))
    ones = {"use_bias": False, "kernel_initializer": "ones"}
    inner = k.Model(inside, k.layers.Dense(1, **ones)(inside), name="inner")
    return k.Model([a, b], [inner(a), inner(b), k.layers.Dense(1, name="own", **ones)(a)])


def one_symbol_twice(k):
    a = k.Input((1,), name="a")
    head = k.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="head")(a)
    return k.Model(a, [head, head])


def states(k):
    series = k.Input((3, 2), name="series")
    return k.Model(series, list(k.layers.LSTM(2, return_sequences=True, return_state=True, name="rnn")(series)))


def reported(model, x, y, sample_weight=None, **settings):
    optimizer = settings.pop("optimizer", None) or triarch.optimizers.SGD(0.0)
    model.compile(optimizer=optimizer, **settings)
    values = model.evaluate(x, y, sample_weight=sample_weight, verbose=0, return_dict=True)
    listed = model.evaluate(x, y, sample_weight=sample_weight, verbose=0)
    assert np.atleast_1d(listed) == pytest.approx([values[name] for name in model.metrics_names])
    history = model.fit(x, y, sample_weight=sample_weight, batch_size=2, verbose=0).history
    assert {name: value[0] for name, value in history.items()} == pytest.approx(values, rel=1e-5)
    return values


HEAD = {
    "a loss each": ({"loss": ["mse", "mae"]}, [SQUARES[0], DISTANCES[1]]),
    "a loss for both": ({"loss": "mse"}, SQUARES),
    "a loss for both by the layer's name": ({"loss": {"head": "mae"}}, DISTANCES),
    "a loss each by name": ({"loss": {"head": "mse", "head_1": "mae"}}, [SQUARES[0], DISTANCES[1]]),
    "losses by name, the other way round": ({"loss": {"head_1": "mae", "head": "mse"}}, [SQUARES[0], DISTANCES[1]]),
}


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("name", HEAD)
def test_outputs_of_a_shared_layer(name, kind):
    settings, (first, second) = HEAD[name]
    model = shared_head(triarch, kind)
    assert model.output_names == ["head", "head"]  # as in Keras
    for y in (TARGETS, tuple(TARGETS), {"head": TARGETS[0], "head_1": TARGETS[1]}):
        values = reported(model, [A, B], y, **settings)
        assert values == pytest.approx({"loss": first + second, "head_loss": first, "head_loss_1": second})


def test_weights_of_losses_and_samples():
    for weights in ([1.0, 10.0], {"head": 1.0, "head_1": 10.0}):
        values = reported(shared_head(triarch), [A, B], TARGETS, loss=["mse", "mae"], loss_weights=weights)
        assert values["loss"] == pytest.approx(5 + 15)
    of_samples = [np.array([1.0, 0.0], "float32"), np.array([0.0, 1.0], "float32")]
    for weights in (of_samples, {"head": of_samples[0], "head_1": of_samples[1]}):
        values = reported(shared_head(triarch), [A, B], TARGETS, weights, loss=["mse", "mae"])
        assert values["loss"] == pytest.approx(0.5 * 1 + 0.5 * 1)
    values = reported(shared_head(triarch), [A, B], [TARGETS[1]], loss=[None, "mae"])
    assert values == pytest.approx({"loss": 1.5})


def test_the_shared_layer_learns_from_both():
    model = shared_head(triarch)
    model.compile(triarch.optimizers.SGD(0.1), ["mse", "mae"], loss_weights=[1.0, 10.0])
    model.fit([A, B], TARGETS, batch_size=2, verbose=0)
    # d/dw: (2 * 1 + 2 * 9) / 2 = 10 of the first output, (2 + 2) / 2 = 2 of the second, which weighs 10.
    assert model.get_weights()[0].item() == pytest.approx(1 - 0.1 * (10 + 20))


METRICS = [
    (shared_head, [["mae"], ["mse", "mae"]]),
    (shared_head, [["mae"], None]),
    (inner_twice, [["mae"], ["mae"], ["mse"]]),
    (one_symbol_twice, [["mae"], ["mae"]]),
    (states, [["mae"], ["mae"], ["mse"]]),
]


@pytest.mark.parametrize(("make", "metrics"), METRICS)
def test_metrics_are_called_as_in_keras(make, metrics, keras):
    def scenario(k):
        model = make(k)
        x = [np.ones((2, *tensor.shape[1:]), "float32") for tensor in model.inputs]
        y = [np.full((2, *tensor.shape[1:]), 3.0, "float32") for tensor in model.outputs]
        k.utils.set_random_seed(0)
        model.set_weights([np.linspace(-1, 1, weight.size).reshape(weight.shape) for weight in model.get_weights()])
        optimizer = k.optimizers.SGD(0.0)
        found = {}
        for setting in ("metrics", "weighted_metrics"):
            model.compile(optimizer, loss=["mse", "mae", "mse"][: len(y)], **{setting: metrics})
            found[setting] = model.evaluate(x[0] if len(x) == 1 else x, y, verbose=0, return_dict=True)
        return found

    mine, theirs = scenario(triarch), scenario(keras)
    for setting, values in theirs.items():
        # Keras reports the losses of all outputs of a layer under one name, so that all but the last are lost.
        kept = {name: value for name, value in values.items() if name == "loss" or not name.endswith("_loss")}
        found = {name: value for name, value in mine[setting].items() if name in kept}
        assert found == pytest.approx(kept, rel=1e-5)
        assert set(values) <= set(mine[setting])


def test_names_that_look_like_numbered_ones():
    a = triarch.Input((1,))
    twice = triarch.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="head")
    other = triarch.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="head_1")
    model = triarch.Model(a, [twice(a), twice(a), other(a)])
    y = [np.zeros((2, 1), "float32")] * 3
    values = reported(model, A, y, loss=["mse", "mae", "mse"])
    assert values["loss"] == pytest.approx(5.0 + 2.0 + 0.0)
    values = reported(model, A, y, loss={"head": "mse", "head_1": "mae"})
    assert values["loss"] == pytest.approx(5.0 + 5.0 + 0.0)
    with pytest.raises(ValueError, match=r"names outputs that the model does not have: \['head_7'\]"):
        reported(model, A, y, loss={"head_7": "mse"})


def test_a_model_with_outputs_of_one_layer_goes_through_a_file(tmp_path):
    model = shared_head(triarch)
    model.compile(triarch.optimizers.SGD(0.0), {"head": "mse", "head_1": "mae"}, metrics=[["mae"], ["mae"]])
    values = model.evaluate([A, B], TARGETS, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = triarch.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate([A, B], TARGETS, verbose=0, return_dict=True) == pytest.approx(values)


def nested_states(k):
    series = k.Input((3, 2), name="series")
    outputs, *last = k.layers.LSTM(2, return_sequences=True, return_state=True, name="rnn")(series)
    return k.Model(series, [[outputs, *last], k.layers.Dense(1, name="own")(last[0])])


NESTED = {
    "flat": {"loss": ["mse", "mae", "mse", "mae"], "loss_weights": [1.0, 2.0, 3.0, 4.0]},
    "nested": {"loss": [["mse", "mae", "mse"], "mae"], "loss_weights": [[1.0, 2.0, 3.0], 4.0]},
}


@pytest.mark.parametrize("form", NESTED)
def test_outputs_in_lists_of_lists(form, keras):
    def scenario(k):
        model = nested_states(k)
        model.set_weights([np.linspace(-1, 1, weight.size).reshape(weight.shape) for weight in model.get_weights()])
        metrics = [[["mae"], ["mae"], ["mse"]], ["mae"]]
        model.compile(k.optimizers.SGD(0.0), metrics=metrics, **NESTED[form])
        y = [[np.full((2, *shape), 3.0, "float32") for shape in ((3, 2), (2,), (2,))], np.ones((2, 1), "float32")]
        found = {}
        for name, targets in (("nested", y), ("flat", [*y[0], y[1]])):
            found[name] = model.evaluate(np.ones((2, 3, 2), "float32"), targets, verbose=0, return_dict=True)
        return found

    mine, theirs = scenario(triarch), scenario(keras)
    for name in ("loss", "rnn_mae", "rnn_mae_1", "rnn_mse", "own_mae", "own_loss"):
        assert mine["nested"][name] == pytest.approx(theirs["nested"][name], rel=1e-5)
        assert mine["flat"][name] == pytest.approx(mine["nested"][name])
    assert {"loss", "rnn_loss", "rnn_loss_1", "rnn_loss_2", "own_loss", "rnn_mae_1"} <= mine["nested"].keys()
