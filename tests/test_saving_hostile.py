"""Files that are broken, foreign or made to do harm: each is refused with a message that says what to do."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import triarch
from triarch import layers, saving

WEIGHTS = "model.weights.h5"


def model_of_two() -> triarch.Sequential:
    return triarch.Sequential([triarch.Input((4,)), layers.Dense(3), layers.Dense(2)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A sound file."""
    model_of_two().save(tmp_path / "good.keras")
    return tmp_path / "good.keras"


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_parts(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def with_config(good: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    parts = parts_of(good)
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps(change(config) or config).encode()
    write_parts(path, parts)


def with_weights(good: Path, path: Path, change: Callable[[h5py.File], Any]) -> None:
    parts = parts_of(good)
    buffer = io.BytesIO(parts[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    parts[WEIGHTS] = buffer.getvalue()
    write_parts(path, parts)


# Files of another kind, and broken ones: each writes `path`.


def truncated(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes()[:-200])


def damaged_inside(good: Path, path: Path) -> None:
    content = bytearray(good.read_bytes())
    middle = content.find(b'"class_name"')
    content[middle : middle + 4] = b"XXXX"
    path.write_bytes(content)


def weights_cut_off(good: Path, path: Path) -> None:
    parts = parts_of(good)
    write_parts(path, parts | {WEIGHTS: parts[WEIGHTS][:900]})


def weights_of_text(good: Path, path: Path) -> None:
    write_parts(path, parts_of(good) | {WEIGHTS: b"zero, zero, one"})


def without(name: str) -> Callable[[Path, Path], None]:
    def write(good: Path, path: Path) -> None:
        parts = parts_of(good)
        del parts[name]
        write_parts(path, parts)

    return write


def text_file(good: Path, path: Path) -> None:
    path.write_text("not a model at all")


def empty_file(good: Path, path: Path) -> None:
    path.write_bytes(b"")


def folder(good: Path, path: Path) -> None:
    path.mkdir()


def saved_model(good: Path, path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\x08\x01")


def torch_file(good: Path, path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)


def pickle_file(good: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [0.0]}))


def weights_file(good: Path, path: Path) -> None:
    path.write_bytes(parts_of(good)[WEIGHTS])


def zip_of_pictures(good: Path, path: Path) -> None:
    write_parts(path, {"cat.jpg": b"\xff\xd8"})


def config_of(text: bytes) -> Callable[[Path, Path], None]:
    return lambda good, path: write_parts(path, parts_of(good) | {"config.json": text})


def configured(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
    return lambda good, path: with_config(good, path, change)


def weighted(change: Callable[[h5py.File], Any]) -> Callable[[Path, Path], None]:
    return lambda good, path: with_weights(good, path, change)


# Changes of a config or of weights that would do harm.


def lambda_layer(config: dict[str, Any]) -> None:
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAAAAAAA", "defaults": None, "closure": None}}
    config["config"]["layers"][1]["config"]["activation"] = code


def module_of_choice(config: dict[str, Any]) -> None:
    config["config"]["layers"][1] |= {"module": "os", "class_name": "system", "config": "true"}


def function_of_choice(config: dict[str, Any]) -> None:
    call = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "exec"}
    config["config"]["layers"][1]["config"]["activation"] = call


def class_reference(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {"class_name": "__class__", "config": "os>system"}


def unknown_layer(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["class_name"] = "Dnese"


def unknown_argument(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["unitz"] = 7


def no_model(config: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}


def other_units(config: dict[str, Any]) -> None:
    config["config"]["layers"][2]["config"]["units"] = 5


def replaced(make: Callable[[h5py.Group, str], Any]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        group = file["layers/dense/vars"]
        del group["0"]
        make(group, "0")

    return change


def soft_link(group: h5py.Group, key: str) -> None:
    group[key] = h5py.SoftLink("/layers/dense_1/vars/0")


def external_link(group: h5py.Group, key: str) -> None:
    group[key] = h5py.ExternalLink("/etc/hostname", "/")


def external_storage(group: h5py.Group, key: str) -> None:
    group.create_dataset(key, (4, 3), "float32", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(group: h5py.Group, key: str) -> None:
    layout = h5py.VirtualLayout((4, 3), "float32")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4, 3))
    group.create_virtual_dataset(key, layout)


def strings(group: h5py.Group, key: str) -> None:
    group.create_dataset(key, data=["a"] * 12, dtype=h5py.string_dtype())


def references(group: h5py.Group, key: str) -> None:
    group.create_dataset(key, (4, 3), h5py.ref_dtype)


def records(group: h5py.Group, key: str) -> None:
    group.create_dataset(key, data=np.zeros((4, 3), [("a", "f4"), ("b", "i4")]))


def group_for_array(group: h5py.Group, key: str) -> None:
    group.create_group(key)


def nothing(group: h5py.Group, key: str) -> None:
    group[key] = h5py.Empty("f4")


def shape_bomb(group: h5py.Group, key: str) -> None:
    group.create_dataset(key, (1 << 20, 1 << 20), "float32", chunks=(1024, 1024), compression="gzip")


def other_shape(group: h5py.Group, key: str) -> None:
    group[key] = np.zeros((3, 4), "float32")


def one_weight_too_many(file: h5py.File) -> None:
    file["layers/dense/vars"]["2"] = np.zeros(3, "float32")


def linked_group(file: h5py.File) -> None:
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink("/etc/hostname", "/")


def zip_bomb(good: Path, path: Path) -> None:
    write_parts(path, parts_of(good) | {WEIGHTS: bytes(80 << 20)}, zipfile.ZIP_DEFLATED)


BROKEN: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "truncated": (truncated, "truncated: its end is missing"),
    "damaged inside": (damaged_inside, "damaged at its part 'config.json'"),
    "weights cut off": (weights_cut_off, "file of weights is damaged"),
    "weights of text": (weights_of_text, "file of weights is damaged"),
    "no config": (without("config.json"), "has no 'config.json'"),
    "no weights": (without(WEIGHTS), "no 'model.weights.h5', so it is not whole"),
    "text": (text_file, "neither a `.keras` file nor"),
    "empty": (empty_file, "empty"),
    "folder": (folder, "folder without 'config.json'"),
    "SavedModel": (saved_model, "TensorFlow SavedModel"),
    "torch": (torch_file, "PyTorch file.*load_state_dict"),
    "pickle": (pickle_file, "pickle.*load_state_dict"),
    "legacy HDF5": (weights_file, "HDF5 file of weights only"),
    "other zip": (zip_of_pictures, "no `.keras` file.*cat.jpg"),
    "config is no JSON": (config_of(b"{"), "'config.json' is damaged"),
    "config is not text": (config_of(b"\xff\xfe\xfa"), "'config.json' is damaged"),
    "config is a list": (config_of(b"[1, 2]"), "does not describe a model"),
    "config is deep": (config_of(b"[" * 100_000), "'config.json' is damaged"),
    "config nests deep": (config_of(b'{"class_name":"D","config":' * 600 + b"1" + b"}" * 600), "cannot be made"),
    "lambda": (configured(lambda_layer), "run code from the file; this is refused"),
    "module of choice": (configured(module_of_choice), "'system' of module 'os', which triarch does not know"),
    "function of choice": (configured(function_of_choice), "does not know"),
    "class reference": (configured(class_reference), "this is refused"),
    "unknown layer": (configured(unknown_layer), "'Dnese'"),
    "unknown argument": (configured(unknown_argument), "unitz"),
    "no model": (configured(no_model), "no model"),
    "other units": (configured(other_units), r"'dense_1' \(layers/dense_1\).*\(3, 5\).*\(3, 2\)"),
    "soft link": (weighted(replaced(soft_link)), "link to other data"),
    "external link": (weighted(replaced(external_link)), "link to other data"),
    "external group": (weighted(linked_group), "link to other data"),
    "external storage": (weighted(replaced(external_storage)), "not in the file"),
    "virtual array": (weighted(replaced(virtual)), "not in the file"),
    "strings": (weighted(replaced(strings)), "Expected numbers"),
    "references": (weighted(replaced(references)), "Expected numbers"),
    "records": (weighted(replaced(records)), "Expected numbers"),
    "group for array": (weighted(replaced(group_for_array)), "Expected a Dataset"),
    "no value": (weighted(replaced(nothing)), "not in the file"),
    "shape bomb": (weighted(replaced(shape_bomb)), "would fill"),
    "other shape": (weighted(replaced(other_shape)), r"\(4, 3\) in the model and \(3, 4\) in the file"),
    "too many": (weighted(one_weight_too_many), "has 2 weights, the file has 3"),
    "zip bomb": (zip_bomb, "would fill"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_file_is_refused(kind: str, good: Path, tmp_path: Path) -> None:
    write, message = BROKEN[kind]
    path = tmp_path / "bad.keras"
    write(good, path)
    with pytest.raises(ValueError, match=message) as error:
        saving.load_model(path)
    assert str(path) in str(error.value)


IN_WEIGHTS = ("weights cut off", "weights of text", "soft link", "external link", "shape bomb", "strings", "too many")


@pytest.mark.parametrize("kind", IN_WEIGHTS)
def test_bad_weights_leave_the_model_as_it_was(kind: str, good: Path, tmp_path: Path) -> None:
    write, message = BROKEN[kind]
    write(good, tmp_path / "bad.keras")
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(parts_of(tmp_path / "bad.keras")[WEIGHTS])
    model = model_of_two()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message if kind != "weights of text" else "neither"):
        model.load_weights(path)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("load", [saving.load_model, lambda path: model_of_two().load_weights(path)])
def test_a_missing_file_names_those_that_are_there(load: Callable[[Path], Any], good: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file.*'good\.keras'.*Received: .*best\.keras"):
        load(good.with_name("best.keras"))
    with pytest.raises(FileNotFoundError, match=r"folder .* does not exist"):
        load(good.parent / "none" / "best.keras")


def test_a_file_of_weights_is_no_model(tmp_path: Path) -> None:
    model_of_two().save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match=r"weights only.*load_weights"):
        saving.load_model(tmp_path / "w.weights.h5")


def test_weights_of_the_format_before_keras_3(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
    with pytest.raises(ValueError, match="names a layer that it does not hold"):
        model_of_two().load_weights(tmp_path / "old.h5")


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name, protocol in (("a.keras", 0), ("b.keras", 2), ("c.weights.h5", 4)):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace), protocol))
        with pytest.raises(ValueError, match="Received"):
            saving.load_model(tmp_path / name)
        with pytest.raises(ValueError, match="Received"):
            model_of_two().load_weights(tmp_path / name)
    assert not trace.exists()


def test_unknown_content_beside_the_weights_is_ignored(good: Path, tmp_path: Path) -> None:
    """Keras stores more than triarch needs, such as the states of seed generators."""

    def add(file: h5py.File) -> None:
        file.create_group("layers/dropout/seed_generator/vars")["0"] = np.zeros(2, "uint32")

    with_weights(good, tmp_path / "more.keras", add)
    np.testing.assert_array_equal(
        saving.load_model(tmp_path / "more.keras").get_weights()[0], saving.load_model(good).get_weights()[0]
    )
