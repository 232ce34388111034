"""Weights of Keras 2 into models made in code, HDF5 files of Keras 3 both ways, and `.keras` files of 2.12 - 2.15."""

from __future__ import annotations

import io
import json
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras_2 as old
import numpy as np
import pytest
from keras_2 import Layer

import triarch
from triarch import callbacks, layers, saving

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

Arrays = dict[str, dict[str, np.ndarray]]


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


def three_layers(rng: np.random.Generator, units: int = 3) -> Arrays:
    return {
        "input_1": {},
        "dense": {"dense/kernel:0": numbers(rng, 6, 5), "dense/bias:0": numbers(rng, 5)},
        "norm": {
            f"norm/{name}:0": np.abs(numbers(rng, 5)) for name in ("gamma", "beta", "moving_mean", "moving_variance")
        },
        "head": {"head/kernel:0": numbers(rng, 5, units), "head/bias:0": numbers(rng, units)},
    }


def model_of(units: int = 3, names: tuple[str, ...] = ("dense", "norm", "head")) -> triarch.Sequential:
    first, second, third = names
    return triarch.Sequential(
        [
            triarch.Input((6,)),
            layers.Dense(5, name=first),
            layers.Dropout(0.5),
            layers.BatchNormalization(name=second),
            layers.Dense(units, name=third),
        ]
    )


def values(arrays: Arrays) -> list[np.ndarray]:
    return [value for layer in arrays.values() for value in layer.values()]


