"""What comes from elsewhere becomes weights whole or not at all: every number type, by every way in."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import triarch
from triarch import applications, layers, saving
from triarch.tensors import value_for

Arrays = list[np.ndarray]

# What numbers may come as; the second layer's kernel and bias do, after a first layer that is as it should be.
FITTING = (">f4", ">f8", "<f8", "<f2", ">f2", "<i4", ">i8", "u1", ">u2", "<u8", "bfloat16", "longdouble")
# What none of the model's weights can be.
UNFIT = ("bool", "<c8", ">c16", "too large", "another shape")


def network() -> triarch.Sequential:
    model = triarch.Sequential(
        [triarch.Input((4,)), layers.Dense(3, name="a"), layers.BatchNormalization(), layers.Dense(2, name="b")]
    )
    model.compile("adam", "mse")
    return model


def whole_numbers(model: triarch.Sequential) -> Arrays:
    """Values that every type holds."""
    return [np.arange(weight.numel()).reshape(weight.shape).astype("float32") % 50 + 1 for weight in model.weights]


def as_kind(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "another shape":
        return np.zeros((*values.shape, 2), "float32")
    if kind == "too large":
        return np.full(values.shape, 1e300)
    if kind == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)  # exact: whole numbers below 128
    return values.astype(np.longdouble if kind == "longdouble" else kind)


def state_of(model: Any) -> list[Any]:
    """All that a failure must leave as it was."""
    tensors = [*model.weights, *model.optimizer.variables]
    return [model.optimizer.built, *(tensor.detach().numpy().copy() for tensor in tensors)]


def assert_same(first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def with_last_layer_as(kind: str, content: Any) -> None:
    """Let the last layer's arrays in an HDF5 file be of this kind."""
    with h5py.File(content, "r+") as file:
        for group in filter(None, map(file.get, ("layers/dense_1/vars", "layers/batch_normalization/vars"))):
            for key in list(group):
                values = as_kind(group[key][()], kind)
                del group[key]
                made = group.create_dataset(key, data=values)
                if kind == "bfloat16":
                    made.attrs["dtype"] = "bfloat16"


def hdf5(folder: Path, source: triarch.Sequential, kind: str) -> Path:
    source.save_weights(folder / "w.weights.h5")
    with_last_layer_as(kind, folder / "w.weights.h5")
    return folder / "w.weights.h5"


def in_folder(folder: Path, source: triarch.Sequential, kind: str) -> Path:
    source.save(folder / "model", zipped=False)
    with_last_layer_as(kind, folder / "model" / "model.weights.h5")
    return folder / "model"


def archive(folder: Path, source: triarch.Sequential, kind: str) -> Path:
    parts = in_folder(folder, source, kind)
    with zipfile.ZipFile(folder / "m.keras", "w") as made:
        for part in parts.iterdir():
            made.write(part, part.name)
    return folder / "m.keras"


def shards(folder: Path, source: triarch.Sequential, kind: str) -> Path:
    source.save_weights(folder / "w.weights.json", max_shard_size=1e-7)
    for shard in folder.glob("w_*.weights.h5"):
        with_last_layer_as(kind, shard)
    return folder / "w.weights.json"


def through_file(make: Callable[[Path, Any, str], Path]) -> Callable[[Path, Any, Any, str], None]:
    def load(folder: Path, source: Any, target: Any, kind: str) -> None:
        target.load_weights(make(folder, source, kind))

    return load


def through_set_weights(folder: Path, source: Any, target: Any, kind: str) -> None:
    values = source.get_weights()
    start = 2  # the first layer's
    target.set_weights(values[:start] + [arrays_of_kind(value, kind) for value in values[start:]])


def arrays_of_kind(values: np.ndarray, kind: str) -> Any:
    if kind == "bfloat16":
        return torch.as_tensor(values).bfloat16()
    return as_kind(values, kind)


def through_own_variables(folder: Path, source: Any, target: Any, kind: str) -> None:
    values = source.layers[1].get_weights()
    store = {str(place): arrays_of_kind(value, kind) for place, value in enumerate(values)}
    target.layers[1].load_own_variables(dict(store, **{"0": values[0]}))
    for theirs, mine in zip(source.layers, target.layers, strict=True):
        if mine is not target.layers[1]:
            mine.set_weights(theirs.get_weights())


WAYS: dict[str, Callable[[Path, Any, Any, str], None]] = {
    "hdf5": through_file(hdf5),
    "archive": through_file(archive),
    "folder": through_file(in_folder),
    "shards": through_file(shards),
    "set_weights": through_set_weights,
    "load_own_variables": through_own_variables,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FITTING)
def test_every_type_that_holds_the_numbers(kind: str, way: str, tmp_path: Path) -> None:
    source, target = network(), network()
    values = whole_numbers(source)
    source.set_weights(values)
    WAYS[way](tmp_path, source, target, kind)
    assert_same(target.get_weights(), values)
    assert all(weight.dtype is torch.float32 for weight in target.weights)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", UNFIT)
