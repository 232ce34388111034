"""Saving and loading within triarch: everything comes back, and a failure anywhere loses nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import layers, saving
from triarch.saving import weight_files


@saving.register_keras_serializable(package="tests")
class Scale(layers.Layer):
    """Multiplies by a learnt vector."""

    def __init__(self, start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale * self.start


@saving.register_keras_serializable(package="tests")
class Branches(triarch.Model):
    """Layers as attributes, in lists in lists, in dicts, inside a nested model; and torch's own."""

    def __init__(self, units: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.zeta = layers.Dense(units)
        self.branches = [layers.Dense(units), [layers.Dense(units), Scale()]]
        self.by_name = {"first": layers.Dense(units), "second": layers.Dense(units)}
        self.inner = triarch.Sequential([layers.Dense(4, activation="relu"), layers.Dense(units)])
        self.plain = torch.nn.Sequential(torch.nn.Linear(units, units), torch.nn.BatchNorm1d(units))
        self.shared = self.zeta

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        x = self.zeta(inputs)
        first, (second, scale) = self.branches
        x = first(x) + scale(second(x)) + self.by_name["first"](x) + self.by_name["second"](x)
        return self.plain(self.inner(x))


def mlp(**compile_arguments: Any) -> triarch.Sequential:
    model = triarch.Sequential([triarch.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"], **compile_arguments})
    return model


def data(rng: np.random.Generator, features: int = 6, outputs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(8, features)).astype("float32"), rng.normal(size=(8, outputs)).astype("float32")


def assert_same_state(first: Any, second: Any) -> None:
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    if first.optimizer is not None and second.optimizer is not None:
        for one, other in zip(first.optimizer.variables, second.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def edit_archive(source: Path, target: Path, **texts: bytes | None) -> Path:
    """A copy of a `.keras` file with parts (`config`, `metadata`, `weights`) replaced or, where None, left out."""
    names = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    replaced = {names[key]: text for key, text in texts.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = replaced.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


# Everything comes back.


def test_a_fitted_model_comes_back_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    model, (x, y) = mlp(), data(rng)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert_same_state(model, loaded)
    assert loaded.get_compile_config() == model.get_compile_config()
    model.train_on_batch(x, y)
    loaded.train_on_batch(x, y)
    assert_same_state(model, loaded)


def test_without_compile(tmp_path: Path, rng: np.random.Generator) -> None:
    model, (x, y) = mlp(), data(rng)
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    loaded = saving.load_model(tmp_path / "m.keras", compile=False)
    assert not loaded.compiled
    assert loaded.optimizer is None
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_subclassed_model_comes_back_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    model, (x, y) = Branches(), data(rng)
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert_same_state(model, loaded)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


@pytest.mark.parametrize("name", ["w.weights.h5", "m.keras", "folder"])
def test_weights_into_a_fresh_model(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    model, (x, y) = mlp(), data(rng)
    model.train_on_batch(x, y)
    if name.endswith(".h5"):
        model.save_weights(tmp_path / name)
    else:
        model.save(tmp_path / name, zipped=name.endswith(".keras"))
    fresh = mlp()
    fresh.load_weights(tmp_path / name)
    assert_same_state(model, fresh)


def test_weights_without_the_optimizer_in_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    model, other = mlp(), mlp()
    x, y = data(rng)
    model.save_weights(tmp_path / "w.weights.h5")
    other.train_on_batch(x, y)
    before = [variable.numpy().copy() for variable in other.optimizer.variables]
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    for variable, value in zip(other.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_folder_is_replaced_only_where_it_holds_a_model(tmp_path: Path, rng: np.random.Generator) -> None:
    model = mlp()
    model.save(tmp_path / "m", zipped=False)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(tmp_path / "m", zipped=False)
    assert sorted(os.listdir(tmp_path)) == ["m"]
    assert sorted(os.listdir(tmp_path / "m")) == ["config.json", "metadata.json", "model.weights.h5"]
    assert_same_state(saving.load_model(tmp_path / "m", compile=False), saving.load_model(tmp_path / "m"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no model"):
        model.save(tmp_path / "thesis", zipped=False)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_bfloat16_weights(tmp_path: Path) -> None:
    model = triarch.Sequential([triarch.Input((4,)), layers.Dense(3, dtype="bfloat16")])
    model.save(tmp_path / "m.keras")
    loaded = saving.load_model(tmp_path / "m.keras")
    assert torch.equal(model.weights[0], loaded.weights[0])
    assert loaded.weights[0].dtype is torch.bfloat16


def test_metadata(tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata["keras_version"].startswith("3.")
    assert metadata["triarch_version"] == triarch.__version__
    assert len(metadata["date_saved"]) == len("2026-01-31@12:00:00")


def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


class Unregistered(layers.Dense):
    """A layer that files cannot name by themselves."""


@pytest.mark.parametrize("way", ["argument", "scope"])
def test_custom_objects(tmp_path: Path, rng: np.random.Generator, way: str) -> None:
    custom = {"double": double, "Unregistered": Unregistered}
    model = triarch.Sequential([triarch.Input((6,)), Unregistered(3, activation=double)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="register_keras_serializable"):
        saving.load_model(tmp_path / "m.keras")
    if way == "argument":
        loaded = saving.load_model(tmp_path / "m.keras", custom_objects=custom)
    else:
        with saving.CustomObjectScope(custom):
            loaded = saving.load_model(tmp_path / "m.keras")
    x, _ = data(rng)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    model = mlp()
    model.save(str(tmp_path / "m.keras"))
    assert_same_state(model, saving.load_model(str(tmp_path / "m.keras"), compile=False))


# What cannot be saved is said before anything is written.


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_overwrite_false_keeps_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_text("precious")
    save = mlp().save if suffix == "keras" else mlp().save_weights
    with pytest.raises(FileExistsError, match="overwrite"):
        save(path, overwrite=False)
    assert path.read_text() == "precious"
    save(path)
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("save", "name", "advice"),
    [
        ("save", "m", r"must end in `\.keras` or `\.h5`; add it"),
        ("save", "m.hdf", r"must end in `\.keras` or `\.h5`"),
        ("save", "m.weights.h5", "save_weights"),
        ("save_weights", "m.h5", r"must end in `\.weights\.h5`"),
        ("save_weights", "m.keras", "save_model"),
    ],
)
def test_wrong_extension(tmp_path: Path, save: str, name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        getattr(mlp(), save)(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_folder_does_not_end_in_keras(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not end"):
        mlp().save(tmp_path / "m.keras", zipped=False)


@pytest.mark.parametrize("layer", [lambda: layers.Dense(3, activation=lambda x: x), lambda: torch.nn.Linear(6, 3)])
def test_a_config_that_no_file_can_hold(tmp_path: Path, layer: Any) -> None:
    path = tmp_path / "m.keras"
    mlp().save(path)
    before = path.read_bytes()
    model = triarch.Sequential([triarch.Input((6,)), layer()])
    with pytest.raises(ValueError, match="cannot be"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.keras"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder"):
        mlp().save(tmp_path / "none" / "m.keras")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        mlp().save(tmp_path / "m.keras")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match="locked"):
        mlp().save(folder / "m.keras")


def test_a_model_without_weights_yet(tmp_path: Path) -> None:
    model = triarch.Sequential([layers.Dense(3)])
    with pytest.warns(UserWarning, match="without weights"):
        model.save(tmp_path / "m.keras")
    assert not saving.load_model(tmp_path / "m.keras").built
    with pytest.raises(ValueError, match="no weights to save"):
        model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="no weights to load"):
        model.load_weights(tmp_path / "m.keras")


def test_no_code_is_ever_run(tmp_path: Path) -> None:
    mlp().save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="never runs code"):
        saving.load_model(tmp_path / "m.keras", safe_mode=False)


# Weights that do not fit.


def test_a_mismatch_names_layer_and_shapes_and_changes_nothing(tmp_path: Path) -> None:
    mlp().save_weights(tmp_path / "w.weights.h5")
    other = triarch.Sequential(
        [triarch.Input((6,)), layers.Dense(5), layers.Dense(4, name="last"), layers.Dense(2, name="extra")]
    )
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"'last' \(layers/dense_1\).*\(5, 4\).*\(5, 3\).*'extra'.*2 weights.*has 0"):
        other.load_weights(tmp_path / "w.weights.h5")
    for now, then in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_skip_mismatch_warns_for_each_layer(tmp_path: Path) -> None:
    model = mlp()
    model.save_weights(tmp_path / "w.weights.h5")
    other = triarch.Sequential(
        [triarch.Input((6,)), layers.Dense(5), layers.Dense(4, name="last"), layers.Dense(2, name="extra")]
    )
    last = other.layers[1].get_weights()
    with pytest.warns(UserWarning, match="does not fit") as warnings:
        other.load_weights(tmp_path / "w.weights.h5", skip_mismatch=True)
    assert [name in str(warning.message) for warning, name in zip(warnings, ("last", "extra"), strict=True)] == [
        True
    ] * 2
    assert Path(warnings[0].filename) == Path(__file__)
    np.testing.assert_array_equal(other.layers[0].get_weights()[0], model.layers[0].get_weights()[0])
    np.testing.assert_array_equal(other.layers[1].get_weights()[0], last[0])


def test_another_optimizer_is_left_as_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    model, other = mlp(), mlp(optimizer="sgd")
    x, y = data(rng)
    model.train_on_batch(x, y)
    model.save_weights(tmp_path / "w.weights.h5")
    other.train_on_batch(x, y)
    with pytest.warns(UserWarning, match="Optimizer 'sgd'"):
        other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


@saving.register_keras_serializable(package="tests")
class Table(layers.Layer):
    """Reads its state itself; `refuse` makes it fail after it has written."""

    refuse = False

    def build(self, input_shape: Any) -> None:
        self.entries = np.zeros(0)

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs

    def save_own_variables(self, store: Any) -> None:
        store["entries"] = self.entries

    def load_own_variables(self, store: Any) -> None:
        self.entries = np.array(store["entries"])
        if self.refuse and self.entries.size:
            raise ValueError("no more entries, please")


def test_state_of_any_size_in_a_class_of_the_users(tmp_path: Path) -> None:
    model = triarch.Sequential([triarch.Input((6,)), layers.Dense(3), Table()])
    model.layers[1].entries = np.arange(7)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(saving.load_model(tmp_path / "m.keras").layers[1].entries, np.arange(7))


def test_a_failing_loader_of_the_users_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = triarch.Sequential([triarch.Input((6,)), layers.Dense(3), Table()])
    model.layers[1].entries = np.arange(7)
    model.save_weights(tmp_path / "w.weights.h5")
    other = triarch.Sequential([triarch.Input((6,)), layers.Dense(3), Table()])
    before = other.get_weights()
    monkeypatch.setattr(Table, "refuse", True)
    with pytest.raises(ValueError, match="no more entries"):
        other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
    assert other.layers[1].entries.size == 0


# A save that does not come to its end.


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_an_exception_while_saving_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    model, path = mlp(), tmp_path / f"m.{suffix}"
    save = model.save if suffix == "keras" else model.save_weights
    save(path)
    before = path.read_bytes()

    def break_off(self: Any, store: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(layers.Dense, "save_own_variables", break_off)
    with pytest.raises(OSError, match="No space"):
        save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


KILLED = """
import os, sys, time
import numpy as np
import triarch
from triarch import layers

folder, module, name = sys.argv[1:]
model = triarch.Sequential([triarch.Input((6,)), layers.Dense(3)])
model.save(folder + "/m.keras")
model.save_weights(folder + "/m.weights.h5")
np.save(folder + "/kernel.npy", model.get_weights()[0])
model.set_weights([weight + 1 for weight in model.get_weights()])

def stop(*args, **kwargs):
    print("now", flush=True)
    time.sleep(60)

setattr(__import__(module, fromlist=["x"]), name, stop)
model.save(folder + "/m.keras") if name != "_write_array" else model.save_weights(folder + "/m.weights.h5")
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "fsync"), ("os", "replace"), ("zipfile", "ZipFile"), ("triarch.saving.hdf5", "_write_array")],
)
def test_a_killed_save_leaves_the_old_file(tmp_path: Path, module: str, name: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), module, name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    kernel = np.load(tmp_path / "kernel.npy")
    np.testing.assert_array_equal(saving.load_model(tmp_path / "m.keras").get_weights()[0], kernel)
    model = triarch.Sequential([triarch.Input((6,)), layers.Dense(3)])
    model.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(saving.load_model(tmp_path / "m.keras").get_weights()[0], kernel)


def test_the_state_is_read_before_any_of_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    model.save_weights(tmp_path / "w.weights.h5")
    other = mlp()
    before, read = other.get_weights(), weight_files.read_array

    def read_until_the_last(dataset: Any) -> np.ndarray:
        if dataset.name == "/layers/dense_1/vars/1":
            raise ValueError("a bad sector")
        return read(dataset)

    monkeypatch.setattr(weight_files, "read_array", read_until_the_last)
    with pytest.raises(ValueError, match="a bad sector"):
        other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.get_weights()[0], before[0])
