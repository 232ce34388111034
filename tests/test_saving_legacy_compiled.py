"""How models of Keras 2 were compiled: losses, metrics, optimizers with their state, out of HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_2 as old
import numpy as np
import pytest
from keras_2 import dense, numbers

from triarch import saving

LOSS = {"class_name": "CategoricalCrossentropy", "config": {
    "reduction": "auto", "name": "categorical_crossentropy", "from_logits": True, "label_smoothing": 0, "axis": -1,
    "fn": "categorical_crossentropy"}}  # fmt: skip
ADAM = {"name": "Adam", "learning_rate": 0.01, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-07,
        "amsgrad": False}  # fmt: skip


def compiled(tmp_path: Path, rng: np.random.Generator, training: Any, **more: Any) -> Any:
    layer = dense("out", 2, None, kernel=numbers(rng, 3, 2), bias=numbers(rng, 2))
    model = old.sequential([old.input_layer((3,), "a", graph=False), layer])
    common = {"metrics": None, "weighted_metrics": None, "sample_weight_mode": None, "loss_weights": None}
    optimizer = {"optimizer_config": {"class_name": "Adam", "config": ADAM}, "loss": "mse"}
    old.write_h5(tmp_path / "m.h5", {"out": old.h5_names(layer)}, model, common | optimizer | training, **more)
    return saving.load_model(tmp_path / "m.h5")


LOSSES = {
    "name": "categorical_crossentropy",
    "object": LOSS,
    "list": [LOSS],
    "dict": {"out": "kullback_leibler_divergence"},
    "an old name": "cosine_proximity",
    "huber": {
        "class_name": "Huber",
        "config": {"reduction": "auto", "name": "huber_loss", "fn": "huber", "delta": 1.0},
    },
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model = compiled(tmp_path, rng, {"loss": LOSSES[loss]})
    x, y = numbers(rng, 4, 3), np.eye(2, dtype="float32")[[0, 1, 1, 0]]
    assert np.isfinite(model.evaluate(x, y, verbose=0))
    if loss == "object":
        logits = model.predict(x, verbose=0)
        expected = np.mean(np.log(np.exp(logits).sum(-1)) - (logits * y).sum(-1))
        np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)


METRICS = {
    "names": (["accuracy", "mae"], {"accuracy", "mae"}),
    "wrapped": ([[{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "dtype": "float32",
                   "fn": "categorical_accuracy"}}]], {"acc"}),
    "wrapped with a policy": ([{"class_name": "MeanMetricWrapper", "config": {
        "name": "mse", "dtype": {"class_name": "Policy", "config": {"name": "float32"}}, "fn": "mean_squared_error"}}],
        {"mse"}),
    "objects": ([{"class_name": "AUC", "config": {"name": "auc", "dtype": "float32", "num_thresholds": 200,
        "curve": "ROC", "summation_method": "interpolation", "multi_label": False, "label_weights": None}},
        {"class_name": "Precision", "config": {"name": "precision", "dtype": "float32", "thresholds": None,
         "top_k": None, "class_id": None}}], {"auc", "precision"}),
    "per output": ({"out": ["mse"]}, {"mse"}),
}  # fmt: skip


@pytest.mark.parametrize("metrics", METRICS)
def test_metrics(metrics: str, tmp_path: Path, rng: np.random.Generator) -> None:
    description, names = METRICS[metrics]
    model = compiled(tmp_path, rng, {"metrics": description})
    x, y = np.abs(numbers(rng, 4, 3)) * 0.1, np.eye(2, dtype="float32")[[0, 1, 1, 0]]
    model.layers[0].set_weights([np.full((3, 2), 0.5, "float32"), np.zeros(2, "float32")])
    assert set(model.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", *names}


OPTIMIZERS = {
    "SGD": ({"lr": 0.1, "momentum": 0.9, "decay": 0.0, "nesterov": True}, 0.1),
    "RMSprop": ({"learning_rate": 0.02, "decay": 0.0, "rho": 0.8, "momentum": 0.0, "epsilon": None,
                 "centered": False}, 0.02),
    "Custom>Adam": ({"name": "Adam", "learning_rate": 0.003, "is_legacy_optimizer": False, "jit_compile": True,
                     "weight_decay": None, "clipnorm": 1.0, "use_ema": False, "ema_momentum": 0.99,
                     "ema_overwrite_frequency": None, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
                     "amsgrad": False}, 0.003),
    "Nadam": ({"lr": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "schedule_decay": 0.004}, 0.002),
    "Adagrad": ({"name": "Adagrad", "learning_rate": 0.01, "decay": 0.0, "initial_accumulator_value": 0.1,
                 "epsilon": 1e-7}, 0.01),
    "Adadelta": ({"learning_rate": 1.0, "decay": 0.0, "rho": 0.95, "epsilon": 1e-7}, 1.0),
    "LossScaleOptimizer": ({"inner_optimizer": {"class_name": "Adam", "config": ADAM}, "dynamic": True,
                            "initial_scale": 32768.0, "dynamic_growth_steps": 2000}, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizers(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    config, rate = OPTIMIZERS[kind]
    model = compiled(tmp_path, rng, {"optimizer_config": {"class_name": kind, "config": config}})
    assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    model.fit(numbers(rng, 4, 3), numbers(rng, 4, 2), verbose=0)


def test_rates_that_fall(tmp_path: Path, rng: np.random.Generator) -> None:
    """`decay` divided the rate by `1 + decay * steps`; schedules are objects."""
    model = compiled(tmp_path, rng, {"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.1, "decay": 0.5}}})
    model.fit(numbers(rng, 6, 3), numbers(rng, 6, 2), batch_size=3, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 / (1 + 0.5 * 2))
    falling = {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.5, "staircase": False, "name": None}
    schedule = {"class_name": "ExponentialDecay", "config": falling}
    config = {"class_name": "SGD", "config": {"name": "SGD", "learning_rate": schedule, "momentum": 0.0}}
    model = compiled(tmp_path, rng, {"optimizer_config": config})
    model.fit(numbers(rng, 6, 3), numbers(rng, 6, 2), batch_size=3, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**2)


def adam_state(rng: np.random.Generator, form: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The state of Adam over two weights, as three kinds of releases wrote it, and by weight."""
    m, v = (
        [numbers(rng, 3, 2), numbers(rng, 2)],
        [np.abs(numbers(rng, 3, 2)), np.abs(numbers(rng, 2))],
    )
    by_weight = [m[0], v[0], m[1], v[1]]
    if form == "2.15":
        names = ("Adam/m/out/kernel:0", "Adam/v/out/kernel:0", "Adam/m/out/bias:0", "Adam/v/out/bias:0")
        return {"iteration:0": np.int64(7)} | dict(zip(names, by_weight, strict=True)), by_weight
    if form == "2.4":
        names = ("Adam/out/kernel/m:0", "Adam/out/bias/m:0", "Adam/out/kernel/v:0", "Adam/out/bias/v:0")
        return {"Adam/iter:0": np.int64(7)} | dict(zip(names, [*m, *v], strict=True)), by_weight
    names = [f"training/Adam/Variable{end}:0" for end in ("", "_1", "_2", "_3", "_4", "_5")]
    unused = [np.zeros(1, "float32")] * 2
    return {"Adam/iterations:0": np.int64(7)} | dict(zip(names, [*m, *v, *unused], strict=True)), by_weight