def test_what_does_not_fit_changes_nothing(kind: str, way: str, tmp_path: Path) -> None:
    source, target = network(), network()
    source.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))  # the file has slots for the optimizer, which is not built
    before = state_of(target)
    with pytest.raises(ValueError, match=r"Received: a value|shape"):
        WAYS[way](tmp_path, source, target, kind)
    assert_same(state_of(target), before)
    target.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))  # and all goes on


@pytest.mark.parametrize("kind", ["bool", "<c8", "too large"])
def test_layers_that_do_not_fit_are_skipped(kind: str, tmp_path: Path) -> None:
    source, target = network(), network()
    source.set_weights(whole_numbers(source))
    kept = [target.layers[place].get_weights() for place in (1, 2)]
    with pytest.warns(UserWarning, match="does not fit"):
        target.load_weights(hdf5(tmp_path, source, kind), skip_mismatch=True)
    assert_same(target.layers[0].get_weights(), source.layers[0].get_weights())
    for place in (1, 2):
        assert_same(target.layers[place].get_weights(), kept[place - 1])


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f2", "bool", "<c8"])
def test_a_whole_model(kind: str, tmp_path: Path) -> None:
    source = network()
    source.set_weights(whole_numbers(source))
    path = archive(tmp_path, source, kind)
    if kind in UNFIT:
        with pytest.raises(ValueError, match="not loaded"):
            saving.load_model(path)
    else:
        assert_same(saving.load_model(path).get_weights(), source.get_weights())


@pytest.mark.parametrize("kind", [*FITTING, "bool", "<c8", "too large"])
def test_the_optimizers_state(kind: str) -> None:
    model = network()
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 2)))
    store: dict[str, Any] = {}
    model.optimizer.save_own_variables(store)
    last = str(len(store) - 1)
    values = {**store, "2": torch.zeros_like(store["2"]), last: np.full(tuple(store[last].shape), 3, "float32")}
    values[last] = arrays_of_kind(values[last], kind)
    before = state_of(model)
    if kind in UNFIT:
        with pytest.raises(ValueError, match="Received"):
            model.optimizer.load_own_variables(values)
        assert_same(state_of(model), before)
    else:
        model.optimizer.load_own_variables(values)
        np.testing.assert_array_equal(model.optimizer.variables[-1].numpy(), 3.0)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "bfloat16", "int8", "int32", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize(
    "kind", ["b1", "i1", ">i2", "<i8", "u1", ">u4", "<u8", "f2", ">f4", "f8", "c8", "fraction", "huge", "nan"]
)
def test_a_value_fits_or_is_refused(dtype: str, kind: str) -> None:
    """The definition: the type's own numbers are those of the value, but for digits that floats round away."""
    numbers = {"fraction": np.array([0.5, 1.0]), "huge": np.array([1.0, 3e9]), "nan": np.array([np.nan, 1.0])}
    value = numbers[kind] if kind in numbers else np.array([0, 1]).astype(kind)
    tensor = torch.zeros(2, dtype=getattr(torch, dtype))
    is_float = tensor.is_floating_point()
    holds = {"fraction": is_float, "nan": is_float, "c8": False, "b1": dtype == "bool"}.get(kind, True)
    if kind == "huge":
        holds = dtype in ("float32", "float64", "bfloat16", "int64")
    if holds:
        found = value_for(tensor, value, "it")
        assert found.dtype is tensor.dtype
        np.testing.assert_allclose(found.double().numpy(), value.astype("float64"), rtol=1e-2)
    else:
        with pytest.raises(ValueError, match="it is of type"):
            value_for(tensor, value, "it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a", "b"]), "no numbers"),
        (np.array([None, 1], dtype=object), "no numbers"),
        ([[1.0], [1.0, 2.0]], "no array|shape"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "masked"),
        (torch.zeros(2, device="meta"), "meta"),
        (np.zeros(3), "shape"),
    ],
)
def test_what_is_no_value(value: Any, message: str) -> None:
    variable = triarch.Variable(np.array([5.0, 6.0]))
    with pytest.raises(ValueError, match=message):
        variable.assign(value)
    assert variable.numpy().tolist() == [5.0, 6.0]


def test_weights_that_change_places() -> None:
    model = triarch.Sequential([triarch.Input((3,)), layers.Dense(3), layers.Dense(3)])
    first, second = (layer.kernel.detach() for layer in model.layers)
    expected = [second.clone(), first.clone()]
    model.set_weights([second, model.layers[0].bias, first, model.layers[1].bias])
    assert torch.equal(model.layers[0].kernel, expected[0])
    assert torch.equal(model.layers[1].kernel, expected[1])


@pytest.mark.parametrize("make", [lambda a: a[::-1], lambda a: np.asfortranarray(a), lambda a: a.T.copy().T, list])
def test_arrays_of_every_layout(make: Callable[[np.ndarray], Any]) -> None:
    values = np.arange(12.0).reshape(4, 3)
    layer = layers.Dense(3, use_bias=False)
    layer.build((None, 4))
    layer.set_weights([make(values)])
    np.testing.assert_array_equal(layer.kernel.detach().numpy(), np.asarray(make(values)))


# Code of users.


