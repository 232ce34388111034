"""`Normalization`: what it finds in data, what it does with it, and how it is kept."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from conformance import as_json, file_form

import triarch
from triarch import layers, saving
from triarch.layers.preprocessing import normalization
from triarch.serialization import deserialize_keras_object
from triarch.utils import PyDataset

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


@pytest.fixture
def data(rng):
    return (rng.normal(size=(30, 4, 3)) * [1, 5, 0.1] + [100, -3, 0]).astype(np.float32)


class _Batches(PyDataset):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return math.ceil(len(self.data) / 7)

    def __getitem__(self, index):
        return self.data[7 * index : 7 * index + 7], np.zeros(7)


_WAYS = {
    "array": lambda data: data,
    "tensor": torch.from_numpy,
    "list of batches": lambda data: [data[:7], data[7:8], data[8:]],
    "generator of tensors": lambda data: (torch.from_numpy(part) for part in (data[:20], data[20:])),
    "batches with labels": lambda data: [(data[:11], np.zeros(11)), (data[11:], np.zeros(19))],
    "data set": _Batches,
}


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("axis", [-1, None, (1, 2), 1, (2, 1)])
@pytest.mark.parametrize("invert", [False, True])
def test_adapting_is_keras_adapting(way, axis, invert, data, keras):
    layer, theirs = (library.Normalization(axis, invert=invert) for library in (layers, keras.layers))
    theirs.adapt(data)
    layer.adapt(_WAYS[way](data))
    for ours, expected in zip(layer.weights, theirs.weights, strict=True):
        assert (ours.name, tuple(ours.shape), ours.requires_grad) == (expected.name, tuple(expected.shape), False)
        np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(data), theirs(data), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer.mean, theirs.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.variance, theirs.variance, rtol=1e-4, atol=1e-5)


def test_outputs_have_mean_0_and_variance_1(data):
    layer = layers.Normalization()
    layer.adapt(data)
    outputs = layer(data).double()
    torch.testing.assert_close(outputs.mean((0, 1)), torch.zeros(3).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.var((0, 1), correction=0), torch.ones(3).double(), atol=1e-4, rtol=0)
    back = layers.Normalization(invert=True)
    back.adapt(data)
    torch.testing.assert_close(back(layer(data)), torch.from_numpy(data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 10, 100])
def test_large_data_is_looked_at_in_parts(chunk, data, monkeypatch):
    monkeypatch.setattr(normalization, "_CHUNK", chunk)
    far = data.astype(np.float64) + 1e6
    layer = layers.Normalization(dtype="float64")
    layer.adapt(far)
    np.testing.assert_allclose(layer.mean.ravel(), far.mean((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(layer.variance.ravel(), far.var((0, 1)), rtol=1e-8)


def test_whole_numbers_and_even_features(rng):
    pixels = rng.integers(0, 256, (20, 5, 5, 3), dtype=np.uint8)
    pixels[..., 2] = 7
    layer = layers.Normalization()
    layer.adapt(pixels)
    outputs = layer(pixels)
    assert outputs.dtype is torch.float32
    assert float(outputs[..., 0].mean()) == pytest.approx(0, abs=1e-5)
    assert not outputs[..., 2].any()  # whose variance is 0


def test_adapting_again_forgets_what_was_found(data):
    layer = layers.Normalization()
    assert torch.equal(layer(data), torch.from_numpy(data))  # before it is adapted
    layer.adapt(data * 3)
    layer.adapt(data)
    once = layers.Normalization()
    once.adapt(data)
    assert all(torch.equal(a, b) for a, b in zip(layer.weights, once.weights, strict=True))


@pytest.mark.parametrize(
    ("axis", "mean", "variance"),
    [
        (-1, 2.0, 4.0),
        (-1, [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
        (None, 3, 9),
        ((1, 2), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
        ((1, 2), np.arange(12.0).reshape(4, 3), np.arange(1.0, 13).reshape(4, 3)),
        (1, [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]),
        (-1, [1.0], [4.0]),
    ],
)
def test_given_numbers_are_used_as_keras_uses_them(axis, mean, variance, data, keras):
    layer, theirs = (library.Normalization(axis, mean, variance, name="mine") for library in (layers, keras.layers))
    torch.testing.assert_close(layer(data), theirs(data), rtol=1e-5, atol=1e-5)
    assert not layer.weights
    config = as_json(layer.get_config())
    assert config == as_json(theirs.get_config())
    assert as_json(keras.layers.deserialize(file_form(layer)).get_config()) == config
    copy = deserialize_keras_object(as_json(keras.layers.serialize(theirs)))
    assert torch.equal(copy(data), layer(data))


def test_tensors_may_be_given(data):
    layer = layers.Normalization(mean=torch.ones(3), variance=torch.full((3,), 4.0))
    torch.testing.assert_close(layer(data), (torch.from_numpy(data) - 1) / 2)


@pytest.mark.parametrize("direction", ["triarch to Keras", "Keras to triarch", "triarch to triarch"])
def test_files_keep_what_was_found(direction, data, keras, tmp_path):
    libraries: dict[str, types.ModuleType] = {"triarch": triarch, "Keras": keras}
    writer, reader = (libraries[name] for name in direction.split(" to "))
    layer = writer.layers.Normalization()
    layer.adapt(data)
    model = writer.Sequential([writer.Input((4, 3)), layer, writer.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    opened = saving.load_model(path) if reader is triarch else keras.models.load_model(path)
    inputs = torch.from_numpy(data)
    torch.testing.assert_close(opened(inputs), model(inputs), rtol=1e-4, atol=1e-4)
    assert float(opened.layers[0].mean.ravel()[0]) == pytest.approx(100, abs=1)


def test_training_leaves_what_was_found(data):
    layer = layers.Normalization()
    layer.adapt(data)
    model = triarch.Sequential([triarch.Input((4, 3)), layer, layers.Flatten(), layers.Dense(1)])
    model.compile("adam", "mse")
    before = [weight.clone() for weight in layer.weights]
    model.fit(data, data[:, 0, 0], epochs=2, verbose=0)
    assert all(torch.equal(a, b) for a, b in zip(layer.weights, before, strict=True))
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(12, 1), (1,)]


def test_types_follow_the_policy(data):
    outputs = []
    for dtype in ("float32", "float64", "mixed_bfloat16"):
        layer = layers.Normalization(dtype=dtype)
        layer.adapt(data)
        outputs.append(layer(data))
    assert [output.dtype for output in outputs] == [torch.float32, torch.float64, torch.bfloat16]
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": 1.0}, "`mean` and `variance` are given together.*Received: mean=1.0, variance=None"),
        ({"mean": [1.0], "variance": [1.0, 2.0]}, "have the same shape"),
        ({"axis": None, "mean": [1.0], "variance": [1.0]}, "at most 0 axes.*Received: shape"),
    ],
)
def test_wrong_arguments_are_explained(given, message):
    with pytest.raises(ValueError, match=message):
        layers.Normalization(**given)


def test_wrong_data_is_explained(data):
    layer = layers.Normalization()
    for nothing in ([], data[:0], iter(())):
        with pytest.raises(ValueError, match="found no numbers in the data"):
            layer.adapt(nothing)
    layer.adapt(data)
    for other in (data[..., :2], [data, data[:, 0]]):
        with pytest.raises(ValueError, match=r"was built for 3 axes, of which \(2,\) have the sizes \(3,\)"):
            layer.adapt(other)
    with pytest.raises(ValueError, match=r"was built for 3 axes.*Received: data of shape \(2,\)"):
        layer.adapt([1.0, 2.0])
    with pytest.raises(ValueError, match=r"Data to adapt to is an array or a tensor.*Received: object"):
        layer.adapt(iter([object()]))
    with pytest.raises(ValueError, match="was given mean and variance"):
        layers.Normalization(mean=0.0, variance=1.0).adapt(data)
    with pytest.raises(ValueError, match=r"has no axes \(3,\).*Received: shape \(None, 4, 3\)"):
        layers.Normalization(3).build((None, 4, 3))
    with pytest.raises(ValueError, match=r"needs to know the sizes of axes \(1,\)"):
        layers.Normalization(1).build((None, None, 3))
