"""Functions of TensorFlow in functional models of Keras 2: what they have become, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_2 as old
import numpy as np
import pytest
from keras_2 import Layer, address, called, save_graph

from triarch import saving


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
    "pad": (
        ["x", 0, 0, {"paddings": [[0, 0], [1, 0], [0, 2]], "mode": "CONSTANT"}],
        np.pad(X, ((0, 0), (1, 0), (0, 2))),
    ),
    "math.square": (["x", 0, 0, {}], X**2),
    "where": (["mask", 0, 0, {"x": ["x", 0, 0], "y": ["y", 0, 0]}], np.where(X > 0, X, Y)),
    "__operators__.getitem": (
        ["x", 0, 0, {"slice_spec": [{"start": None, "stop": None, "step": None},
                                    {"start": 1, "stop": None, "step": None}, 2]}],
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
        path = save_graph(tmp_path, found, *ends)
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
    path = save_graph(
        tmp_path, found, [address("x"), address("y")], [address("tf_op_layer"), address("both")], version="2.3.0-tf"
    )
    found_values = saving.load_model(path).predict([X, Y], verbose=0)[0]
    np.testing.assert_allclose(found_values, expected, rtol=1e-5, atol=1e-6)


def test_unknown_functions_of_tensorflow_are_refused(tmp_path: Path) -> None:
    found = [old.input_layer((4,), "x"), tf_function("out", "signal.hann_window", [["x", 0, 0, {}]])]
    with pytest.raises(ValueError, match=r"'signal\.hann_window'.*load_weights"):
        saving.load_model(save_graph(tmp_path, found, [address("x")], [address("out")]))
    found = [old.input_layer((4,), "x"), tf_function("out", "strings.split", [["x", 0, 0, {}]])]
    with pytest.raises(ValueError, match=r"'strings\.split'"):
        saving.load_model(save_graph(tmp_path, found, [address("x")], [address("out")]))
    turned = ["x", 0, 0, {"b": ["x", 0, 0], "transpose_b": True}]
    found = [old.input_layer((4, 4), "x"), tf_function("out", "linalg.matmul", [turned])]
    with pytest.raises(ValueError, match="transpose_b=True"):
        saving.load_model(save_graph(tmp_path, found, [address("x")], [address("out")]))
