"""Every kind of layer out of files of Keras 2, in each of their formats, against Keras 3's with the same weights."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras_2 as old
import numpy as np
import pytest
from keras_2 import Layer

from triarch import saving

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


class Row(NamedTuple):
    """A layer as Keras 2 describes it, and how Keras 3 makes it."""

    class_name: str
    shape: tuple[int, ...]  # of a sample
    config: dict[str, Any]
    make: Callable[[Any], Any]
    weights: tuple[tuple[str, tuple[int, ...]], ...] = ()  # names, with where a `.keras` file has them, and shapes
    integers: bool = False


def cell(*shapes: tuple[int, ...], place: str = "cell") -> tuple[tuple[str, tuple[int, ...]], ...]:
    names = ("kernel", "recurrent_kernel", "bias")
    return tuple((f"{place}/{name}", shape) for name, shape in zip(names, shapes, strict=True))


SEPARABLE = {
    "depth_multiplier": 2,
    "depthwise_initializer": old.GLOROT,
    "pointwise_initializer": old.GLOROT,
    **old.without("depthwise_regularizer", "pointwise_regularizer", "depthwise_constraint", "pointwise_constraint"),
}
DEPTHWISE = {key: value for key, value in old.convolution(2).items() if key != "filters" and "kernel_" not in key} | {
    "kernel_size": [3, 3], "depth_multiplier": 2, "depthwise_initializer": old.GLOROT,
    "depthwise_regularizer": None, "depthwise_constraint": None,
}  # fmt: skip
LSTM = old.recurrent(recurrent_activation="sigmoid", unit_forget_bias=True, implementation=2)
GRU = old.recurrent(recurrent_activation="sigmoid", implementation=2)
LSTM_SHAPES = ((3, 16), (4, 16), (16,))
NORMALIZED = (("gamma", (2,)), ("beta", (2,)), ("moving_mean", (2,)), ("moving_variance", (2,)))
POOL = {"pool_size": [2, 2], "padding": "valid", "strides": [2, 2], "data_format": "channels_last"}

ROWS = {
    "dense": Row(
        "Dense", (6,), {"units": 5, "activation": "tanh", **old.kernel_and_bias()},
        lambda k: k.Dense(5, activation="tanh"), (("kernel", (6, 5)), ("bias", (5,))),
    ),
    "scaled initializer": Row(
        "Dense", (6,), {"units": 5, "activation": "elu", **old.kernel_and_bias(), "kernel_initializer": old.SCALING},
        lambda k: k.Dense(5, activation="elu"), (("kernel", (6, 5)), ("bias", (5,))),
    ),
    "normal initializer": Row(
        "Dense", (6,), {"units": 5, "activation": "selu", **old.kernel_and_bias(),
                        "kernel_initializer": old.initializer("VarianceScaling", scale=2.0, mode="fan_in",
                                                              distribution="normal", seed=None, dtype="float32")},
        lambda k: k.Dense(5, activation="selu"), (("kernel", (6, 5)), ("bias", (5,))),
    ),
    "softmax of TensorFlow": Row(
        "Dense", (6,), {"units": 5, "activation": "softmax_v2", **old.kernel_and_bias()},
        lambda k: k.Dense(5, activation="softmax"), (("kernel", (6, 5)), ("bias", (5,))),
    ),
    "penalties": Row(
        "Dense", (6,), {"units": 5, "activation": "relu", **old.kernel_and_bias(),
                        "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}},
                        "bias_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}},
        lambda k: k.Dense(5, activation="relu"), (("kernel", (6, 5)), ("bias", (5,))),
    ),
    "conv 1": Row(
        "Conv1D", (9, 2), old.convolution(1, padding="causal", dilation_rate=[2]),
        lambda k: k.Conv1D(4, 3, padding="causal", dilation_rate=2), (("kernel", (3, 2, 4)), ("bias", (4,))),
    ),
    "conv 2": Row(
        "Conv2D", (7, 6, 2), old.convolution(2, strides=[2, 1], padding="same", activation="relu"),
        lambda k: k.Conv2D(4, 3, strides=(2, 1), padding="same", activation="relu"),
        (("kernel", (3, 3, 2, 4)), ("bias", (4,))),
    ),
    "channels first": Row(
        "Conv2D", (2, 7, 6), old.convolution(2, data_format="channels_first"),
        lambda k: k.Conv2D(4, 3, data_format="channels_first"), (("kernel", (3, 3, 2, 4)), ("bias", (4,))),
    ),
    "conv 3": Row(
        "Conv3D", (5, 5, 5, 2), old.convolution(3), lambda k: k.Conv3D(4, 3),
        (("kernel", (3, 3, 3, 2, 4)), ("bias", (4,))),
    ),
    "transposed": Row(
        "Conv2DTranspose", (5, 4, 2), old.convolution(2, strides=[2, 2], padding="same", output_padding=None),
        lambda k: k.Conv2DTranspose(4, 3, strides=2, padding="same"), (("kernel", (3, 3, 4, 2)), ("bias", (4,))),
    ),
    "depthwise": Row(
        "DepthwiseConv2D", (7, 6, 2), DEPTHWISE, lambda k: k.DepthwiseConv2D(3, depth_multiplier=2),
        (("depthwise_kernel", (3, 3, 2, 2)), ("bias", (4,))),
    ),
    "separable 2": Row(
        "SeparableConv2D", (7, 6, 2), old.convolution(2) | SEPARABLE,
        lambda k: k.SeparableConv2D(4, 3, depth_multiplier=2),
        (("depthwise_kernel", (3, 3, 2, 2)), ("pointwise_kernel", (1, 1, 4, 4)), ("bias", (4,))),
    ),
    "separable 1": Row(
        "SeparableConv1D", (7, 2), old.convolution(1) | SEPARABLE,
        lambda k: k.SeparableConv1D(4, 3, depth_multiplier=2),
        (("depthwise_kernel", (3, 2, 2)), ("pointwise_kernel", (1, 4, 4)), ("bias", (4,))),
    ),
    "batch normalization": Row(
        "BatchNormalization", (4, 3, 2), old.normalization(), lambda k: k.BatchNormalization(), NORMALIZED,
    ),
    "batch normalization of TensorFlow 1": Row(
        "BatchNormalizationV1", (4, 3, 2), old.normalization(fused=True, renorm=False, virtual_batch_size=None),
        lambda k: k.BatchNormalization(), NORMALIZED,
    ),
    "layer normalization": Row(
        "LayerNormalization", (4, 3, 2), {key: value for key, value in old.normalization(axis=[3]).items()
                                          if "moving" not in key and key != "momentum"},
        lambda k: k.LayerNormalization(), NORMALIZED[:2],
    ),
    "embedding": Row(
        "Embedding", (5,), {"input_dim": 7, "output_dim": 4, "embeddings_initializer": old.initializer(
            "RandomUniform", minval=-0.05, maxval=0.05, seed=None), "embeddings_regularizer": None,
            "activity_regularizer": None, "embeddings_constraint": None, "mask_zero": False, "input_length": 5},
        lambda k: k.Embedding(7, 4), (("embeddings", (7, 4)),), integers=True,
    ),
    "lstm": Row("LSTM", (6, 3), LSTM, lambda k: k.LSTM(4), cell(*LSTM_SHAPES)),
    "lstm of all steps": Row(
        "LSTM", (6, 3), LSTM | {"return_sequences": True, "go_backwards": True},
        lambda k: k.LSTM(4, return_sequences=True, go_backwards=True), cell(*LSTM_SHAPES),
    ),
    "gru": Row(
        "GRU", (6, 3), GRU | {"reset_after": True}, lambda k: k.GRU(4), cell((3, 12), (4, 12), (2, 12)),
    ),
    "gru that resets before": Row(
        "GRU", (6, 3), GRU, lambda k: k.GRU(4, reset_after=False), cell((3, 12), (4, 12), (12,)),
    ),
    "simple rnn": Row("SimpleRNN", (6, 3), old.recurrent(), lambda k: k.SimpleRNN(4), cell((3, 4), (4, 4), (4,))),
    "bidirectional": Row(
        "Bidirectional", (6, 3),
        {"layer": {"class_name": "LSTM", "config": {"name": "lstm", "trainable": True, **LSTM}}, "merge_mode": "sum"},
        lambda k: k.Bidirectional(k.LSTM(4), merge_mode="sum"),
        (*cell(*LSTM_SHAPES, place="forward_layer/cell"), *cell(*LSTM_SHAPES, place="backward_layer/cell")),
    ),
    "time distributed": Row(
        "TimeDistributed", (6, 3), {"layer": {"class_name": "Dense", "config": {
            "name": "dense", "trainable": True, "units": 2, "activation": "linear", **old.kernel_and_bias()}}},
        lambda k: k.TimeDistributed(k.Dense(2)), (("layer/kernel", (3, 2)), ("layer/bias", (2,))),
    ),
    "cells": Row(
        "RNN", (6, 3),
        {"return_sequences": False, "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
         "time_major": False, "cell": {"class_name": "StackedRNNCells", "config": {
             "name": "stacked", "trainable": True, "dtype": "float32", "cells": [
                 {"class_name": "LSTMCell", "config": {
                     "name": f"cell_{n}", "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid",
                     "use_bias": True, "implementation": 2}} for n in range(2)]}}},
        lambda k: k.RNN(k.StackedRNNCells([k.LSTMCell(4), k.LSTMCell(4)])),
        (*cell(*LSTM_SHAPES, place="cell/cells/lstm_cell"),
         *cell((4, 16), (4, 16), (16,), place="cell/cells/lstm_cell_1")),
    ),
    "conv lstm": Row(
        "ConvLSTM2D", (3, 5, 5, 2), {key: value for key, value in (old.convolution(2) | old.recurrent()).items()
                                     if key not in ("units", "groups")} | {"recurrent_activation": "sigmoid"},
        lambda k: k.ConvLSTM2D(4, 3), cell((3, 3, 2, 16), (3, 3, 4, 16), (16,)),
    ),
    "max pooling": Row("MaxPooling2D", (6, 6, 2), POOL, lambda k: k.MaxPooling2D()),
    "average pooling": Row(
        "AveragePooling1D", (7, 2),
        {"strides": [1], "pool_size": [3], "padding": "same", "data_format": "channels_last"},
        lambda k: k.AveragePooling1D(3, strides=1, padding="same"),
    ),
    "global pooling": Row(
        "GlobalMaxPooling2D", (6, 6, 2), {"data_format": "channels_last"}, lambda k: k.GlobalMaxPooling2D(),
    ),
    "global pooling that keeps axes": Row(
        "GlobalAveragePooling2D", (6, 6, 2), {"data_format": "channels_last", "keepdims": True},
        lambda k: k.GlobalAveragePooling2D(keepdims=True),
    ),
    "relu": Row(
        "ReLU", (6,), {name: {"type": "ndarray", "value": value} for name, value in (
            ("max_value", 1.0), ("negative_slope", 0.1), ("threshold", 0.0))},
        lambda k: k.ReLU(max_value=1.0, negative_slope=0.1),
    ),
    "leaky relu": Row("LeakyReLU", (6,), {"alpha": 0.3}, lambda k: k.LeakyReLU(negative_slope=0.3)),
    "leaky relu of an array": Row(
        "LeakyReLU", (6,), {"alpha": {"type": "ndarray", "value": 0.2}}, lambda k: k.LeakyReLU(negative_slope=0.2),
    ),
    "elu": Row("ELU", (6,), {"alpha": 0.5}, lambda k: k.ELU(alpha=0.5)),
    "prelu": Row(
        "PReLU", (4, 2), {"alpha_initializer": old.ZEROS, "alpha_regularizer": None,
                          "alpha_constraint": None, "shared_axes": [1]},
        lambda k: k.PReLU(shared_axes=[1]), (("alpha", (1, 2)),),
    ),
    "softmax": Row("Softmax", (3, 4), {"axis": 1}, lambda k: k.Softmax(axis=1)),
    "thresholded relu": Row("ThresholdedReLU", (6,), {"theta": 0.5}, lambda k: k.ReLU(threshold=0.5)),
    "activation": Row("Activation", (6,), {"activation": "relu6"}, lambda k: k.Activation("relu6")),
    "flatten": Row("Flatten", (3, 4), {"data_format": "channels_last"}, lambda k: k.Flatten()),
    "reshape": Row("Reshape", (3, 4), {"target_shape": [2, 6]}, lambda k: k.Reshape((2, 6))),
    "permute": Row("Permute", (3, 4), {"dims": [2, 1]}, lambda k: k.Permute((2, 1))),
    "repeat": Row("RepeatVector", (4,), {"n": 3}, lambda k: k.RepeatVector(3)),
    "padding": Row(
        "ZeroPadding2D", (4, 4, 2), {"padding": [[1, 0], [2, 1]], "data_format": "channels_last"},
        lambda k: k.ZeroPadding2D(((1, 0), (2, 1))),
    ),
    "cropping": Row(
        "Cropping2D", (6, 6, 2), {"cropping": [[1, 0], [2, 1]], "data_format": "channels_last"},
        lambda k: k.Cropping2D(((1, 0), (2, 1))),
    ),
    "upsampling": Row(
        "UpSampling2D", (3, 3, 2), {"size": [2, 2], "data_format": "channels_last", "interpolation": "bilinear"},
        lambda k: k.UpSampling2D(interpolation="bilinear"),
    ),
    "dropout": Row("Dropout", (6,), {"rate": 0.5, "noise_shape": None, "seed": None}, lambda k: k.Dropout(0.5)),
    "spatial dropout": Row(
        "SpatialDropout1D", (4, 2), {"rate": 0.5, "noise_shape": None, "seed": None}, lambda k: k.SpatialDropout1D(0.5),
    ),
    "noise": Row("GaussianNoise", (6,), {"stddev": 0.1, "seed": None}, lambda k: k.GaussianNoise(0.1)),
    "normalization": Row(
        "Normalization", (4,), {"axis": [-1], "mean": None, "variance": None, "invert": False},
        lambda k: k.Normalization(), (("mean", (4,)), ("variance", (4,)), ("count", ())),
    ),
    "rescaling": Row("Rescaling", (6,), {"scale": 0.5, "offset": 1.0}, lambda k: k.Rescaling(0.5, offset=1.0)),
    "masking": Row("Masking", (4, 2), {"mask_value": 0.0}, lambda k: k.Masking()),
}  # fmt: skip


def random_weights(row: Row, rng: np.random.Generator) -> dict[str, np.ndarray]:
    made = {}
    for name, shape in row.weights:
        value = rng.normal(scale=0.5, size=shape).astype("float32")
        made[name] = np.abs(value) + 0.2 if name.endswith("variance") else value
        if name == "count":
            made[name] = np.asarray(0, "int64")
    return made


def inputs_of(row: Row, rng: np.random.Generator) -> np.ndarray:
    if row.integers:
        return rng.integers(0, 7, size=(3, *row.shape)).astype("int32")
    return rng.normal(size=(3, *row.shape)).astype("float32")


def expected(row: Row, keras: types.ModuleType, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    layer = row.make(keras.layers)
    layer.build((None, *row.shape))
    if weights:
        layer.set_weights(list(weights.values()))
    if row.class_name == "Normalization":
        layer.finalize_state()
    return np.asarray(layer(x).detach())


# The formats: each writes a model of one layer.


def as_keras_2_1(path: Path, layer: Layer, row: Row) -> Path:
    """The first releases: a Sequential model is a list, and its first layer says the shape of inputs."""
    entry = layer.entry()
    entry["config"]["batch_input_shape"] = [None, *row.shape]
    model = {"class_name": "Sequential", "config": [entry]}
    old.write_h5(path / "m.h5", {layer.name: old.h5_names(layer)}, model, version="2.1.6", as_text=True)
    return path / "m.h5"


def as_tf_2_4(path: Path, layer: Layer, row: Row) -> Path:
    """tf.keras, as a functional model, with weights in chunks of attributes."""
    source = old.input_layer(row.shape, dtype="int32" if row.integers else "float32")
    graph = Layer(layer.class_name, layer.name, layer.config, layer.weights, old.called("input_1"))
    model = old.functional([source, graph], [["input_1", 0, 0]], [[layer.name, 0, 0]])
    weights = {"input_1": {}, layer.name: old.h5_names(layer)}
    old.write_h5(path / "m.h5", weights, model, version="2.4.0", chunks=2, top_level={})
    return path / "m.h5"


def as_archive(version: str, backslashes: bool) -> Callable[[Path, Layer, Row], Path]:
    def write(path: Path, layer: Layer, row: Row) -> Path:
        source = old.input_layer(row.shape, "first_input", "int32" if row.integers else "float32", graph=False)
        model = old.sequential([source, layer])
        old.write_archive(path / "m.keras", model, [layer], version, backslashes=backslashes)
        return path / "m.keras"

    return write


FORMATS: dict[str, Callable[[Path, Layer, Row], Path]] = {
    "h5 of 2.1": as_keras_2_1,
    "h5 of 2.4": as_tf_2_4,
    "keras of 2.13": as_archive("2.13.1", backslashes=False),
    "keras of 2.15 on Windows": as_archive("2.15.0", backslashes=True),
}


CASES = [(name, kind) for name in ROWS for kind in FORMATS if "TensorFlow 1" not in name or kind.startswith("h5")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_layer(name: str, kind: str, keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator) -> None:
    row = ROWS[name]
    weights, x = random_weights(row, rng), inputs_of(row, rng)
    path = FORMATS[kind](tmp_path, Layer(row.class_name, "first", row.config, weights), row)
    model = saving.load_model(path)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected(row, keras, weights, x), rtol=2e-5, atol=2e-6)
