"""Whole steps: the same as layer by layer, whatever layers, targets and optimizers; and where they are not taken."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.tolerances import assert_as_exact_as
from triarch import Sequential, config, kernels, layers, losses, metrics, optimizers
from triarch.kernels.perceptron import Perceptron

FEATURES, ROWS = 13, 37  # no multiple of a tile

# name -> loss and metric (or what makes them), last layer's units and activation, targets
TARGETS = {
    "classes": ("sparse_categorical_crossentropy", "accuracy", 5, "softmax", lambda rng, n: rng.integers(0, 5, n)),
    "classes in a column": (
        lambda: losses.SparseCategoricalCrossentropy(),
        lambda: metrics.SparseCategoricalAccuracy(),
        19,
        "softmax",
        lambda rng, n: rng.integers(0, 19, (n, 1)).astype(np.uint8),
    ),
    "classes from logits": (
        lambda: losses.SparseCategoricalCrossentropy(from_logits=True),
        "accuracy",
        5,
        None,
        lambda rng, n: rng.integers(0, 5, n),
    ),
    "one-hot": (
        "categorical_crossentropy",
        "accuracy",
        4,
        "softmax",
        lambda rng, n: np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)],
    ),
    "distributions that do not add up to 1": (
        lambda: losses.CategoricalCrossentropy(),
        lambda: metrics.CategoricalAccuracy(),
        4,
        "softmax",
        lambda rng, n: rng.random((n, 4), np.float32),
    ),
    "decision": ("binary_crossentropy", "accuracy", 1, "sigmoid", lambda rng, n: rng.integers(0, 2, n)),
    "decisions": (
        lambda: losses.BinaryCrossentropy(),
        lambda: metrics.BinaryAccuracy(threshold=0.4),
        17,
        "sigmoid",
        lambda rng, n: rng.integers(0, 2, (n, 17)).astype(np.float32),
    ),
    "decisions from logits": (
        lambda: losses.BinaryCrossentropy(from_logits=True),
        None,
        3,
        None,
        lambda rng, n: rng.integers(0, 2, (n, 3)),
    ),
    "values": ("mse", None, 3, None, lambda rng, n: rng.standard_normal((n, 3), np.float32)),
    "values that are rectified": (
        lambda: losses.MeanSquaredError(),
        None,
        2,
        "relu",
        lambda rng, n: rng.standard_normal((n, 2), np.float32),
    ),
}
HIDDEN = {
    "none": list,
    "one": lambda: [layers.Dense(16, activation="relu")],
    "narrow": lambda: [layers.Dense(3, activation="leaky_relu", use_bias=False), layers.Dense(1)],
    "wide": lambda: [layers.Dense(70, activation="relu6"), layers.Dense(33), layers.ReLU(max_value=1.0)],
    "as layers": lambda: [
        layers.Flatten(),
        layers.Dense(20),
        layers.LeakyReLU(0.1),
        layers.Dropout(0.0),
        layers.Dense(9, activation="linear"),
        layers.Activation("relu"),
    ],
}
OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "adam by schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 2, 0.5), beta_1=0.8),
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "clipped": lambda: optimizers.Adam(0.01, global_clipnorm=0.1),
    "accumulated": lambda: optimizers.SGD(0.1, gradient_accumulation_steps=3),
    "averaged": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
}


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The calls of the kernel that were done."""
    done: list[str] = []
    names = {name: name for name in ("learn", "differentiate", "evaluate", "predict")} | {"predict_at": "predict"}
    for method, name in names.items():
        original = getattr(Perceptron, method)

        def counted(self, *args, name=name, original=original):
            found = original(self, *args)
            if found is not False and found is not None:
                done.append(name)
            return found

        monkeypatch.setattr(Perceptron, method, counted)
    return done


def make(hidden="one", target="classes", optimizer="adam", shape=(FEATURES,)):
    loss, metric, units, activation, targets = TARGETS[target]
    last = layers.Dense(units, activation=activation)
    model = Sequential([layers.Input(shape=shape), *HIDDEN[hidden](), last])
    loss, metric = (made() if callable(made) else made for made in (loss, metric))
    model.compile(loss=loss, optimizer=OPTIMIZERS[optimizer](), metrics=None if metric is None else [metric])
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    return model, rng.standard_normal((ROWS, *shape), np.float32), targets(rng, ROWS)


def run(model, x, y, epochs=3, batch_size=10, **options):
    """Losses and metrics of epochs and of an evaluation, the predictions, and the weights at the end."""
    with kernels.expecting(1_000_000):
        history = model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, **options).history
        scores = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
        predictions = model.predict(x, batch_size=batch_size, verbose=0)
    reported = {**history, **{f"final_{name}": value for name, value in scores.items()}}
    return reported, predictions, [weight.numpy().copy() for weight in model.weights]


def layer_by_layer(model, x, y, **options):
    with kernels.use("direct"):
        return run(model, x, y, **options)


