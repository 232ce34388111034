"""Whole models of Keras 2 in HDF5 files: graphs, functions of TensorFlow, how they were compiled, and what is refused."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import h5py
import keras_2 as old
import numpy as np
import pytest
from keras_2 import Layer, called

import triarch
from triarch import layers, models, saving

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


def dense(name: str, units: int, inbound: Any = None, activation: str = "linear", **weights: np.ndarray) -> Layer:
    return Layer("Dense", name, {"units": units, "activation": activation, **old.kernel_and_bias()}, weights, inbound)


def save(path: Path, layers: list[Layer], inputs: Any, outputs: Any, **more: Any) -> Path:
    model = old.functional(layers, inputs, outputs)
    old.write_h5(path / "m.h5", {layer.name: old.h5_names(layer) for layer in layers}, model, **more)
    return path / "m.h5"


def address(name: str, index: int = 0) -> list[Any]:
    return [name, 0, index]


# Graphs.


def test_shared_layers_and_several_inputs_and_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    kernel, bias, head = numbers(rng, 3, 4), numbers(rng, 4), numbers(rng, 8, 2)
    shared = dense("shared", 4, [[["a", 0, 0, {}]], [["b", 0, 0, {}]]], "tanh", kernel=kernel, bias=bias)
    merged = Layer("Concatenate", "merged", {"axis": -1}, {}, [[["shared", 0, 0, {}], ["shared", 1, 0, {}]]])
    out = dense("out", 2, called("merged"), kernel=head, bias=np.zeros(2, "float32"))
    total = Layer("Add", "total", {}, {}, [[["shared", 1, 0, {}], ["shared", 0, 0, {}]]])
    path = save(
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
    model = saving.load_model(save(tmp_path, [old.input_layer((3,), "a"), out], [address("a")], [address("out")]))
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
        Layer("Dense", "d", {"units": 4, "activation": "linear", **old.kernel_and_bias(use_bias=False)}, {}, called("inner_input") if graph else None),
        Layer("BatchNormalization", "n", norm, {}, called("d") if graph else None),
        Layer("Dense", "e", {"units": 2, "activation": "linear", **old.kernel_and_bias(use_bias=False)}, {}, called("n") if graph else None),
    ]  # fmt: skip
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
    """An encoder's states begin a decoder, as in models of translation: Keras 2 has them among the inputs of the call."""
    settings = old.recurrent(recurrent_activation="sigmoid", unit_forget_bias=True, implementation=2)

    def lstm(name: str, inbound: Any, **given: Any) -> Layer:
        shapes = (("lstm_cell/kernel", (2, 16)), ("lstm_cell/recurrent_kernel", (4, 16)), ("lstm_cell/bias", (16,)))
        weights = {part: numbers(rng, *shape) for part, shape in shapes}
        return Layer("LSTM", name, settings | given, weights, inbound)

    encoder = lstm("encoder", called("source"), return_state=True)
    states = [["encoder", 0, 1, {}], ["encoder", 0, 2, {}]]
    decoder = lstm("decoder", [[["target", 0, 0, {}], *states]], return_sequences=True, return_state=True)
    entrances = [old.input_layer((None, 2), "source"), old.input_layer((None, 2), "target")]
    path = save(
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


# Functions of TensorFlow between the layers.


def tf_function(name: str, function: str, inbound: Any, kind: str = "TFOpLambda") -> Layer:
    return Layer(kind, name, {"function": function}, {}, inbound)


X, Y = (np.linspace(-2, 2, 24, dtype="float32").reshape(2, 3, 4) + shift for shift in (0.1, 0.35))
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "math.multiply": (["x", 0, 0, {"y": 2.0, "name": None}], X * 2),
    "__operators__.add": (["x", 0, 0, {"y": ["y", 0, 0], "name": None}], X + Y),
    "math.subtract": (["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0], "name": None}], 1 - X),
    "math.truediv": (["x", 0, 0, {"y": ["y", 0, 0], "name": None}], X / Y),
    "math.pow": (["x", 0, 0, {"y": 2, "name": None}], X**2),
    "math.reduce_mean": (["x", 0, 0, {"axis": [1, 2], "keepdims": True}], X.mean((1, 2), keepdims=True)),
    "math.reduce_sum": (["x", 0, 0, {"axis": -1, "keepdims": False}], X.sum(-1)),
    "math.reduce_max": (["x", 0, 0, {"axis": 1}], X.max(1)),
    "concat": ([["x", 0, 0, {"axis": -1}], ["y", 0, 0, {"axis": -1}]], np.concatenate([X, Y], -1)),
    "stack": ([["x", 0, 0, {"axis": 1}], ["y", 0, 0, {"axis": 1}]], np.stack([X, Y], 1)),
    "reshape": (["x", 0, 0, {"shape": [-1, 12]}], X.reshape(-1, 12)),
    "compat.v1.transpose": (["x", 0, 0, {"perm": [0, 2, 1]}], X.transpose(0, 2, 1)),
    "expand_dims": (["x", 0, 0, {"axis": 1}], X[:, None]),
    "cast": (["x", 0, 0, {"dtype": "float64"}], X.astype("float64")),
    "clip_by_value": (["x", 0, 0, {"clip_value_min": -1.0, "clip_value_max": 0.5}], X.clip(-1, 0.5)),
    "nn.relu": (["x", 0, 0, {"name": None}], np.maximum(X, 0)),
    "math.sigmoid": (["x", 0, 0, {}], 1 / (1 + np.exp(-X))),
    "nn.softmax": (["x", 0, 0, {"axis": -1}], np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
    "math.exp": (["x", 0, 0, {}], np.exp(X)),
    "math.abs": (["x", 0, 0, {}], np.abs(X)),
    "math.negative": (["x", 0, 0, {}], -X),
    "math.maximum": (["x", 0, 0, {"y": 0.2}], np.maximum(X, 0.2)),
    "linalg.matmul": (["x", 0, 0, {"b": ["z", 0, 0], "transpose_b": False}], X @ Y.transpose(0, 2, 1)),
    "math.l2_normalize": (["x", 0, 0, {"axis": -1}], X / np.sqrt((X**2).sum(-1, keepdims=True))),
    "gather": (["x", 0, 0, {"indices": [2, 0], "axis": 1, "batch_dims": 0}], X[:, [2, 0]]),
    "tile": (["x", 0, 0, {"multiples": [1, 2, 1]}], np.tile(X, (1, 2, 1))),
    "pad": (["x", 0, 0, {"paddings": [[0, 0], [1, 0], [0, 2]], "mode": "CONSTANT"}], np.pad(X, ((0, 0), (1, 0), (0, 2)))),
    "math.square": (["x", 0, 0, {}], X**2),
    "where": (["mask", 0, 0, {"x": ["x", 0, 0], "y": ["y", 0, 0]}], np.where(X > 0, X, Y)),
    "__operators__.getitem": (
        ["x", 0, 0, {"slice_spec": [{"start": None, "stop": None, "step": None}, {"start": 1, "stop": None, "step": None}, 2]}],
        X[:, 1:, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("form", ["h5", "keras"])
def test_functions_of_tensorflow(form: str, function: str, tmp_path: Path) -> None:
    node, expected = FUNCTIONS[function]
    kind = "SlicingOpLambda" if function.endswith("getitem") else "TFOpLambda"
    found = [
        old.input_layer((3, 4), "x"),
        old.input_layer((3, 4), "y"),
        Layer("Permute", "z", {"dims": [2, 1]}, {}, called("y")),
        tf_function("mask", "math.greater", [["x", 0, 0, {"y": 0.0}]]),
        tf_function("out", function, [node], kind),
        tf_function("sum", "__operators__.add", [["y", 0, 0, {"y": ["z", 0, 0]}]]),
    ]
    used = {"z": "matmul", "mask": "where", "sum": "never"}
    found = [layer for layer in found if used.get(layer.name, function) in function]
    ends = [address("x"), address("y")], [address("out"), address("y")]
    if form == "h5":
        path = save(tmp_path, found, *ends)
    else:
        path = tmp_path / "m.keras"
        old.write_archive(path, old.functional(found, *ends), found, "2.13.1")
    model = saving.load_model(path)
    np.testing.assert_allclose(model.predict([X, Y], verbose=0)[0], expected, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "again.keras")
    again = saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again.predict([X, Y], verbose=0)[0], expected, rtol=1e-5, atol=1e-6)


def node(op: str, constants: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    node_def = {"name": op, "op": op, "input": ["x"], "attr": {"T": {"type": "DT_FLOAT"}, **attributes}}
    return {"node_def": json.dumps(node_def), "constants": constants or {}}


NODES: dict[str, tuple[dict[str, Any], list[str], Any]] = {
    "Mul": (node("Mul", {"1": 2.0}), ["x"], X * 2),
    "AddV2": (node("AddV2"), ["x", "y"], X + Y),
    "Sub": (node("Sub", {"0": 1.0}), ["x"], 1 - X),
    "Mean": (node("Mean", {"1": [1]}, keep_dims={"b": True}), ["x"], X.mean(1, keepdims=True)),
    "Reshape": (node("Reshape", {"1": [-1, 12]}), ["x"], X.reshape(-1, 12)),
    "ConcatV2": (node("ConcatV2", {"2": -1}, N={"i": "2"}), ["x", "y"], np.concatenate([X, Y], -1)),
    "Relu": (node("Relu"), ["x"], np.maximum(X, 0)),
    "Squeeze": (node("Squeeze", squeeze_dims={"list": {"i": ["1"]}}), ["x1"], X),
    "StridedSlice": (
        node("StridedSlice", {"1": [0, 1, 2], "2": [0, 0, 3], "3": [1, 1, 1]},
             begin_mask={"i": "1"}, end_mask={"i": "3"}, shrink_axis_mask={"i": "4"}),
        ["x"], X[:, 1:, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", NODES)
def test_nodes_of_tensorflow(op: str, tmp_path: Path) -> None:
    config, sources, expected = NODES[op]
    found = [
        old.input_layer((3, 4), "x"),
        old.input_layer((3, 4), "y"),
        Layer("Reshape", "x1", {"target_shape": [1, 3, 4]}, {}, called("x")),
        Layer("TensorFlowOpLayer", "tf_op_layer", config, {}, called(*sources)),
        Layer("Activation", "both", {"activation": "linear"}, {}, called("y")),
    ]
    if op != "Squeeze":
        del found[2]
    path = save(
        tmp_path, found, [address("x"), address("y")], [address("tf_op_layer"), address("both")], version="2.3.0-tf"
    )
    found_values = saving.load_model(path).predict([X, Y], verbose=0)[0]
    np.testing.assert_allclose(found_values, expected, rtol=1e-5, atol=1e-6)


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
    weights = {"base": {name: value for name, value in old.h5_names(inside[1]).items()}, "top": old.h5_names(top)}
    old.write_h5(tmp_path / "m.h5", weights, model, version="2.2.0")
    x = numbers(rng, 2, 3)
    found = saving.load_model(tmp_path / "m.h5").predict(x, verbose=0)
    np.testing.assert_allclose(found, x @ kernel @ head, rtol=1e-4, atol=1e-5)


# How a model was compiled.


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
    "RMSprop": ({"learning_rate": 0.02, "decay": 0.0, "rho": 0.8, "momentum": 0.0, "epsilon": None, "centered": False}, 0.02),
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
    schedule = {"class_name": "ExponentialDecay", "config": {
        "initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.5, "staircase": False, "name": None}}  # fmt: skip
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


LAMBDA = {"function": ["4wEAAAABAAAAAQAAAAIAAABTAAAAcwgAAAB8AGQBFABTAA==\n", None, None], "function_type": "lambda",
          "module": "__main__", "output_shape": None, "output_shape_type": "raw", "output_shape_module": None,
          "arguments": {}}  # fmt: skip
REFUSED = {
    "byte code": (Layer("Lambda", "f", LAMBDA), "lambda that would have to run code"),
    "function of a module": (Layer("Lambda", "f", LAMBDA | {"function": "system", "function_type": "function", "module": "os"}), "'system'"),
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


def test_unknown_functions_of_tensorflow_are_refused(tmp_path: Path) -> None:
    found = [old.input_layer((4,), "x"), tf_function("out", "signal.hann_window", [["x", 0, 0, {}]])]
    with pytest.raises(ValueError, match=r"'signal\.hann_window'.*load_weights"):
        saving.load_model(save(tmp_path, found, [address("x")], [address("out")]))
    found = [old.input_layer((4, 4), "x"), tf_function("out", "linalg.matmul", [["x", 0, 0, {"b": ["x", 0, 0], "transpose_b": True}]])]  # fmt: skip
    with pytest.raises(ValueError, match="transpose_b=True"):
        saving.load_model(save(tmp_path, found, [address("x")], [address("out")]))


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
    "a weight that is not there": (lambda f: said(f["model_weights/out"], "weight_names", [b"out/kernel:0", b"x"]), "damaged"),
    "too few": (lambda f: said(f["model_weights/out"], "weight_names", [b"out/kernel:0"]), "has 2 weights, the file has 1"),
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
