"""Number types: weights are never written to by a call, and inputs are rounded where they are computed with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import Model, Sequential, layers, losses, ops, optimizers

MIXED = ("mixed_float16", "mixed_bfloat16")
POLICIES = ("float32", "float64", "float16", "bfloat16", *MIXED)
IDS = np.array([[257, 2049], [2909, 3001]])
ROWS = 4000
TABLE = (np.arange(ROWS) % 7).astype("float32").reshape(-1, 1)  # exact in every type


@pytest.fixture(autouse=True)
def _own_policy() -> Iterator[None]:
    yield
    triarch.config.set_dtype_policy(None)


@triarch.saving.register_keras_serializable("precision")
class Words(Model):
    """A model of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = layers.Embedding(ROWS, 1)

    def call(self, inputs: Any) -> Any:
        return self.embedding(inputs)


class Positions(layers.Layer):
    """A layer made of layers, as transformers begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = layers.Embedding(ROWS, 1), layers.Embedding(2, 1, "zeros")

    def call(self, inputs: Any) -> Any:
        return self.words(inputs) + self.places(ops.arange(2))


def functional(*stack: Any, shape: Any = (2,), **kwargs: Any) -> Model:
    inputs = triarch.Input(shape, **kwargs)
    outputs = inputs
    for layer in stack:
        outputs = layer(outputs)
    return Model(inputs, outputs)


def embedding() -> layers.Embedding:
    return layers.Embedding(ROWS, 1)


WORDS: dict[str, Callable[[], Model]] = {
    "functional": lambda: functional(embedding()),
    "functional of integers": lambda: functional(embedding(), dtype="int32"),
    "sequential": lambda: Sequential([layers.Input((2,)), embedding()]),
    "sequential without an input": lambda: Sequential([embedding()]),
    "own model": Words,
    "own layer": lambda: Sequential([layers.Input((2,)), Positions()]),
    "model in a model": lambda: Sequential([layers.Input((2,)), functional(embedding())]),
    "flattened": lambda: functional(layers.Flatten(), embedding()),
    "reshaped": lambda: functional(layers.Reshape((2, 1)), layers.Permute((2, 1)), embedding()),
    "cropped": lambda: functional(layers.RepeatVector(1), layers.ZeroPadding1D(1), layers.Cropping1D(1), embedding()),
    "chosen": lambda: functional(layers.Lambda(lambda x: x[:, :]), layers.Identity(), embedding()),
    "joined": lambda: functional(layers.Lambda(lambda x: [x[:, :1], x[:, 1:]]), layers.Concatenate(), embedding()),
    "in steps": lambda: functional(layers.Reshape((2, 1)), layers.TimeDistributed(embedding())),
}


def as_floats(outputs: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(outputs, "float32")))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("name", WORDS)
def test_numbers_of_words_keep_their_digits(policy: str, kind: str, name: str) -> None:
    triarch.config.set_dtype_policy(policy)
    model = WORDS[name]()
    model(IDS.astype("int32"))
    for weight in model.weights:
        if tuple(weight.shape) == TABLE.shape:
            weight.assign(TABLE)
    ids = IDS.astype(kind)
    for outputs in (
        model(ids),
        model(torch.from_numpy(ids)),
        model.predict(ids, verbose=0),
        model.predict_on_batch(ids),
    ):
        np.testing.assert_array_equal(as_floats(outputs).reshape(IDS.shape), IDS % 7)


RAW = np.array([[1001.5, 2049.0], [1003.25, 2051.0]])
NEAR = RAW - [1000.0, 2048.0]
PREPARATIONS: dict[str, Callable[[], tuple[layers.Layer, np.ndarray]]] = {
    "Rescaling": lambda: (layers.Rescaling(1.0, offset=[-1000.0, -2048.0]), NEAR),
    "Normalization": lambda: (layers.Normalization(mean=[1000.0, 2048.0], variance=[4.0, 1.0]), NEAR / [2.0, 1.0]),
    "BatchNormalization": lambda: (
        layers.BatchNormalization(
            epsilon=0.0,
            moving_mean_initializer=lambda shape, dtype=None: torch.tensor([1000.0, 2048.0]),
        ),
        NEAR,
    ),
    "LayerNormalization": lambda: (
        layers.LayerNormalization(epsilon=0.0),
        (RAW - RAW.mean(-1, keepdims=True)) / RAW.std(-1, keepdims=True),
    ),
    "GroupNormalization": lambda: (
        layers.GroupNormalization(1, epsilon=0.0),
        (RAW - RAW.mean(-1, keepdims=True)) / RAW.std(-1, keepdims=True),
    ),
    "UnitNormalization": lambda: (layers.UnitNormalization(), RAW / np.linalg.norm(RAW, axis=-1, keepdims=True)),
    "RMSNormalization": lambda: (
        layers.RMSNormalization(epsilon=0.0),
        RAW / np.sqrt(np.square(RAW).mean(-1, keepdims=True)),
    ),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", PREPARATIONS)
def test_raw_features_keep_their_digits_up_to_the_result(policy: str, kind: str, name: str) -> None:
    triarch.config.set_dtype_policy(policy)
    layer, right = PREPARATIONS[name]()
    digits = {"float16": 1e-3, "bfloat16": 8e-3}.get(layer.compute_dtype, 1e-5)
    for model in (functional(layer), Sequential([layers.Input((2,)), layer])):
        found = as_floats(model.predict(RAW.astype(kind), verbose=0))
        np.testing.assert_allclose(found, right, rtol=digits, atol=1e-7 if digits == 1e-5 else 1e-6)


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float32"])
def test_integers_are_rescaled_before_they_are_rounded(policy: str, kind: str) -> None:
    images = np.array([[0, 255], [200, 131]], kind) * (257 if kind == "uint16" else 1)
    images = images.astype(kind)
    model = Sequential(
        [layers.Input((2,), dtype=kind), layers.Rescaling(1.0, offset=-float(images.max()), dtype=policy)]
    )
    right = torch.from_numpy(images.astype("float32") - float(images.max())).to(
        getattr(torch, model.layers[0].compute_dtype)
    )
    np.testing.assert_array_equal(as_floats(model.predict(images, verbose=0)), right.float().numpy())


@pytest.mark.parametrize("policy", MIXED)
def test_steps_are_masked_by_the_numbers_that_were_given(policy: str) -> None:
    layer = layers.Masking(-999.5, dtype=policy)
    series = np.array([[[-999.5], [-1000.0]]], "float32")
    outputs = layer(series)
    assert as_floats(outputs).tolist() == [[[0.0], [-1000.0]]]
    assert layer.compute_mask(torch.from_numpy(series)).tolist() == [[False, True]]


@pytest.mark.parametrize("policy", MIXED)
def test_squares_do_not_overflow(policy: str) -> None:
    found = as_floats(layers.UnitNormalization(dtype=policy)(np.array([[300.0, 400.0]], "float32")))
    np.testing.assert_allclose(found, [[0.6, 0.8]], rtol=8e-3)
    layer = layers.Dense(1, activity_regularizer="l2", kernel_initializer="ones", dtype=policy)
    layer(np.full((1, 1), 1000.0, "float32"))
    assert float(sum(layer.losses).detach()) == pytest.approx(0.01 * 1000**2, rel=1e-3)


@pytest.mark.parametrize("policy", MIXED)
def test_labels_keep_their_digits(policy: str) -> None:
    """Class 2049 of 2100, as a float; and a target of 2049 beside a prediction of 2048."""
    outputs = torch.zeros(1, 2100)
    outputs[0, 2049] = 8.0
    predicted = outputs.to(torch.bfloat16 if "b" in policy.split("_")[1] else torch.float16)
    label = np.array([2049.0], "float32")
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(label, predicted)) == pytest.approx(float(loss(label, outputs)), rel=1e-2)
    assert float(losses.MeanSquaredError()(label, predicted[:, :1] + 2048)) == pytest.approx(1.0)
    hits = triarch.metrics.SparseCategoricalAccuracy()
    hits.update_state(label, predicted)
    assert float(hits.result()) == 1.0


# Weights of users' own layers.


class Holder(layers.Layer):
    """Weights as attributes, in lists, tuples and dicts, one within another."""

    def build(self, input_shape: Any) -> None:
        size = input_shape[-1]
        self.kernel = self.add_weight((size, size), name="kernel")
        self.parts = [self.add_weight((size, size)), {"bias": self.add_weight((size,), "ones")}]
        self.pair = (self.add_weight((size, size)), None, 2.0)
        self.late: list[Any] = []
        self.late.append(self.add_weight((size,), "ones"))
        self.exact = self.add_weight((), "ones", autocast=False)
        self.own = torch.nn.Parameter(torch.ones(()))
        self.count = self.add_weight((), "zeros", trainable=False)
        self.total = self.add_weight((), "zeros", trainable=False)
        self.seen: list[torch.dtype] = []

    def call(self, inputs: Any) -> Any:
        self.seen[:] = [
            weight.dtype
            for weight in (self.kernel, self.parts[0], self.parts[1]["bias"], self.pair[0], self.late[0], self.exact)
        ] + [self.own.dtype]
        self.count.assign_add(1.0)
        with torch.no_grad():
            self.total += 2.0
        outputs = ops.matmul(torch.tanh(inputs @ self.kernel) @ self.parts[0], self.pair[0])
        return outputs * self.late[0] + self.parts[1]["bias"] * self.count

    untracked = layers.Layer.untracked | {"seen"}


@pytest.mark.parametrize("policy", POLICIES)
def test_own_weights_are_read_in_the_compute_type_wherever_they_are(policy: str, rng: np.random.Generator) -> None:
    layer = Holder(dtype=policy)
    inputs = torch.from_numpy(rng.normal(size=(3, 4)).astype("float32"))
    layer.build((None, 4))
    before = {id(weight): (weight.dtype, weight.requires_grad) for weight in layer.weights}
    outputs = layer(inputs)
    compute, kept = (getattr(torch, name) for name in (layer.compute_dtype, layer.variable_dtype))
    assert outputs.dtype is compute
    assert layer.seen == [*(compute,) * 5, kept, torch.float32]
    assert {id(weight): (weight.dtype, weight.requires_grad) for weight in layer.weights} == before
    assert (float(layer.count), float(layer.total)) == (1.0, 2.0)
    outputs.float().sum().backward()
    graded = [layer.kernel, layer.parts[0], layer.parts[1]["bias"], layer.pair[0], layer.late[0]]
    assert all(weight.grad is not None and weight.grad.dtype is kept for weight in graded)
    assert all(isinstance(weight, triarch.Variable) for weight in graded), "outside of a call they are what they were"
    layer(inputs)
    assert float(layer.count) == 2.0


def test_each_layer_inside_has_its_own_type(rng: np.random.Generator) -> None:
    class Pair(layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="mixed_bfloat16")
            self.exact, self.quick = layers.Dense(2, dtype="float32"), layers.Dense(2, dtype="mixed_float16")
            self.module = torch.nn.Linear(2, 2)
            self.found: dict[str, torch.dtype] = {}

        untracked = layers.Layer.untracked | {"found"}

        def call(self, inputs: Any) -> Any:
            parts = {"exact": self.exact(inputs), "quick": self.quick(inputs), "module": self.module(inputs)}
            self.found.update({name: part.dtype for name, part in parts.items()})
            return sum(part.float() for part in parts.values())

    layer = Pair()
    layer(rng.normal(size=(3, 2)).astype("float32"))
    assert layer.found == {"exact": torch.float32, "quick": torch.float16, "module": torch.float32}


@pytest.mark.parametrize("policy", MIXED)
def test_gradients_follow_a_weight_that_was_read_without_them(policy: str) -> None:
    class Watched(layers.Dense):
        def call(self, inputs: Any) -> Any:
            with torch.no_grad():
                self.kernel.norm()
            return super().call(inputs)

    layer = Watched(2, dtype=policy)
    layer(np.ones((1, 2), "float32")).float().sum().backward()
    assert layer.kernel.grad is not None


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("base", [layers.Layer, Model])
def test_what_computes_with_its_own_weights_gets_inputs_of_their_type(policy: str, base: Any) -> None:
    class Own(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(dtype=policy)
            self.inner = layers.Dense(2, dtype=policy)

        def build(self, input_shape: Any) -> None:
            self.inner.build(input_shape)
            self.kernel = self.add_weight((input_shape[-1], 2))

        def call(self, inputs: Any) -> Any:
            return inputs @ self.kernel + self.inner(inputs)

    layer = Own()
    assert str(layer(np.ones((1, 3), "float32")).dtype) == f"torch.{layer.compute_dtype}"


@pytest.mark.parametrize("policy", MIXED)
def test_spectral_normalization_updates_what_is_kept(policy: str) -> None:
    plain, mixed = (
        layers.SpectralNormalization(layers.Dense(3, kernel_initializer="ones", dtype=own), dtype=own)
        for own in ("float32", policy)
    )
    inputs = np.ones((2, 3), "float32")
    for layer in (plain, mixed):
        layer.build((None, 3))
    mixed.set_weights(plain.get_weights())
    for layer in (plain, mixed):
        layer(inputs, training=True)
    for ours, right in zip(mixed.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-6)


def test_copies_of_mixed_layers_read_their_own_weights() -> None:
    layer = Holder(dtype="mixed_bfloat16")
    layer.build((None, 2))
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for weight in other.weights:
            weight.zero_()
    assert as_floats(other(np.ones((1, 2), "float32"))).tolist() == [[0.0, 0.0]]
    assert as_floats(layer(np.ones((1, 2), "float32"))).any()


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("kind", ["dense", "convolution", "recurrent"])
def test_training_in_half_precision(policy: str, kind: str, rng: np.random.Generator) -> None:
    stack: dict[str, Any] = {
        "dense": ((4,), [layers.Dense(8, "relu", dtype=policy)]),
        "convolution": ((6, 6, 2), [layers.Conv2D(4, 3, dtype=policy), layers.BatchNormalization(dtype=policy)]),
        "recurrent": ((5, 3), [layers.Bidirectional(layers.LSTM(4, dtype=policy), dtype=policy)]),
    }
    shape, first = stack[kind]
    model = Sequential([layers.Input(shape), *first, layers.Flatten(dtype=policy), layers.Dense(1, dtype="float32")])
    scale = 1024.0 if policy == "mixed_float16" else None
    model.compile(optimizers.SGD(0.05, loss_scale_factor=scale), "mse")
    x = rng.normal(size=(32, *shape)).astype("float32")
    y = x.reshape(32, -1)[:, :1]
    history = model.fit(x, y, epochs=6, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    assert {weight.dtype for weight in model.weights} == {torch.float32}