def assert_same(ours, theirs, tolerance):
    for name, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance, atol=tolerance)
    for found, expected in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("target", TARGETS)
def test_the_same_in_double_precision(float64, calls, hidden, target):
    theirs = layer_by_layer(*make(hidden, target))
    assert not calls
    ours = run(*make(hidden, target))
    # The first step and the first batch of an evaluation lay out losses and metrics.
    assert (calls.count("learn"), calls.count("evaluate"), calls.count("predict")) == (11, 4, 4)
    assert_same(ours, theirs, 1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(float64, calls, name):
    theirs = layer_by_layer(*make(optimizer=name))
    ours = run(*make(optimizer=name))
    assert "learn" in calls or "differentiate" in calls
    assert_same(ours, theirs, 1e-9)


def test_the_state_of_the_optimizer_goes_on(float64):
    """Some steps as one call, some layer by layer, and a file in between make no difference."""
    model, x, y = make()
    expected = layer_by_layer(*make(), epochs=6)
    layer_by_layer(model, x, y, epochs=2)
    run(model, x, y, epochs=2)
    ours = layer_by_layer(model, x, y, epochs=2)
    assert int(model.optimizer.iterations) == 24
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 16, 31])
@pytest.mark.parametrize("sizes", [(1, 1), (784, 10), (64, 64), (5, 97), (129, 6)])
def test_gradients_are_as_exact_as_torchs(rows, sizes):
    features, units = sizes
    rng = np.random.default_rng(rows)
    x, y = rng.standard_normal((rows, features), np.float32), rng.integers(0, units, rows)
    found = {}
    for dtype, method in (("float64", "direct"), ("float32", "direct"), ("float32", "auto")):
        config.set_floatx(dtype)
        hidden = layers.Dense(units, activation="relu")
        model = Sequential([layers.Input(shape=(features,)), hidden, layers.Dense(units, activation="softmax")])
        model.compile(loss=losses.SparseCategoricalCrossentropy(), optimizer=optimizers.SGD(0.0))
        numbers = np.random.default_rng(1)
        for weight in model.weights:
            weight.assign(numbers.standard_normal(weight.shape).astype(np.float32) / math.sqrt(features))
        with kernels.use(method), kernels.expecting(1_000_000):
            model.fit(x.astype(dtype), y, batch_size=rows, epochs=2, shuffle=False, verbose=0)
        found[dtype, method] = [weight.grad.clone() for weight in model.weights]
    for weight, truth, peer, ours in zip(model.weights, *found.values(), strict=True):
        assert_as_exact_as(peer, ours, truth, weight.path)


def test_images_are_flattened(float64, calls):
    theirs = layer_by_layer(*make("as layers", shape=(4, 5, 3)))
    ours = run(*make("as layers", shape=(4, 5, 3)))
    assert "learn" in calls
    assert_same(ours, theirs, 1e-9)


def test_a_wrong_label_is_named_and_changes_nothing(calls):
    model, x, y = make()
    with kernels.expecting(1_000_000):
        model.fit(x, y, verbose=0)
        before = [weight.numpy().copy() for weight in (*model.weights, *model.optimizer.variables)]
        y[3] = 5
        with pytest.raises(ValueError, match=r"Class numbers must lie in \[0, 5\).*Received: 5"):
            model.fit(x, y, batch_size=ROWS, verbose=0)
    for weight, value in zip((*model.weights, *model.optimizer.variables), before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38])
def test_numbers_that_are_not_finite_spread_as_they_do_layer_by_layer(value):
    found = []
    for method in ("direct", "auto"):
        model, x, y = make("wide")
        with kernels.use(method), kernels.expecting(1_000_000):
            model.fit(x, y, shuffle=False, verbose=0)
            x[2, 3] = value
            outputs = model.predict(x, verbose=0)
            history = model.fit(x, y, batch_size=ROWS, verbose=0).history
        found.append((outputs, history["loss"], [weight.numpy() for weight in model.weights]))
    (outputs, loss, weights), (own_outputs, own_loss, own_weights) = found
    np.testing.assert_allclose(own_outputs, outputs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own_loss, loss, rtol=1e-4)
    for ours, theirs in zip(own_weights, weights, strict=True):
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))


def test_weights_in_samples_and_classes(float64):
    for options in ({"sample_weight": np.linspace(0, 2, ROWS)}, {"class_weight": {1: 3.0}}):
        assert_same(run(*make(), **options), layer_by_layer(*make(), **options), 1e-9)


def test_weights_that_move_and_are_loaded(float64, calls):
    """Between two calls a weight may be put elsewhere, and new numbers may be written into it."""
    from triarch.callbacks import LambdaCallback

    def move(model):
        def at_the_end_of(epoch, logs):
            for weight in model.weights:
                weight.data = 0.9 * weight.detach()

        return LambdaCallback(on_epoch_end=at_the_end_of)

    results = []
    for runner in (layer_by_layer, run):
        model, x, y = make()
        results.append(runner(model, x, y, callbacks=[move(model)]))
    assert_same(results[1], results[0], 1e-9)
    assert calls.count("learn") == 11