def assert_equal(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


FORMS: dict[str, dict[str, Any]] = {
    "weights": {},
    "whole model": {"model": {}},
    "chunks": {"chunks": 3},
    "texts": {"as_text": True},
    "without a version": {"version": "1.2.2"},
    "with the model's own": {"top_level": {}},
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_in_order(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = three_layers(rng)
    old.write_h5(tmp_path / "w.h5", arrays, **FORMS[form])
    for names in (("dense", "norm", "head"), ("a", "b", "c")):  # as in Keras 2, names say nothing here
        model = model_of(names=names)
        model.load_weights(tmp_path / "w.h5")
        assert_equal(model.get_weights(), values(arrays))


@pytest.mark.parametrize("dtype", ["float64", ">f4", "float16", ">f8"])
def test_number_types(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {
        layer: {name: value.astype(dtype) for name, value in own.items()} for layer, own in three_layers(rng).items()
    }
    old.write_h5(tmp_path / "w.h5", arrays)
    model = model_of()
    model.load_weights(tmp_path / "w.h5")
    assert_equal(model.get_weights(), [value.astype("float32") for value in values(arrays)])


def test_layers_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = three_layers(rng)
    old.write_h5(tmp_path / "w.h5", arrays)
    model = model_of(names=("new", "norm", "dense_9"))
    before = [weight.copy() for weight in model.get_weights()]
    model.load_weights(tmp_path / "w.h5", by_name=True)
    assert_equal(model.get_weights(), [*before[:2], *arrays["norm"].values(), *before[6:]])


@pytest.mark.parametrize("by_name", [False, True])
def test_what_does_not_fit(by_name: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """Nothing changes; or with `skip_mismatch` the rest does, and a warning says what was left."""
    arrays = three_layers(rng)
    old.write_h5(tmp_path / "w.h5", arrays)
    model = model_of(units=9)
    before = [weight.copy() for weight in model.get_weights()]
    message = r"Layer 'head': weight 'head/kernel' has shape \(5, 9\) in the model and \(5, 3\) in the file"
    with pytest.raises(ValueError, match=f"nothing was changed.*{message}"):
        model.load_weights(tmp_path / "w.h5", by_name=by_name)
    assert_equal(model.get_weights(), before)
    with pytest.warns(UserWarning, match=message) as caught:
        model.load_weights(tmp_path / "w.h5", by_name=by_name, skip_mismatch=True)
    assert caught[0].filename == __file__
    assert_equal(model.get_weights(), [*values(arrays)[:6], *before[6:]])


def test_another_number_of_layers(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = three_layers(rng)
    old.write_h5(tmp_path / "w.h5", {"dense": arrays["dense"], "norm": arrays["norm"]})
    with pytest.raises(ValueError, match=r"has 3 layers with weights, the file 2.*by_name=True"):
        model_of().load_weights(tmp_path / "w.h5")


def test_by_name_is_for_the_old_format(tmp_path: Path) -> None:
    model = model_of()
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match="`by_name` is for HDF5 files of Keras 2"):
        model.load_weights(tmp_path / "w.weights.h5", by_name=True)


def test_damage_in_the_last_layer_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    old.write_h5(tmp_path / "w.h5", three_layers(rng))
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        del file["head/head/bias:0"]
        file["head/head/bias:0"] = h5py.SoftLink("/dense/dense/bias:0")
    model = model_of()
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(ValueError, match="link to other data"):
        model.load_weights(tmp_path / "w.h5")
    assert_equal(model.get_weights(), before)


# HDF5 files that Keras 3 writes.


def functional(library: Any) -> Any:
    k = library.layers
    inputs = library.Input((8, 8, 2), name="image")
    x = k.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", name="conv")(inputs)
    x = k.BatchNormalization(name="norm")(x)
    shared = k.Dense(3, activation="hard_sigmoid", name="shared")
    inner = library.Sequential(
        [library.Input((3,)), k.Dense(4, name="in"), k.BatchNormalization(name="nn")], name="inner"
    )
    pooled = library.ops.mean(x, axis=(1, 2))
    joined = k.Concatenate(name="join")([shared(pooled), inner(shared(k.GlobalMaxPooling2D(name="gmp")(x) * 0.5))])
    return library.Model(inputs, [k.Dense(2, name="out")(joined)], name="net")


def recurrent(library: Any) -> Any:
    k = library.layers
    return library.Sequential(
        [
            library.Input((5,), dtype="int32"),
            k.Embedding(9, 4, mask_zero=True, name="embedding"),
            k.Bidirectional(k.LSTM(3, return_sequences=True), name="both"),
            k.TimeDistributed(k.Dense(3), name="each"),
            k.GRU(2, reset_after=False, name="gru"),
            k.Dense(2, name="out"),
        ]
    )


MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "functional": (functional, (8, 8, 2)),
    "recurrent": (recurrent, (5,)),
}


def data(name: str, rng: np.random.Generator) -> np.ndarray:
    shape = MODELS[name][1]
    return rng.integers(0, 9, size=(6, *shape)).astype("int32") if name == "recurrent" else numbers(rng, 6, *shape)


@pytest.fixture(params=["triarch to Keras", "Keras to triarch", "triarch to triarch"])
def pair(request: pytest.FixtureRequest, keras: types.ModuleType) -> tuple[Any, Any]:
    """The library that writes, and the one that reads."""
    keras.utils.set_random_seed(7)
    writer, reader = request.param.split(" to ")
    return {"triarch": triarch, "Keras": keras}[writer], {"triarch": triarch, "Keras": keras}[reader]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
def test_whole_models(name: str, ending: str, pair: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model, x, y = MODELS[name][0](writer), data(name, rng), numbers(rng, 6, 2)
    loss = "mse" if writer is triarch else "mean_squared_error"  # Keras cannot read its own files with a short name
    model.compile(writer.optimizers.Adam(0.01), loss, metrics=["mae"])
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    path = tmp_path / f"m{ending}"
    model.save(str(path))
    again = reader.saving.load_model(str(path))
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    assert float(again.optimizer.learning_rate) == pytest.approx(0.01)
    if writer is reader:  # the same next step, too
        for each in (model, again):
            each.fit(x, y, verbose=0, shuffle=False)
        np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    if reader is triarch:  # Keras leaves the optimizer's state of such files out, with a warning
        for found, wanted in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_allclose(np.asarray(found.numpy()), np.asarray(wanted.numpy()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_weights_out_of_whole_models(name: str, pair: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    writer, reader = pair
    model, x = MODELS[name][0](writer), data(name, rng)
    model.save(str(tmp_path / "m.h5"))
    for options in ({}, {"by_name": True}):
        again = MODELS[name][0](reader)
        again.load_weights(str(tmp_path / "m.h5"), **options)
        np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_without_the_optimizer(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model = triarch.Sequential([triarch.Input((50,)), layers.Dense(50)])
    model.compile("adam", "mse")
    model.fit(numbers(rng, 2, 50), numbers(rng, 2, 50), verbose=0)
    model.save(tmp_path / name, include_optimizer=False)
    size = (tmp_path / name).stat().st_size
    assert not saving.load_model(tmp_path / name).compiled
    model.save(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 2 * size
    assert saving.load_model(tmp_path / name).compiled
    assert not saving.load_model(tmp_path / name, compile=False).compiled


def test_many_layers_with_long_names(tmp_path: Path) -> None:
    """HDF5 keeps no lists of more than 64 KiB, so long ones are spread."""
    name = "a_layer_with_quite_a_long_name_" * 120
    model = triarch.Sequential([triarch.Input((1,)), *(layers.Dense(1, name=f"{name}{n}") for n in range(20))])
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert "layer_names1" in file["model_weights"].attrs
    assert_equal(saving.load_model(tmp_path / "m.h5").get_weights(), model.get_weights())


def test_an_earlier_file_is_kept_where_saving_fails(tmp_path: Path) -> None:
    model = triarch.Sequential([triarch.Input((3,)), layers.Dense(2)])
    model.save(tmp_path / "m.h5")
    before = (tmp_path / "m.h5").read_bytes()
    broken = triarch.Sequential([triarch.Input((3,)), layers.Lambda(lambda x: x)])
    with pytest.raises(ValueError, match="lambda"):
        broken.save(tmp_path / "m.h5")
    assert (tmp_path / "m.h5").read_bytes() == before
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "m.h5", overwrite=False)


def test_model_checkpoint(tmp_path: Path, rng: np.random.Generator) -> None:
    model = triarch.Sequential([triarch.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = numbers(rng, 8, 3), numbers(rng, 8, 2)
    saver = callbacks.ModelCheckpoint(tmp_path / "best.h5", monitor="loss", save_best_only=True)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[saver])
    assert_equal(saving.load_model(tmp_path / "best.h5").get_weights(), model.get_weights())


# `.keras` files of 2.12 - 2.15.


def two_by_two(rng: np.random.Generator) -> list[Layer]:
    """Two layers of each kind, so that numbers count, and a weightless one between."""

    def dense(name: str, units: int, shape: int) -> Layer:
        weights = {"kernel": numbers(rng, shape, units), "bias": numbers(rng, units)}
        return Layer("Dense", name, {"units": units, "activation": "linear", **old.kernel_and_bias()}, weights)

    def norm(name: str, size: int) -> Layer:
        weights = {
            part: np.abs(numbers(rng, size)) + 0.1 for part in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        return Layer("BatchNormalization", name, old.normalization(axis=[1]), weights)

    drop = [Layer("Dropout", f"dropout_{n}", {"rate": 0.5, "noise_shape": None, "seed": None}) for n in range(2)]
    return [
        *(dense("dense_7", 4, 3), norm("n_1", 4), drop[0]),
        *(dense("dense_8", 4, 4), drop[1], norm("n_2", 4), dense("last", 2, 4)),
    ]


@pytest.mark.parametrize("backslashes", [False, True])
@pytest.mark.parametrize("version", ["2.12.0", "2.13.1", "2.14.0", "2.15.0"])
def test_archives(version: str, backslashes: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    found = two_by_two(rng)
    model = old.sequential([old.input_layer((3,), "dense_7_input", graph=False), *found])
    adam = {"module": "keras.optimizers", "class_name": "Adam", "registered_name": None, "config": {
        "name": "Adam", "weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None,
        "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None, "jit_compile": False,
        "is_legacy_optimizer": False, "learning_rate": 0.005, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07,
        "amsgrad": False}}  # fmt: skip
    loss = {"module": "keras.losses", "class_name": "MeanSquaredError", "registered_name": None, "config": {
        "reduction": "auto", "name": "mean_squared_error", "fn": "mean_squared_error"}}  # fmt: skip
    compiled = {"optimizer": adam, "loss": loss, "metrics": ["mae"], "loss_weights": None, "weighted_metrics": None,
                "run_eagerly": None, "steps_per_execution": None, "jit_compile": None}  # fmt: skip
    path = tmp_path / "m.keras"
    learnt = [value for layer in found for name, value in layer.weights.items() if "moving" not in name]
    slots = [numbers(rng, *value.shape) for value in learnt for _ in range(2)]
    old.write_archive(path, model, found, version, compiled, backslashes, [np.int64(9), *slots])
    loaded = saving.load_model(path)
    assert int(loaded.optimizer.iterations) == 9
    assert_equal([variable.numpy() for variable in loaded.optimizer.variables[2:]], slots)
    assert_equal(loaded.get_weights(), [value for layer in found for value in layer.weights.values()])
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.005)
    loaded.fit(numbers(rng, 4, 3), numbers(rng, 4, 2), verbose=0)
    other = saving.load_model(path, compile=False)
    assert not other.compiled
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    other.load_weights(path)
    assert_equal(other.get_weights(), [value for layer in found for value in layer.weights.values()])


def test_an_archive_with_a_graph(tmp_path: Path, rng: np.random.Generator) -> None:
    """With layers shared by two calls, and a function of TensorFlow."""
    kernel = numbers(rng, 3, 3)
    shared = Layer("Dense", "d", {"units": 3, "activation": "relu", **old.kernel_and_bias(use_bias=False)},
                   {"kernel": kernel}, [[["a", 0, 0, {}]], [["d", 0, 0, {}]]])  # fmt: skip
    doubled = Layer("TFOpLambda", "tf.math.multiply", {"function": "math.multiply"}, {},
                    [["d", 1, 0, {"y": 2.0, "name": None}]])  # fmt: skip
    found = [old.input_layer((3,), "a"), shared, doubled]
    model = old.functional(found, [["a", 0, 0]], [["tf.math.multiply", 0, 0]])
    old.write_archive(tmp_path / "m.keras", model, found, "2.13.1")
    x = numbers(rng, 4, 3)
    expected = 2 * np.maximum(np.maximum(x @ kernel, 0) @ kernel, 0)
    found_values = saving.load_model(tmp_path / "m.keras").predict(x, verbose=0)
    np.testing.assert_allclose(found_values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("library", ["triarch", "Keras"])
def test_archives_of_keras_3_on_windows(
    library: str, keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The first releases of Keras 3 made one group of each path there, with backslashes in its name."""
    x = data("recurrent", rng)
    model = recurrent(triarch if library == "triarch" else keras)
    model.compile("adam", "mean_squared_error")
    model.fit(x, numbers(rng, 6, 2), verbose=0)
    model.save(str(tmp_path / "m.keras"))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    flat = io.BytesIO()
    with h5py.File(io.BytesIO(parts["model.weights.h5"])) as source, h5py.File(flat, "w") as target:

        def copy(name: str, found: Any) -> None:
            folders, _, last = name.rpartition("/")
            if isinstance(found, h5py.Group) and last == "vars":
                group = target.create_group(folders.replace("/", "\\")) if folders else target
                source.copy(found, group, "vars")

        source.visititems(copy)
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, flat.getvalue() if name == "model.weights.h5" else content)
    again = saving.load_model(tmp_path / "w.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    assert int(again.optimizer.iterations) == 1


# One output in a list.


def test_one_output_in_a_list(keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator) -> None:
    """Calls and predictions give one tensor, in code and out of files, as in Keras 3."""
    x, y = numbers(rng, 4, 3), numbers(rng, 4, 2)
    inputs = triarch.Input((3,))
    model = triarch.Model(inputs, [layers.Dense(2, name="out")(inputs)])
    theirs = keras.Input((3,))
    reference = keras.Model(theirs, [keras.layers.Dense(2, name="out")(theirs)])
    assert isinstance(model.output, list)
    assert isinstance(reference.output, list)
    assert model.output_shape == reference.output_shape == (None, 2)
    model.save(tmp_path / "m.keras")
    reference.save(tmp_path / "k.keras")
    assert json.loads(zipfile.ZipFile(tmp_path / "m.keras").read("config.json"))["config"]["output_layers"] == [
        ["out", 0, 0]
    ]
    cut = triarch.Model(model.inputs, model.outputs)
    assert isinstance(triarch.models.clone_model(model).output, list)
    for each in (model, *(saving.load_model(tmp_path / name) for name in ("m.keras", "k.keras")), cut):
        assert tuple(each(x).shape) == each.predict(x, verbose=0).shape == (4, 2)
        assert tuple(each.predict_on_batch(x).shape) == (4, 2)
        nested = triarch.Input((3,))
        assert triarch.Model(nested, each(nested) * 2).output_shape == (None, 2)
    for loss, target in (("mse", y), (["mse"], [y]), ({"out": "mse"}, {"out": y})):
        model.compile("sgd", loss, metrics=["mae"])
        model.fit(x, target, verbose=0)
    assert keras.saving.load_model(tmp_path / "m.keras").predict(x, verbose=0).shape == (4, 2)


class Own(triarch.Model):
    """A model of a subclass, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(3, name="first")
        self.second = layers.Dense(2, name="second")

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((2,), "ones", name="scale")
        self.first.build(input_shape)
        self.second.build((None, 3))

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs)) * self.scale


def test_a_subclass_with_weights_of_its_own(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {
        "first": {"own/first/kernel:0": numbers(rng, 4, 3), "own/first/bias:0": numbers(rng, 3)},
        "second": {"own/second/kernel:0": numbers(rng, 3, 2), "own/second/bias:0": numbers(rng, 2)},
    }
    old.write_h5(tmp_path / "w.h5", arrays, top_level={"scale:0": np.full(2, 3, "float32")})
    model = Own()
    with pytest.raises(ValueError, match="no weights to load into yet"):
        model.load_weights(tmp_path / "w.h5")
    x = numbers(rng, 2, 4)
    model(x)
    model.load_weights(tmp_path / "w.h5")
    (first, a), (second, b) = (tuple(own.values()) for own in arrays.values())
    np.testing.assert_allclose(model.predict(x, verbose=0), ((x @ first + a) @ second + b) * 3, rtol=1e-4, atol=1e-5)
