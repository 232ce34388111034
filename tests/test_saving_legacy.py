"""Whole models of Keras 2 in HDF5 files: graphs, what changed its meaning, what is refused, and descriptions alone."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import h5py
import keras_2 as old
import numpy as np
import pytest
from keras_2 import Layer, address, called, dense, numbers, save_graph

import triarch
from triarch import layers, models, saving

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


# Graphs.


def test_shared_layers_and_several_inputs_and_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    kernel, bias, head = numbers(rng, 3, 4), numbers(rng, 4), numbers(rng, 8, 2)
    shared = dense("shared", 4, [[["a", 0, 0, {}]], [["b", 0, 0, {}]]], "tanh", kernel=kernel, bias=bias)
    merged = Layer("Concatenate", "merged", {"axis": -1}, {}, [[["shared", 0, 0, {}], ["shared", 1, 0, {}]]])
    out = dense("out", 2, called("merged"), kernel=head, bias=np.zeros(2, "float32"))
    total = Layer("Add", "total", {}, {}, [[["shared", 1, 0, {}], ["shared", 0, 0, {}]]])
    path = save_graph(
        tmp_path,
        [old.input_layer((3,), "a"), old.input_layer((3,), "b"), shared, merged, total, out],
        [address("a"), address("b")],
        [address("out"), address("total")],
    )
    model = saving.load_model(path)
    a, b = numbers(rng, 5, 3), numbers(rng, 5, 3)
    first, second = (np.tanh(x @ kernel + bias) for x in (a, b))
    for inputs in ([a, b], {"a": a, "b": b}):
        found = model.predict(inputs, verbose=0)
        np.testing.assert_allclose(found[0], np.concatenate([first, second], -1) @ head, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], first + second, rtol=1e-4, atol=1e-5)


def test_a_model_of_one_output_in_a_list_gives_a_tensor(tmp_path: Path, rng: np.random.Generator) -> None:
    out = dense("out", 2, called("a"), kernel=numbers(rng, 3, 2), bias=numbers(rng, 2))
    model = saving.load_model(save_graph(tmp_path, [old.input_layer((3,), "a"), out], [address("a")], [address("out")]))
    assert tuple(model(numbers(rng, 4, 3)).shape) == (4, 2)


@pytest.mark.parametrize("kind", ["Sequential", "Functional", "Model"])
def test_models_within_a_model(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Keras 2 counts the calls of models from 1; their weights lie in one group, those that are learnt first."""
    kernel, gamma, beta, mean, variance, last = (
        numbers(rng, *shape) for shape in ((3, 4), (4,), (4,), (4,), (4,), (4, 2))
    )
    variance = np.abs(variance) + 0.2
    norm = old.normalization(axis=[1])
    source = old.input_layer((3,), "inner_input", graph=kind != "Sequential")
    graph = kind != "Sequential"
    inside = [
        source,
        dense("d", 4, called("inner_input") if graph else None),
        Layer("BatchNormalization", "n", norm, {}, called("d") if graph else None),
        dense("e", 2, called("n") if graph else None),
    ]
    inner = old.functional(inside, [address("inner_input")], [address("e")], "inner", kind)
    if kind == "Sequential":
        inner = old.sequential(inside, "inner")
    arrays = {
        "d/kernel:0": kernel, "n/gamma:0": gamma, "n/beta:0": beta, "e/kernel:0": last,
        "n/moving_mean:0": mean, "n/moving_variance:0": variance,
    }  # fmt: skip
    entries = [
        old.input_layer((3,), "a").entry(),
        {**inner, "name": "inner", "inbound_nodes": called("a")},
        Layer("ReLU", "positive", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}, {},
              [[["inner", 1, 0, {}]]]).entry(),
    ]  # fmt: skip
    ends = {"input_layers": [address("a")], "output_layers": [["positive", 0, 0]]}
    outer = {"class_name": kind if graph else "Functional", "config": {"name": "outer", "layers": entries, **ends}}
    old.write_h5(tmp_path / "m.h5", {"a": {}, "inner": arrays, "positive": {}}, outer, version="2.3.0-tf")
    x = numbers(rng, 5, 3)
    expected = np.maximum((((x @ kernel) - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ last, 0)
    found = saving.load_model(tmp_path / "m.h5").predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_frozen_layers_of_an_inner_model(tmp_path: Path, rng: np.random.Generator) -> None:
    """What was not learnt when the file was written stands after what was."""
    first, second, third = (numbers(rng, 3, 3) for _ in range(3))

    def plain(name: str) -> Layer:
        return Layer("Dense", name, {"units": 3, "activation": "linear", **old.kernel_and_bias(use_bias=False)})

    inside = [old.input_layer((3,), "i", graph=False), plain("one"), plain("two"), plain("three")]
    inner = old.sequential(inside, "inner")
    inner["config"]["layers"][1]["config"]["trainable"] = False
    outer = {"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}}
    arrays = {"two/kernel:0": second, "three/kernel:0": third, "one/kernel:0": first}
    old.write_h5(tmp_path / "m.h5", {"inner": arrays}, outer)
    model = saving.load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(model.get_weights()[0], first)
    made = triarch.Sequential([triarch.Input((3,)), triarch.Sequential([triarch.Input((3,))] + [
        layers.Dense(3, use_bias=False, name=name) for name in ("one", "two", "three")], name="inner")])  # fmt: skip
    made.load_weights(tmp_path / "m.h5")  # here all are learnt
    for found, wanted in zip(made.get_weights(), (first, second, third), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_first_states_of_a_recurrent_layer(keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator) -> None:
    """An encoder's states begin a decoder, as in models of translation: Keras 2 has them among the call's inputs."""
    settings = old.recurrent(recurrent_activation="sigmoid", unit_forget_bias=True, implementation=2)

    def lstm(name: str, inbound: Any, **given: Any) -> Layer:
        shapes = (("lstm_cell/kernel", (2, 16)), ("lstm_cell/recurrent_kernel", (4, 16)), ("lstm_cell/bias", (16,)))
        weights = {part: numbers(rng, *shape) for part, shape in shapes}
        return Layer("LSTM", name, settings | given, weights, inbound)

    encoder = lstm("encoder", called("source"), return_state=True)
    states = [["encoder", 0, 1, {}], ["encoder", 0, 2, {}]]
    decoder = lstm("decoder", [[["target", 0, 0, {}], *states]], return_sequences=True, return_state=True)
    entrances = [old.input_layer((None, 2), "source"), old.input_layer((None, 2), "target")]
    path = save_graph(
        tmp_path, [*entrances, encoder, decoder], [address("source"), address("target")], [address("decoder")],
        version="2.2.4-tf",
    )  # fmt: skip
    model = saving.load_model(path)
    x, y = numbers(rng, 3, 5, 2), numbers(rng, 3, 4, 2)
    one, other = keras.layers.LSTM(4, return_state=True), keras.layers.LSTM(4, return_sequences=True)
    for layer, weights in ((one, encoder.weights), (other, decoder.weights)):
        layer.build((None, None, 2))
        layer.set_weights(list(weights.values()))
    expected = other(y, initial_state=list(one(x)[1:])).detach().numpy()
    np.testing.assert_allclose(model.predict([x, y], verbose=0), expected, rtol=1e-4, atol=1e-5)


# What changed its meaning.


def test_the_hard_sigmoid_of_keras_2(tmp_path: Path, rng: np.random.Generator) -> None:
    """It was `0.2 x + 0.5`, cut; Keras 3 has another function of this name."""
    source = old.input_layer((6,), "a", graph=False)
    model = old.sequential([source, Layer("Activation", "hard", {"activation": "hard_sigmoid"})])
    old.write_h5(tmp_path / "m.h5", {"hard": {}}, model, version="2.2.4")
    x = numbers(rng, 4, 6) * 3
    loaded = saving.load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), np.clip(0.2 * x + 0.5, 0, 1), rtol=1e-5, atol=1e-6)
    loaded.save(tmp_path / "m.keras")
    again = saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), np.clip(0.2 * x + 0.5, 0, 1), rtol=1e-5, atol=1e-6)


