"""Learning on from what was learnt before: frozen layers, slower ones, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import refused, run

from triarch import Input, Model, Sequential, applications, kernels, layers, models, optimizers

_OPTIMIZERS = [
    optimizers.SGD(0.1),
    optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
    optimizers.Adam(0.01),
    optimizers.AdamW(0.01, weight_decay=0.1),
]


def stack() -> Sequential:
    return Sequential([Input((5,)), layers.Dense(4, name="early"), layers.Dense(3, name="late")])


@pytest.mark.parametrize("optimizer", _OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_slower_layers_learn_as_with_a_smaller_rate(optimizer, rng):
    x, y = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=(8, 3)).astype(np.float32)
    slow, usual, small = stack(), stack(), stack()
    for model in (usual, small):
        model.set_weights(slow.get_weights())
    slow.get_layer("early").learning_rate_factor = 0.1
    config = optimizer.get_config()
    for model, rate in ((slow, 1.0), (usual, 1.0), (small, 0.1)):
        model.compile(type(optimizer).from_config({**config, "learning_rate": config["learning_rate"] * rate}), "mse")
        model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    for one, other in zip(slow.layers[0].weights, small.layers[0].weights, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(slow.layers[1].weights, usual.layers[1].weights, strict=True):
        torch.testing.assert_close(one, other)


def test_factors_reach_layers_inside_and_weights_to_come():
    inner = Sequential([layers.Dense(4)])
    inner.learning_rate_factor = 0.5
    inner.layers[0].learning_rate_factor = 0.25
    model = Sequential([Input((3,)), inner, torch.nn.Linear(4, 2)])
    assert [weight.learning_rate_factor for weight in inner.weights] == [0.25, 0.25]
    model.learning_rate_factor = 0.0
    assert {weight.learning_rate_factor for weight in model.weights} == {0.0}
    with pytest.raises(ValueError, match="at least 0"):
        model.learning_rate_factor = -1.0


def test_whole_steps_are_for_one_rate():
    model = stack()
    model.compile("adam", "mse")
    model.layers[0].learning_rate_factor = 0.1
    with kernels.expecting(10**6):
        assert "learning rate of its own" in model.explain_step()


def test_frozen_bases_stay_and_tops_learn(rng):
    base = applications.ResNet20(include_top=False, pooling="avg")
    base.trainable = False
    inputs = Input((32, 32, 3))
    model = Model(inputs, layers.Dense(2, activation="softmax")(base(inputs)))
    assert len(model.trainable_weights) == 2
    before = [weight.clone() for weight in base.weights]
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = rng.normal(size=(8, 32, 32, 3)).astype(np.float32), np.arange(8) % 2
    model.fit(x, y, epochs=1, verbose=0)
    assert all(torch.equal(one, other) for one, other in zip(before, base.weights, strict=True))
    base.trainable = True
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    assert not torch.equal(before[0], base.weights[0])


def test_the_command_learns_on_from_a_file(tmp_path: Path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(60) % 2
    images = (rng.integers(0, 100, size=(60, 32, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    np.savez("data.npz", x=images, y=labels)
    arguments = ("--data", "data.npz", "--epochs", 1, "--out", "run")
    headless = applications.ResNet18(weights=None, input_shape=(32, 32, 3), include_top=False, pooling="avg")
    headless.save_weights("base.weights.h5")
    code, output, _ = run("train", "--model", "resnet18", "--weights", "base.weights.h5", *arguments)
    assert code == 0, output
    model = models.load_model("run/model.keras")
    assert model.output_shape == (None, 2)
    assert json.loads(Path("run/report.json").read_text())["arguments"]["weights"] == "base.weights.h5"
    assert "residual networks" in refused("train", "--weights", "base.weights.h5", *arguments[:4])
    assert "the path of a file" in refused("train", "--model", "resnet18", "--weights", "missing.h5", *arguments[:4])
    np.savez("grey.npz", x=images[..., :1], y=labels)
    assert "three colours" in refused(
        "train", "--model", "resnet18", "--weights", "base.weights.h5", "--data", "grey.npz"
    )
