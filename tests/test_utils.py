"""`triarch.utils` against `keras.utils`."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from triarch import registry, utils

CONTENT = b"some bytes"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("x", "num_classes"),
    [
        ([0, 2, 1], None),
        ([0, 2, 1], 5),
        ([[0], [3]], None),
        ([[0, 1], [2, 0]], 3),
        (np.array([[[1], [2]]], "uint8"), 4),
        (np.array([1.0, 2.0]), None),
        (3, None),
        ([], 4),
        (torch.tensor([[0], [2]]), 3),
        (torch.tensor([[0, 1], [2, 0]]), 4),
    ],
)
def test_to_categorical_is_that_of_keras(keras: types.ModuleType, x: object, num_classes: int | None) -> None:
    ours, theirs = utils.to_categorical(x, num_classes), keras.utils.to_categorical(x, num_classes)
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert (ours == theirs).all()


@pytest.mark.parametrize(
    ("x", "num_classes", "message"),
    [
        ([0, 3], 3, "from 0 to 2.*Received: numbers from 0 to 3"),
        ([], None, "empty"),
        (torch.tensor([4]), 2, "to 1"),
        ([-1, 0], 3, "from 0 to 2.*Received: numbers from -1 to 0"),
        (torch.tensor([-1]), 3, "from 0 to 2"),
    ],
)
def test_to_categorical_refuses_numbers_out_of_range(x: object, num_classes: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.to_categorical(x, num_classes)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("kind", ["array", "tensor", "list"])
def test_normalize_is_that_of_keras(
    keras: types.ModuleType, rng: np.random.Generator, axis: int, order: int, kind: str
) -> None:
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    x[0, 0] = x[:, 1] = 0
    given = {"array": x, "tensor": torch.from_numpy(x), "list": x.tolist()}[kind]
    ours, theirs = utils.normalize(given, axis, order), keras.utils.normalize(given, axis, order)
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_normalize_along_the_first_axis() -> None:
    np.testing.assert_allclose(utils.normalize(np.array([[3.0, 1.0], [4.0, 0.0]]), axis=0), [[0.6, 1.0], [0.8, 0.0]])


def test_set_random_seed_repeats_python_numpy_and_torch() -> None:
    draws = []
    for _ in range(2):
        utils.set_random_seed(3)
        draws.append((np.random.rand(), torch.rand(()).item()))
    assert draws[0] == draws[1]


def test_clear_session_starts_names_anew() -> None:
    assert registry.unique_name("thing") == "thing"
    assert registry.unique_name("thing") == "thing_1"
    utils.clear_session()
    assert registry.unique_name("thing") == "thing"


def test_custom_objects_are_found_in_scopes_and_in_the_live_table() -> None:
    with utils.CustomObjectScope({"one": abs}):
        assert utils.get_registered_object("one") is abs
    assert utils.get_registered_object("one") is None
    utils.get_custom_objects()["two"] = abs
    assert utils.get_registered_object("two") is abs
    del utils.get_custom_objects()["two"]


def test_scopes_are_those_of_one_thread() -> None:
    inside = threading.Event()
    left = threading.Event()

    def hold_a_scope() -> None:
        with utils.CustomObjectScope({"one": abs}):
            inside.set()
            left.wait(10)

    thread = threading.Thread(target=hold_a_scope)
    thread.start()
    inside.wait(10)
    found = utils.get_registered_object("one")
    left.set()
    thread.join()
    assert found is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool])
def test_tensors_become_data_and_back(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0.0, 1.0], [0.5, -2.25]]).to(dtype)
    data = json.loads(json.dumps(utils.serialize_keras_object(tensor)))
    restored = utils.deserialize_keras_object(data)
    assert restored.dtype is dtype
    assert torch.equal(restored, tensor)


def test_every_kind_of_data_becomes_json_and_comes_back() -> None:
    things = [1, 2.5, "three", None, True, b"four", slice(1, None, 2), ..., {"five": [6, {"seven": 8}]}]
    assert utils.deserialize_keras_object(json.loads(json.dumps(utils.serialize_keras_object(things)))) == things
    numbers = [np.int64(3), np.float64(0.5), torch.float32, torch.device("cpu"), torch.Size([2, 3])]
    assert utils.serialize_keras_object(numbers) == [3, 0.5, "float32", "cpu", [2, 3]]


def test_names_are_those_of_keras(keras: types.ModuleType) -> None:
    others = {"recurrent_from_torch", "recurrent_to_torch"}  # which Keras has no use for
    assert set(utils.__all__) - others <= set(dir(keras.utils))


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """The URL of a small file."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "data.bin").write_bytes(CONTENT)
    return f"file://{tmp_path}/web/data.bin"


def test_get_file_downloads_once(tmp_path: Path, origin: str) -> None:
    path = utils.get_file(origin=origin, file_hash=SHA256, cache_dir=tmp_path)
    assert path == str(tmp_path / "datasets" / "data.bin")
    (tmp_path / "web" / "data.bin").write_bytes(b"changed")
    assert utils.get_file("data.bin", origin, cache_dir=tmp_path) == path
    assert Path(path).read_bytes() == CONTENT
    utils.get_file("data.bin", origin, cache_dir=tmp_path, force_download=True)
    assert Path(path).read_bytes() == b"changed"


def test_get_file_keeps_a_wrong_file_under_another_name(
    tmp_path: Path, origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "name").write_text("wrong")
    path = utils.get_file(
        "name", origin, md5_hash=hashlib.md5(CONTENT).hexdigest(), cache_subdir="sub", cache_dir=tmp_path
    )
    assert Path(path).read_bytes() == CONTENT
    assert (tmp_path / "sub" / "name.rejected").read_text() == "wrong"
    assert "name.rejected" in capsys.readouterr().out


def test_get_file_uses_the_folder_of_triarch_home(tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIARCH_HOME", str(tmp_path / "home"))
    assert utils.get_file(origin=origin) == f"{tmp_path}/home/datasets/data.bin"


@pytest.mark.parametrize(("fname", "folder"), [(None, "a.zip"), ("b", "b"), ("b.zip", "b_extracted")])
def test_get_file_unpacks_where_keras_does(
    tmp_path: Path, fname: str | None, folder: str, keras: types.ModuleType
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "text")
    arguments = {"fname": fname, "origin": f"file://{tmp_path}/a.zip", "extract": True}
    ours = utils.get_file(**arguments, cache_dir=tmp_path)
    assert ours == str(tmp_path / "datasets" / folder)
    assert os.listdir(ours) == ["x"]
    (tmp_path / "keras").mkdir()
    theirs = keras.utils.get_file(**arguments, cache_dir=tmp_path / "keras")
    assert Path(theirs).name == Path(ours).name
    assert os.listdir(theirs) == ["x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "origin"),
        ({"fname": "a/b", "origin": "http://x/y"}, "plain file name"),
        ({"origin": "http://x/"}, "plain file name"),
    ],
)
def test_get_file_refuses_what_names_no_file(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.get_file(**arguments)


def test_get_file_says_when_there_is_nothing_to_unpack(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ValueError, match="no archive"):
        utils.get_file(origin=origin, extract=True, cache_dir=tmp_path)