@pytest.mark.parametrize("form", ["2.15", "2.4", "2.1"])
def test_the_state_of_an_optimizer(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    arrays, by_weight = adam_state(rng, form)
    model = compiled(tmp_path, rng, {}, optimizer=arrays, version=f"{form}.0")
    assert int(model.optimizer.iterations) == 7
    for found, wanted in zip(model.optimizer.variables[2:], by_weight, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted)


def test_a_state_that_does_not_fit_is_left_with_a_warning(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {"iteration:0": np.int64(7), "Adam/m/out/kernel:0": numbers(rng, 5, 5)}
    with pytest.warns(UserWarning, match="state of optimizer 'Adam' was not loaded"):
        model = compiled(tmp_path, rng, {}, optimizer=arrays)
    assert int(model.optimizer.iterations) == 0


def test_functions_of_the_user(tmp_path: Path, rng: np.random.Generator) -> None:
    def own_loss(y_true: Any, y_pred: Any) -> Any:
        return (y_true - y_pred).abs().mean(-1)

    with pytest.raises(ValueError, match=r"own_loss.*compile=False"):
        compiled(tmp_path, rng, {"loss": "own_loss", "metrics": ["own_loss"]})
    assert not saving.load_model(tmp_path / "m.h5", compile=False).compiled
    model = saving.load_model(tmp_path / "m.h5", custom_objects={"own_loss": own_loss})
    assert model.evaluate(numbers(rng, 4, 3), numbers(rng, 4, 2), verbose=0)[1] > 0


@pytest.mark.parametrize("weights", [None, [0.5], {"out": 0.5}])
def test_weights_of_losses(weights: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    model = compiled(tmp_path, rng, {"loss": {"out": "mae"}, "loss_weights": weights})
    x, y = numbers(rng, 4, 3), numbers(rng, 4, 2)
    expected = np.abs(model.predict(x, verbose=0) - y).mean() * (0.5 if weights else 1)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)


def test_several_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    layers = [
        old.input_layer((3,), "a"),
        dense("one", 2, old.called("a"), kernel=numbers(rng, 3, 2)),
        dense("two", 1, old.called("a"), "sigmoid", kernel=numbers(rng, 3, 1)),
    ]
    training = {
        "optimizer_config": {"class_name": "Adam", "config": ADAM},
        "loss": {
            "one": "mse",
            "two": {"class_name": "BinaryCrossentropy", "config": {"reduction": "auto", "name": "b"}},
        },
        "metrics": {"two": ["accuracy"]},
        "loss_weights": {"one": 1.0, "two": 2.0},
    }
    ends = [["a", 0, 0]], [["one", 0, 0], ["two", 0, 0]]
    model = saving.load_model(old.save_graph(tmp_path, layers, *ends, training=training))
    x, y, z = numbers(rng, 6, 3), numbers(rng, 6, 2), rng.integers(0, 2, (6, 1)).astype("float32")
    one, two = model.predict(x, verbose=0)
    entropy = -np.mean(z * np.log(two) + (1 - z) * np.log(1 - two))
    found = model.evaluate(x, [y, z], verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], np.mean((one - y) ** 2) + 2 * entropy, rtol=1e-4)
    assert found["two_accuracy"] == pytest.approx(np.mean((two > 0.5) == z))
