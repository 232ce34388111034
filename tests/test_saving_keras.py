"""Files of real Keras 3 open here and ours open there: same predictions, same next training step."""

from __future__ import annotations

import json
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import triarch
from triarch import saving

Library = types.ModuleType
Pair = tuple[Library, Library]
Layers = Callable[[Any], list[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

DIRECTIONS = ("triarch to Keras", "Keras to triarch")


@pytest.fixture(params=DIRECTIONS)
def pair(request: pytest.FixtureRequest, keras: Library) -> Pair:
    """The library that writes, and the one that reads."""
    keras.utils.set_random_seed(7)
    return (triarch, keras) if request.param == DIRECTIONS[0] else (keras, triarch)


FAMILIES: dict[str, tuple[tuple[int, ...], Layers]] = {
    "dense": ((6,), lambda k: [k.Dense(5, activation="relu"), k.Dense(3, use_bias=False, activation="softmax")]),
    "activations": (
        (6, 2),
        lambda k: [
            k.Activation("tanh"),
            k.ReLU(max_value=3.0, negative_slope=0.1),
            k.LeakyReLU(negative_slope=0.2),
            k.ELU(alpha=0.5),
            k.PReLU(shared_axes=[1]),
            k.Softmax(axis=-1),
        ],
    ),
    "shapes": (
        (4, 6),
        lambda k: [k.Rescaling(0.5, offset=1.0), k.Permute((2, 1)), k.Reshape((-1, 2)), k.Identity(), k.Flatten()],
    ),
    "convolutions of one axis": (
        (16, 3),
        lambda k: [k.Conv1D(4, 3, padding="causal", dilation_rate=2), k.Conv1D(4, 3, strides=2, groups=2), k.Dense(2)],
    ),
    "convolutions of two axes": (
        (9, 8, 3),
        lambda k: [
            k.Conv2D(4, (3, 2), padding="same", activation="elu"),
            k.Conv2D(6, 3, strides=2, use_bias=False, kernel_initializer="he_normal", kernel_regularizer="l2"),
            k.Conv2D(2, 2, bias_constraint="non_neg"),
        ],
    ),
    "convolutions of three axes": ((5, 5, 5, 2), lambda k: [k.Conv3D(3, 3, padding="same"), k.Conv3D(2, 2)]),
    "pooling of one axis": (
        (16, 3),
        lambda k: [k.MaxPooling1D(2), k.AveragePooling1D(3, strides=1, padding="same"), k.GlobalMaxPooling1D()],
    ),
    "pooling of two axes": (
        (9, 9, 2),
        lambda k: [k.MaxPooling2D(2, padding="same"), k.AveragePooling2D((2, 1)), k.GlobalAveragePooling2D()],
    ),
    "pooling of three axes": (
        (6, 6, 6, 2),
        lambda k: [k.MaxPooling3D(2), k.AveragePooling3D(2, strides=1), k.GlobalMaxPooling3D(keepdims=True)],
    ),
    "other global pooling": ((8, 2), lambda k: [k.GlobalAveragePooling1D()]),
    "dropout": (
        (6, 6, 2),
        lambda k: [
            k.Dropout(0.3, seed=3),
            k.SpatialDropout2D(0.2),
            k.Conv2D(2, 3),
            k.Dropout(0.1),
            k.Flatten(),
            k.Dense(2),
        ],
    ),
    "dropout of one and three axes": (
        (4, 4, 4, 2),
        lambda k: [k.SpatialDropout3D(0.2), k.Reshape((16, 8)), k.SpatialDropout1D(0.2), k.Dense(2)],
    ),
    "channels first": ((3, 8, 8), lambda k: [k.Reshape((8, 8, 3)), k.Conv2D(4, 3, data_format="channels_last")]),
}


def sequential(library: Library, family: str) -> Any:
    shape, make = FAMILIES[family]
    return library.Sequential([library.Input(shape), *make(library.layers)])


def read(library: Library, path: Path, **arguments: Any) -> Any:
    return library.saving.load_model(path, **arguments)


def weights_of(model: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.get_weights()]


def as_json(config: Any) -> Any:
    return json.loads(json.dumps(config))


def assert_close(first: list[np.ndarray], second: list[np.ndarray], atol: float = 1e-5) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_layers(pair: Pair, family: str, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = sequential(writer, family)
    model.set_weights([rng.normal(0, 0.5, weight.shape).astype("float32") for weight in model.get_weights()])
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    x = rng.normal(size=(3, *FAMILIES[family][0])).astype("float32")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    loaded.save(tmp_path / "back.keras")
    again = read(writer, tmp_path / "back.keras")
    assert as_json(again.get_config()) == as_json(model.get_config())
    assert_close(weights_of(again), weights_of(model), atol=0)


def classifier(library: Library, optimizer: Any) -> Any:
    k = library.layers
    model = library.Sequential(
        [
            library.Input((6, 6, 1)),
            k.Conv2D(3, 3, activation="relu"),
            k.MaxPooling2D(2),
            k.Flatten(),
            k.Dense(4, activation="softmax"),
        ]
    )
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy", library.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
        loss_weights=[0.5],
    )
    return model


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda k: k.SGD(0.05, momentum=0.9, nesterov=True),
    "SGD plain": lambda k: "sgd",
    "Adam": lambda k: k.Adam(0.01),
    "Adam amsgrad": lambda k: k.Adam(0.01, amsgrad=True, clipnorm=1.0),
    "AdamW": lambda k: k.AdamW(0.01, weight_decay=0.1),
    "Adamax": lambda k: k.Adamax(0.01),
    "Nadam": lambda k: k.Nadam(0.01),
    "RMSprop": lambda k: k.RMSprop(0.01, momentum=0.5, centered=True),
    "Adagrad": lambda k: k.Adagrad(0.05),
    "Adadelta": lambda k: k.Adadelta(1.0),
    "Lion": lambda k: k.Lion(0.003),
    "schedule": lambda k: k.Adam(k.schedules.ExponentialDecay(0.01, 2, 0.5)),
    "averages": lambda k: k.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "accumulation": lambda k: k.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
}


def images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(8, 6, 6, 1)).astype("float32"), rng.integers(0, 4, 8)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_in_the_other_library(pair: Pair, kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = classifier(writer, OPTIMIZERS[kind](writer.optimizers))
    x, y = images(rng)
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    states = [[np.asarray(variable) for variable in each.optimizer.variables] for each in (model, loaded)]
    assert_close(*states, atol=0)
    assert type(loaded.optimizer).__name__ == type(model.optimizer).__name__
    for each in (model, loaded):
        each.train_on_batch(x, y)
    assert_close(weights_of(model), weights_of(loaded))
    logs = [each.evaluate(x, y, verbose=0, return_dict=True) for each in (model, loaded)]
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)