@saving.register_keras_serializable(package="whole")
class Memory(layers.Layer):
    """Keeps what it likes, and refuses what it does not like after having changed much."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entries: list[float] = [1.0]
        self.table = {"a": 1}

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((), "ones")

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale

    def save_own_variables(self, store: Any) -> None:
        store["scale"] = self.scale
        store["entries"] = np.array(self.entries)

    def load_own_variables(self, store: Any) -> None:
        self.scale.assign(store["scale"])
        self.entries.clear()
        self.entries.extend(store["entries"].tolist())
        self.table["b"] = 2
        self.note = "new"
        if len(self.entries) > 2:
            raise RuntimeError("too much to remember")


def remembering(*entries: float) -> triarch.Sequential:
    model = triarch.Sequential([triarch.Input((2,)), layers.Dense(2), Memory(), layers.Dense(2)])
    model.layers[1].entries.extend(entries)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("suffix", ["weights.h5", "weights.json"])
def test_a_users_loader_that_raises_changes_nothing(suffix: str, tmp_path: Path) -> None:
    source, target = remembering(2.0, 3.0), remembering()
    source.train_on_batch(np.ones((2, 2)), np.ones((2, 2)))
    source.save_weights(tmp_path / f"w.{suffix}", max_shard_size=1 if suffix.endswith("json") else None)
    before, layer = state_of(target), target.layers[1]
    with pytest.raises(RuntimeError, match="too much"):
        target.load_weights(tmp_path / f"w.{suffix}")
    assert_same(state_of(target), before)
    assert (layer.entries, layer.table, hasattr(layer, "note")) == ([1.0], {"a": 1}, False)
    with pytest.warns(UserWarning, match="too much"):
        target.load_weights(tmp_path / f"w.{suffix}", skip_mismatch=True)
    assert layer.entries == [1.0]
    assert_same(target.layers[0].get_weights(), source.layers[0].get_weights())


def test_a_users_loader_that_does_not(tmp_path: Path) -> None:
    source, target = remembering(2.0), remembering()
    source.save_weights(tmp_path / "w.weights.h5")
    target.load_weights(tmp_path / "w.weights.h5")
    assert target.layers[1].entries == [1.0, 2.0]
    assert_same(target.get_weights(), source.get_weights())


# Files of other libraries, by name.


def legacy_file(path: Path, groups: dict[str, dict[str, np.ndarray]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for name, arrays in groups.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, value in arrays.items():
                group.create_dataset(key, data=value)
    return path


def test_weights_of_one_name_in_a_layer(tmp_path: Path) -> None:
    """Both directions of a bidirectional layer have a kernel."""
    made = triarch.Sequential([triarch.Input((3, 2)), layers.Bidirectional(layers.LSTM(2), name="both")])
    values = [np.full(tuple(weight.shape), number, ">f4") for number, weight in enumerate(made.weights, 1)]
    path = legacy_file(tmp_path / "w.h5", {"both": {f"w{place}": value for place, value in enumerate(values)}})
    report = applications.read_weights(made, path)
    assert_same(made.get_weights(), values)
    assert len(report.matched) == len(values)
    assert not report.kept
    assert not report.unused


def test_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    class Twins(triarch.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = layers.Dense(2, name="d"), layers.Dense(2, name="d")

        def call(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(inputs))

    model = Twins()
    model(np.zeros((1, 2), "float32"))
    before = model.get_weights()
    path = legacy_file(tmp_path / "w.h5", {"d": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}})
    with pytest.raises(ValueError, match="several layers 'd'"):
        applications.read_weights(model, path)
    assert_same(model.get_weights(), before)


@pytest.mark.parametrize("kind", [">f4", "<f8", "bfloat16", "bool", "<c8"])
def test_torchvisions_names(kind: str, tmp_path: Path) -> None:
    model = triarch.Sequential(
        [
            triarch.Input((4, 4, 3)),
            layers.Conv2D(2, 3, use_bias=False, name="conv1_conv"),
            layers.BatchNormalization(name="conv1_bn"),
        ]
    )
    kernel = np.arange(54.0).reshape(2, 3, 3, 3).astype("float32")
    state = {"conv1.weight": kernel, "bn1.weight": np.ones(2, "float32")}
    value = arrays_of_kind(kernel, kind)
    state["conv1.weight"] = value if isinstance(value, torch.Tensor) else value.astype(value.dtype.newbyteorder("="))
    torch.save({name: torch.as_tensor(each) for name, each in state.items()}, tmp_path / "w.pth")
    before = model.get_weights()
    if kind in UNFIT:
        with pytest.raises(ValueError, match="were not read"):
            applications.read_weights(model, tmp_path / "w.pth")
        assert_same(model.get_weights(), before)
    else:
        applications.read_weights(model, tmp_path / "w.pth")
        np.testing.assert_array_equal(model.layers[0].get_weights()[0], kernel.transpose(2, 3, 1, 0))


def test_a_copy_is_not_disturbed() -> None:
    model = network()
    other = copy.deepcopy(model)
    with pytest.raises(ValueError, match="Received"):
        model.set_weights([*model.get_weights()[:-1], np.zeros(2, bool)])
    assert_same(model.get_weights(), other.get_weights())