def test_an_lstm_of_the_first_releases(tmp_path: Path, rng: np.random.Generator) -> None:
    kernel, recurrent, bias = numbers(rng, 3, 16), numbers(rng, 4, 16), numbers(rng, 16)
    config = old.recurrent(recurrent_activation="hard_sigmoid", unit_forget_bias=True, implementation=1)
    layer = Layer("LSTM", "lstm_1", config, {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias})
    entry = layer.entry()
    entry["config"]["batch_input_shape"] = [None, 5, 3]
    old.write_h5(
        tmp_path / "m.h5", {"lstm_1": old.h5_names(layer)}, {"class_name": "Sequential", "config": [entry]},
        version="2.1.2",
    )  # fmt: skip
    x = numbers(rng, 2, 5, 3)
    h = c = np.zeros((2, 4), "float32")
    for step in range(5):
        i, f, z, o = np.split(x[:, step] @ kernel + h @ recurrent + bias, 4, 1)
        i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        c = f * c + i * np.tanh(z)
        h = o * np.tanh(c)
    np.testing.assert_allclose(saving.load_model(tmp_path / "m.h5").predict(x, verbose=0), h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_of_cudnn(
    kind: str, wrapped: bool, keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator
) -> None:
    """cuDNN keeps each gate's matrices transposed, and two biases."""
    gates = 4 if kind == "LSTM" else 3
    reference = getattr(keras.layers, kind)(4)
    reference = keras.layers.Bidirectional(reference) if wrapped else reference
    reference.build((None, 5, 3))
    reference.set_weights([numbers(rng, *weight.shape) for weight in reference.weights])
    arrays: dict[str, np.ndarray] = {}
    for place, value in enumerate(reference.get_weights()):
        name, way = ("kernel", "recurrent_kernel", "bias")[place % 3], "fb"[place // 3]
        if name == "bias":
            value = np.concatenate([value * 0.25, value * 0.75]) if kind == "LSTM" else value.reshape(-1)
        elif name == "kernel":
            value = np.hstack([part.T.reshape(part.shape) for part in np.split(value, gates, 1)])
        else:
            value = np.hstack([part.T for part in np.split(value, gates, 1)])
        arrays[f"{way}/{name}"] = value
    config = {key: value for key, value in old.recurrent().items() if key not in ("activation", "use_bias", "unroll")}
    del config["dropout"], config["recurrent_dropout"]
    layer = Layer(f"CuDNN{kind}", "rnn", config, arrays)
    if wrapped:
        inner = Layer(f"CuDNN{kind}", "inner", config).entry()
        layer = Layer("Bidirectional", "rnn", {"layer": inner, "merge_mode": "concat"}, arrays)
    model = old.sequential([old.input_layer((5, 3), "a", graph=False), layer])
    old.write_h5(tmp_path / "m.h5", {"rnn": old.h5_names(layer)}, model, version="2.2.4")
    x = numbers(rng, 2, 5, 3)
    expected = reference(x).detach().numpy()
    np.testing.assert_allclose(
        saving.load_model(tmp_path / "m.h5").predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5
    )


def test_a_mixed_policy(tmp_path: Path, rng: np.random.Generator) -> None:
    layer = dense("out", 2, None, kernel=numbers(rng, 3, 2), bias=numbers(rng, 2))
    layer.config["dtype"] = {"class_name": "Policy", "config": {"name": "mixed_bfloat16", "loss_scale": None}}
    model = old.sequential([old.input_layer((3,), "a", graph=False), layer])
    old.write_h5(tmp_path / "m.h5", {"out": old.h5_names(layer)}, model, version="2.4.0")
    loaded = saving.load_model(tmp_path / "m.h5")
    assert (loaded.layers[0].compute_dtype, loaded.layers[0].variable_dtype) == ("bfloat16", "float32")


def test_a_model_that_begins_with_a_model(tmp_path: Path, rng: np.random.Generator) -> None:
    """Older versions leave the input layer of a Sequential model out, however deep the shape of inputs is said."""
    kernel, head = numbers(rng, 3, 4), numbers(rng, 4, 2)
    inside = [old.input_layer((3,), "i"), dense("d", 4, called("i"), kernel=kernel, bias=np.zeros(4, "float32"))]
    inner = old.functional(inside, [address("i")], [address("d")], "base", "Model")
    top = dense("top", 2, None, kernel=head, bias=np.zeros(2, "float32"))
    model = {"class_name": "Sequential", "config": [inner, top.entry()]}
    weights = {"base": dict(old.h5_names(inside[1]).items()), "top": old.h5_names(top)}
    old.write_h5(tmp_path / "m.h5", weights, model, version="2.2.0")
    x = numbers(rng, 2, 3)
    found = saving.load_model(tmp_path / "m.h5").predict(x, verbose=0)
    np.testing.assert_allclose(found, x @ kernel @ head, rtol=1e-4, atol=1e-5)


# Classes of the user's, and what is refused.


class Scale(layers.Layer):
    """A layer in the style of Keras 2."""

    def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gain")

    def call(self, inputs: Any) -> Any:
        return inputs * self.gain * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@pytest.mark.parametrize("class_name", ["Scale", "Own>Scale"])
def test_layers_of_the_user(class_name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    gain = numbers(rng, 3)
    layer = Layer(class_name, "scale", {"factor": 2.0, "batch_input_shape": [None, 3]}, {"gain": gain})
    old.write_h5(tmp_path / "m.h5", {"scale": old.h5_names(layer)}, old.sequential([layer]))
    with pytest.raises(ValueError, match=f"refers to {class_name!r}.*custom_objects"):
        saving.load_model(tmp_path / "m.h5")
    x = numbers(rng, 2, 3)
    found = saving.load_model(tmp_path / "m.h5", custom_objects={class_name: Scale}).predict(x, verbose=0)
    np.testing.assert_allclose(found, x * gain * 2, rtol=1e-5)


def test_layers_of_the_user_are_not_taken_for_ones_of_the_same_name(tmp_path: Path) -> None:
    layer = Layer("Own>Dense", "d", {"units": 2, "layers": [3, 4]})
    old.write_h5(tmp_path / "m.h5", {"d": {}}, old.sequential([old.input_layer((3,), "a", graph=False), layer]))
    with pytest.raises(ValueError, match="refers to 'Own>Dense'"):
        saving.load_model(tmp_path / "m.h5")


LAMBDA = {"function": ["4wEAAAABAAAAAQAAAAIAAABTAAAAcwgAAAB8AGQBFABTAA==\n", None, None], "function_type": "lambda",
          "module": "__main__", "output_shape": None, "output_shape_type": "raw", "output_shape_module": None,
          "arguments": {}}  # fmt: skip
REFUSED = {
    "byte code": (Layer("Lambda", "f", LAMBDA), "lambda that would have to run code"),
    "function of a module": (
        Layer("Lambda", "f", LAMBDA | {"function": "system", "function_type": "function", "module": "os"}),
        "'system'",
    ),
    "renormalization": (Layer("BatchNormalization", "f", old.normalization(axis=[1], renorm=True)), "renorm=True"),
    "time first": (Layer("LSTM", "f", old.recurrent(time_major=True)), "time_major=True"),
    "unknown layer": (Layer("Capsule", "f", {}), "'Capsule'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_counterpart_is_refused(kind: str, tmp_path: Path) -> None:
    layer, message = REFUSED[kind]
    model = old.sequential([old.input_layer((3,), "a", graph=False), layer])
    old.write_h5(tmp_path / "m.h5", {"f": {}}, model)
    with pytest.raises(ValueError, match=message) as error:
        saving.load_model(tmp_path / "m.h5")
    assert str(tmp_path / "m.h5") in str(error.value)


def test_a_lambda_that_names_a_function(tmp_path: Path, rng: np.random.Generator) -> None:
    layer = Layer("Lambda", "f", LAMBDA | {"function": "double", "function_type": "function"})
    model = old.sequential([old.input_layer((3,), "a", graph=False), layer])
    old.write_h5(tmp_path / "m.h5", {"f": {}}, model)
    x = numbers(rng, 2, 3)
    found = saving.load_model(tmp_path / "m.h5", custom_objects={"double": lambda value: value * 2})
    np.testing.assert_allclose(found.predict(x, verbose=0), x * 2)


# Damage.


def good(path: Path) -> Path:
    rng = np.random.default_rng(3)
    layer = dense("out", 2, None, kernel=numbers(rng, 3, 2), bias=numbers(rng, 2))
    model = old.sequential([old.input_layer((3,), "a", graph=False), layer])
    old.write_h5(path / "m.h5", {"out": old.h5_names(layer)}, model)
    return path / "m.h5"


def replaced(file: h5py.File, value: Any) -> None:
    group = file["model_weights/out/out"]
    del group["kernel:0"]
    group["kernel:0"] = value


def said(holder: Any, name: str, value: Any) -> None:
    del holder.attrs[name]
    holder.attrs[name] = value


DAMAGES: dict[str, tuple[Any, str]] = {
    "no json": (lambda f: said(f, "model_config", b"{"), "'model_config' is damaged"),
    "deep json": (lambda f: said(f, "model_config", b"[" * 20_000), "damaged"),
    "a list": (lambda f: said(f, "model_config", b"[1]"), "does not describe a model"),
    "a number": (lambda f: said(f, "model_config", 3), "Expected a text"),
    "a layer that is not there": (lambda f: said(f["model_weights"], "layer_names", [b"out", b"more"]), "'more'"),
    "a weight that is not there": (
        lambda f: said(f["model_weights/out"], "weight_names", [b"out/kernel:0", b"x"]),
        "damaged",
    ),
    "too few": (lambda f: said(f["model_weights/out"], "weight_names", [b"out/bias:0"]), "2 weights, the file has 1"),
    "names that are numbers": (lambda f: said(f["model_weights/out"], "weight_names", [1, 2]), "Expected a text"),
    "another shape": (lambda f: replaced(f, np.zeros((2, 3), "float32")), r"shape \(3, 2\) in the model and \(2, 3\)"),
    "a link": (lambda f: replaced(f, h5py.SoftLink("/model_weights/out/out/bias:0")), "link to other data"),
    "a link outside": (lambda f: replaced(f, h5py.ExternalLink("/etc/hostname", "/")), "link to other data"),
    "texts": (lambda f: replaced(f, np.array([[b"a"] * 2] * 3)), "Expected numbers"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_files_are_refused(kind: str, tmp_path: Path) -> None:
    change, message = DAMAGES[kind]
    path = good(tmp_path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=message) as error:
        saving.load_model(path)
    assert str(path) in str(error.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = good(tmp_path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match="damaged"):
        saving.load_model(path)


# Descriptions alone.


def test_json_of_keras_2(tmp_path: Path) -> None:
    layer = Layer("Conv2D", "conv", old.convolution(2), {}, called("input_1"))
    model = old.functional([old.input_layer((7, 6, 2)), layer], [address("input_1")], [address("conv")])
    text = json.dumps({**model, "keras_version": "2.15.0", "backend": "tensorflow"})
    assert models.model_from_json(text).output_shape == (None, 5, 4, 4)
    assert triarch.Model.from_config(model["config"]).output_shape == (None, 5, 4, 4)
    entries = old.sequential([old.input_layer((6,), graph=False), dense("d", 3)])
    assert models.model_from_json(json.dumps({**entries, "keras_version": "2.4.0"})).output_shape == (None, 3)
    assert triarch.Sequential.from_config(entries["config"]).output_shape == (None, 3)