def test_a_model_with_dropout_fitted_in_both(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = sequential(writer, "dropout")
    model.compile("adam", "mse")
    x, y = rng.normal(size=(8, 6, 6, 2)), rng.normal(size=(8, 2))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    loaded.fit(x, y, verbose=0)
    loaded.save(tmp_path / "back.keras")
    again = read(writer, tmp_path / "back.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), loaded.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    again.fit(x, y, verbose=0)
    assert int(again.optimizer.iterations) == 3


def test_compiled_but_never_fitted(pair: Pair, tmp_path: Path) -> None:
    writer, reader = pair
    model = classifier(writer, "adam")
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="optimizer|Optimizer"):
        loaded = read(reader, tmp_path / "m.keras")
    assert_close(weights_of(loaded), weights_of(model), atol=0)
    assert int(loaded.optimizer.iterations) == 0


def test_weights_alone(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model, other = classifier(writer, "adam"), classifier(reader, "adam")
    model.train_on_batch(*images(rng))
    other.train_on_batch(*images(rng))
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    assert_close(weights_of(other), weights_of(model), atol=0)
    states = [[np.asarray(variable) for variable in each.optimizer.variables] for each in (model, other)]
    assert_close(*states, atol=0)


def network_class(library: Library) -> type:
    """A subclassed model with layers in attributes, lists in lists, dicts and a nested model, of one library."""
    k = library.layers

    @library.saving.register_keras_serializable(package="parity")
    class Gain(k.Layer):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.widen = k.Dense(units)

        def build(self, input_shape: Any) -> None:
            self.widen.build(input_shape)
            self.gain = self.add_weight(shape=(self.units,), initializer="random_normal", name="gain")

        def call(self, inputs: Any) -> Any:
            return self.widen(inputs) * self.gain

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    @library.saving.register_keras_serializable(package="parity")
    class Network(library.Model):
        def __init__(self, units: int = 3, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.zeta = k.Dense(units, activation="relu")
            self.gain = Gain(units)
            self.blocks = [k.Dense(units), [k.Dense(units)]]
            self.named = {"b": k.Dense(units), "a": k.Dense(units)}
            self.inner = library.Sequential([k.Dense(4, activation="tanh"), k.Dense(units)])
            self.drop = k.Dropout(0.2)
            self._hidden = k.Dense(2)

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            x = self.gain(self.zeta(inputs))
            x = self.blocks[0](x) + self.blocks[1][0](x) + self.named["b"](x) - self.named["a"](x)
            return self._hidden(self.drop(self.inner(x), training=training))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    return Network


def test_subclassed_models(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = network_class(writer)(4)
    network_class(reader)
    model.compile("adam", "mse", metrics=["mae"])
    x, y = rng.normal(size=(8, 5)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    states = [[np.asarray(variable) for variable in each.optimizer.variables] for each in (model, loaded)]
    assert_close(*states, atol=0)


def test_nested_models(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    k = writer.layers
    inner = writer.Sequential([writer.Input((6,)), k.Dense(4, activation="relu"), k.Dense(3)], name="inner")
    model = writer.Sequential([writer.Input((6,)), inner, writer.Sequential([k.Dense(2), k.Dense(2)]), k.Dense(1)])
    model.compile("adam", "mse")
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    for each in (model, loaded):
        each.train_on_batch(x, y)
    assert_close(weights_of(model), weights_of(loaded))


def swish_like(x: Any) -> Any:
    return x * 0.5


def offset_loss(y_true: Any, y_pred: Any) -> Any:
    return abs(y_true - y_pred).mean()


def test_functions_given_as_custom_objects(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = writer.Sequential([writer.Input((4,)), writer.layers.Dense(3, activation=swish_like)])
    model.compile("sgd", offset_loss)
    x, y = rng.normal(size=(4, 4)).astype("float32"), rng.normal(size=(4, 3)).astype("float32")
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    custom = {"swish_like": swish_like, "offset_loss": offset_loss}
    loaded = read(reader, tmp_path / "m.keras", custom_objects=custom)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), abs=1e-5)


def test_a_registered_function_in_a_lambda_layer(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    for library in pair:
        library.saving.register_keras_serializable(package="parity")(swish_like)
    model = writer.Sequential([writer.Input((4,)), writer.layers.Lambda(swish_like), writer.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    x = rng.normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_a_model_without_input_shape(pair: Pair, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model = writer.Sequential([writer.layers.Dense(4), writer.layers.Dense(2)])
    x = rng.normal(size=(3, 5)).astype("float32")
    model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = read(reader, tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def test_a_lambda_of_keras_is_refused(keras: Library, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="run code from the file; this is refused"):
        saving.load_model(tmp_path / "m.keras")


# Spellings of other versions and backends of Keras 3.


def dtype_as_string(config: dict[str, Any]) -> None:
    for layer in config["config"]["layers"][1:]:
        layer["config"]["dtype"] = "float32"


def shape_on_the_first_layer(config: dict[str, Any]) -> None:
    layers = config["config"]["layers"]
    layers[1]["config"]["batch_input_shape"] = layers.pop(0)["config"]["batch_shape"]


def optimizer_module(module: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        config["compile_config"]["optimizer"]["module"] = module

    return change


def no_arguments_of_newer_versions(config: dict[str, Any]) -> None:
    for layer in config["config"]["layers"]:
        for name in ("quantization_config", "lora_rank"):
            layer["config"].pop(name, None)


VARIANTS = {
    "dtype as a string": dtype_as_string,
    "shape on the first layer": shape_on_the_first_layer,
    "optimizer in its own module": optimizer_module("keras.src.optimizers.adam"),
    "optimizer in the public module": optimizer_module("keras.optimizers"),
    "older version": no_arguments_of_newer_versions,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_spellings_of_other_versions(keras: Library, variant: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model = classifier(keras, "adam")
    x, y = images(rng)
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "v.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                VARIANTS[variant](config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    loaded = saving.load_model(tmp_path / "v.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    assert int(loaded.optimizer.iterations) == 1