def test_predictions_within_training(float64, calls):
    """A callback may predict and evaluate with the model that is being trained."""
    from triarch.callbacks import LambdaCallback

    results, seen = [], {}
    for runner in (layer_by_layer, run):
        model, x, y = make(target="classes from logits")
        asked = seen.setdefault(runner, [])

        def ask(model=model, x=x, y=y, asked=asked):
            asked.append((model.predict_on_batch(x), model.predict(x, verbose=0)))

        callback = LambdaCallback(on_train_begin=lambda logs: ask(), on_epoch_end=lambda epoch, logs: ask())
        results.append(runner(model, x, y, callbacks=[callback]))
    assert_same(results[1], results[0], 1e-9)
    for ours, theirs in zip(seen[run], seen[layer_by_layer], strict=True):
        for found, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert calls.count("learn") == 11


def test_hooks_are_called():
    model, x, y = make()
    seen = []
    model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    run(model, x, y)
    assert len(seen) == 5 * 4


def test_reproducible_to_the_last_bit():
    first, second = (run(*make("wide")) for _ in range(2))
    for ours, theirs in zip(first[2], second[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Own(Sequential):
    """Has a step of its own."""


def _frozen():
    model, *_ = make()
    model.layers[0].trainable = False
    return model


def _eager():
    model, *_ = make()
    model.compile(loss=losses.SparseCategoricalCrossentropy(), optimizer="adam", run_eagerly=True)
    return model


def _with(*stack, loss="sparse_categorical_crossentropy", metric=None):
    model = Sequential([layers.Input(shape=(FEATURES,)), *stack])
    model.compile(loss=loss, optimizer="adam", metrics=None if metric is None else [metric])
    return model


SOFTMAX = {"units": 5, "activation": "softmax"}
LAYER_BY_LAYER = {
    "some weights are not learnt": _frozen,
    "`compile` asked for another way": _eager,
    "another activation": lambda: _with(layers.Dense(4, activation="tanh"), layers.Dense(**SOFTMAX)),
    "layer 'dropout' is no dense layer": lambda: _with(layers.Dense(4), layers.Dropout(0.5), layers.Dense(**SOFTMAX)),
    "has a regularizer or a constraint": lambda: _with(layers.Dense(kernel_regularizer="l2", **SOFTMAX)),
    "has a precision or a regularizer of its own": lambda: _with(layers.Dense(dtype="mixed_bfloat16", **SOFTMAX)),
    "comes after a softmax": lambda: _with(layers.Dense(**SOFTMAX), layers.Dense(5)),
    "is not of what a linear gives": lambda: _with(layers.Dense(5)),
    "is not one of the kernel's": lambda: _with(
        layers.Dense(**SOFTMAX), metric=metrics.SparseTopKCategoricalAccuracy()
    ),
    "smooths labels, leaves some out": lambda: _with(
        layers.Dense(**SOFTMAX), loss=losses.SparseCategoricalCrossentropy(ignore_class=1)
    ),
    "more than 16": lambda: _with(*(layers.Dense(3) for _ in range(16)), layers.Dense(**SOFTMAX)),
}


@pytest.mark.parametrize("reason", LAYER_BY_LAYER)
def test_other_models_go_layer_by_layer_and_say_why(calls, reason):
    model = LAYER_BY_LAYER[reason]()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, FEATURES), np.float32), rng.integers(0, 5, ROWS)
    with kernels.expecting(1_000_000):
        model.fit(x, y, verbose=0)
    assert "learn" not in calls
    assert reason in model.explain_step()


def test_a_subclass_goes_layer_by_layer(calls):
    model = Own([layers.Input(shape=(FEATURES,)), layers.Dense(**SOFTMAX)])
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    _, x, y = make()
    run(model, x, y)
    assert not calls
    assert "no plain Sequential" in model.explain_step()


def test_explanations_of_what_can_be_one_call():
    model, x, y = make()
    assert model.explain_step() == "layer by layer, as the first step always is"
    model.fit(x, y, verbose=0)
    assert model.explain_step().startswith("as one call of compiled code, for batches of up to ")
    assert "save less than compiling takes" in model.explain_step(steps=20)
    with kernels.use("direct"):
        assert "asks for a method for each layer" in model.explain_step()


def test_short_jobs_do_not_compile(calls):
    model, x, y = make()
    model.fit(x, y, epochs=2, verbose=0)
    assert not calls


def test_large_layers_go_layer_by_layer():
    model = _with(layers.Dense(3000, activation="relu"), layers.Dense(3000), layers.Dense(**SOFTMAX))
    rng = np.random.default_rng(0)
    model.fit(rng.standard_normal((2, FEATURES), np.float32), rng.integers(0, 5, 2), verbose=0)
    with kernels.expecting(1_000_000):
        assert "the vendor's threads" in model.explain_step()
