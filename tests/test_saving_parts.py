"""What files of models hold beside weights, weights in several files, and both with real Keras."""

from __future__ import annotations

import io
import json
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

Library = Any


def network(library: Library, optimizer: str = "adam") -> Any:
    model = library.Sequential(
        [
            library.Input((6,)),
            library.layers.Dense(5, activation="relu"),
            library.layers.BatchNormalization(),
            library.layers.Dense(3),
        ]
    )
    model.compile(optimizer, "mse")
    model.train_on_batch(np.ones((4, 6)), np.ones((4, 3)))
    return model


def arrays_of(model: Any) -> list[np.ndarray]:
    state = [*model.weights, *model.optimizer.variables]
    return [np.asarray(each.detach() if isinstance(each, torch.Tensor) else each.value.detach()) for each in state]


def assert_same(first: list[Any], second: list[Any]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


# Shards.

SIZES = (1.2e-7, 2e-7, 4e-7, 1.0)  # GiB: from a weight to all of them in one file


@pytest.mark.parametrize("size", SIZES)
def test_shards_come_back(size: float, tmp_path: Path) -> None:
    model, fresh = network(triarch), network(triarch)
    model.save_weights(tmp_path / "w.weights.json", max_shard_size=size)
    index = json.loads((tmp_path / "w.weights.json").read_text())
    names = {path.name for path in tmp_path.glob("*.h5")}
    named = [name if isinstance(name, list) else [name] for name in index["weight_map"].values()]
    assert names == {each for entry in named for each in entry}
    assert (len(names) == 1) == (size == 1.0)
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in arrays_of(model))
    for path in tmp_path.glob("*.h5"):
        with h5py.File(path) as file:
            sizes: list[int] = []
            file.visititems(lambda _, each, sizes=sizes: sizes.append(getattr(each, "nbytes", 0)))
        assert sum(sizes) <= size * 2**30
    fresh.load_weights(tmp_path / "w.weights.json")
    assert_same(arrays_of(fresh), arrays_of(model))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("direction", ["from Keras", "to Keras", "to Keras, over others"])
def test_shards_of_keras(direction: str, size: float, keras: Library, tmp_path: Path) -> None:
    source, target = (keras, triarch) if direction == "from Keras" else (triarch, keras)
    model, fresh = network(source), network(target)
    for _ in range(2 if "over" in direction else 1):
        model.train_on_batch(np.ones((4, 6)), np.zeros((4, 3)))
        model.save_weights(tmp_path / "w.weights.json", max_shard_size=size)
    fresh.load_weights(tmp_path / "w.weights.json")
    assert_same(arrays_of(fresh), arrays_of(model))


def test_shards_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "w_extra.weights.h5").write_bytes(b"somebody's")
    model = network(triarch)
    for size in (1.2e-7, 2e-7, 1.0, 1.2e-7):
        model.save_weights(tmp_path / "w.weights.json", max_shard_size=size)
        index = json.loads((tmp_path / "w.weights.json").read_text())
        named = {name for entry in index["weight_map"].values() for name in np.atleast_1d(entry)}
        there = {path.name for path in tmp_path.glob("*.h5")}
        assert there - named <= {"w_extra.weights.h5", "w_00000.weights.h5"}  # Keras opens that one in any case
        fresh = network(triarch)
        fresh.load_weights(tmp_path / "w.weights.json")
        assert_same(arrays_of(fresh), arrays_of(model))
    assert (tmp_path / "w_extra.weights.h5").read_bytes() == b"somebody's"


def test_shards_of_killed_writers_are_cleared(tmp_path: Path) -> None:
    model = network(triarch)
    model.save_weights(tmp_path / "w.weights.json", max_shard_size=1.2e-7)
    for mark in ("0123abcd", "0000ffff"):
        (tmp_path / f"w_{mark}_00003.weights.h5").write_bytes(b"half")
    (tmp_path / ".triarch-00000000-0000ffff-w.weights.json").write_bytes(b"")  # somebody elsewhere is at it
    model.save_weights(tmp_path / "w.weights.json", max_shard_size=1.2e-7)
    assert not (tmp_path / "w_0123abcd_00003.weights.h5").exists()
    assert (tmp_path / "w_0000ffff_00003.weights.h5").exists()


def test_shards_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.weights.json").symlink_to(tmp_path / "real" / "w.weights.json")
    model, fresh = network(triarch), network(triarch)
    for _ in range(2):
        model.save_weights(tmp_path / "link.weights.json", max_shard_size=1.2e-7)
        fresh.load_weights(tmp_path / "link.weights.json")
        assert_same(arrays_of(fresh), arrays_of(model))
    assert [path.name for path in tmp_path.glob("*.h5")] == []


def without_shard(folder: Path) -> None:
    (folder / "w_00001.weights.h5").unlink()


def damaged_shard(folder: Path) -> None:
    (folder / "w_00001.weights.h5").write_bytes(b"no")


def no_index(folder: Path) -> None:
    (folder / "w.weights.json").write_text("[1, 2]")


def elsewhere(folder: Path) -> None:
    text = (folder / "w.weights.json").read_text()
    (folder / "w.weights.json").write_text(text.replace('"w_00001', '"../w_00001'))


def without_a_group(folder: Path) -> None:
    index = json.loads((folder / "w.weights.json").read_text())
    del index["weight_map"]["/layers/dense_1/vars"]
    (folder / "w.weights.json").write_text(json.dumps(index))


@pytest.mark.parametrize("fault", [without_shard, damaged_shard, no_index, elsewhere, without_a_group])
def test_shards_that_are_not_whole_change_nothing(fault: Callable[[Path], None], tmp_path: Path) -> None:
    network(triarch).save_weights(tmp_path / "w.weights.json", max_shard_size=1.2e-7)
    fault(tmp_path)
    model = network(triarch)
    before = [array.copy() for array in arrays_of(model)]
    with pytest.raises(ValueError, match=r"w\.weights\.json|w_00001"):
        model.load_weights(tmp_path / "w.weights.json")
    assert_same(arrays_of(model), before)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("w.weights.json", None, "must end in"),
        ("w.json", 1.0, "must end in"),
        ("w.weights.json", 1e-9, "more than a whole shard"),
        ("w.weights.json", 0, "positive number"),
    ],
)
def test_shards_that_cannot_be(name: str, size: float | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        network(triarch).save_weights(tmp_path / name, max_shard_size=size)
    assert not list(tmp_path.iterdir())


def test_shards_by_the_name_of_a_whole_file(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'\.weights\.json'"):
        network(triarch).save_weights(tmp_path / "w.weights.h5", max_shard_size=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.weights.json", "w_00000.weights.h5"]
    with pytest.raises(ValueError, match="is a path"):
        network(triarch).save_weights(io.BytesIO(), max_shard_size=1)
    with pytest.raises(FileExistsError):
        network(triarch).save_weights(tmp_path / "w.weights.json", overwrite=False, max_shard_size=1)


# Streams and types.


@pytest.mark.parametrize("direction", ["from Keras", "to Keras"])
def test_streams_of_keras(direction: str, keras: Library) -> None:
    from keras.src.saving import saving_lib  # Keras's public functions take paths alone

    source, target = (saving_lib, saving) if direction == "from Keras" else (saving, saving_lib)
    model, stream = network(keras if direction == "from Keras" else triarch), io.BytesIO()
    source.save_model(model, stream)
    stream.seek(0)
    assert_same(arrays_of(target.load_model(stream)), arrays_of(model))


def test_types_of_keras(keras: Library, tmp_path: Path) -> None:
    theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="float16"), keras.layers.Dense(2)])
    ours = triarch.Sequential([triarch.Input((4,)), layers.Dense(3, dtype="bfloat16"), layers.Dense(2)])
    values = [np.ones((4, 3)), np.ones(3), np.ones((3, 2)), np.ones(2)]
    theirs.set_weights(values)
    theirs.save_weights(tmp_path / "t.weights.h5")
    ours.load_weights(tmp_path / "t.weights.h5")
    assert_same(ours.get_weights(), values)
    ours.save_weights(tmp_path / "o.weights.h5")
    theirs.set_weights([0 * value for value in values])
    theirs.load_weights(tmp_path / "o.weights.h5")
    assert_same([np.asarray(value, "float32") for value in theirs.get_weights()], values)


@pytest.mark.parametrize("direction", ["ours", "from Keras", "to Keras"])
def test_names_that_look_automatic(direction: str, keras: Library, tmp_path: Path) -> None:
    """What our files say of names besides is nothing to Keras."""
    source = keras if direction == "from Keras" else triarch
    inputs = source.Input((3,))
    x = source.layers.Dense(2, name="dense_70")(inputs)
    model = source.Model(inputs, source.layers.Dense(2)(x))
    model.save(tmp_path / "m.keras")
    loaded = (keras if direction == "to Keras" else triarch).saving.load_model(tmp_path / "m.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    if direction == "ours":
        assert list(loaded.state_dict()) == list(model.state_dict())
        assert "dense_70.kernel" in loaded.state_dict()


# Assets.


def custom_layer(library: Library) -> type:
    @library.saving.register_keras_serializable(package="parts")
    class Notes(library.layers.Layer):
        """Keeps a text in a file of its own, and the number of its letters among the weights."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.text = "nothing"

        def call(self, inputs: Any) -> Any:
            return inputs

        def save_own_variables(self, store: Any) -> None:
            store["letters"] = np.array(len(self.text))

        def load_own_variables(self, store: Any) -> None:
            self.letters = int(store["letters"])

        def save_assets(self, dir_path: str) -> None:
            Path(dir_path, "text.txt").write_text(self.text, encoding="utf-8")

        def load_assets(self, dir_path: str) -> None:
            self.text = Path(dir_path, "text.txt").read_text(encoding="utf-8")

    return Notes


def noting(library: Library) -> Any:
    notes = custom_layer(library)
    inner = library.Sequential([library.Input((3,)), notes(name="inner"), library.layers.Dense(3)])
    model = library.Sequential([library.Input((3,)), notes(name="outer"), inner, notes(name="last")])
    for layer, text in ((model.layers[0], "äußeres"), (inner.layers[0], "inner\ntext"), (model.layers[2], "")):
        layer.text = text
    return model


def texts_of(model: Any) -> list[str]:
    return [model.layers[0].text, model.layers[1].layers[0].text, model.layers[2].text]


@pytest.mark.parametrize("direction", ["ours", "from Keras", "to Keras"])
@pytest.mark.parametrize("zipped", [True, False])
def test_assets_of_users(zipped: bool, direction: str, keras: Library, tmp_path: Path) -> None:
    source = keras if direction == "from Keras" else triarch
    target = keras if direction == "to Keras" else triarch
    model = noting(source)
    path = tmp_path / ("m.keras" if zipped else "m")
    model.save(path, zipped=zipped)
    custom_layer(target)  # of the same name
    loaded = target.saving.load_model(path)
    assert texts_of(loaded) == ["äußeres", "inner\ntext", ""]
    assert loaded.layers[0].letters == 7


def test_assets_in_streams() -> None:
    model, stream = noting(triarch), io.BytesIO()
    model.save(stream)
    assert texts_of(saving.load_model(stream)) == texts_of(model)


def with_part(path: Path, target: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.namelist():
            if part != name:
                new.writestr(part, old.read(part))
        new.writestr(name, content)
    return target


@pytest.mark.parametrize("name", ["assets/../../evil", "assets/layers/notes/../../../../evil", "assets\\..\\evil"])
def test_assets_outside_their_folder(name: str, tmp_path: Path) -> None:
    noting(triarch).save(tmp_path / "m.keras")
    path = with_part(tmp_path / "m.keras", tmp_path / "n.keras", name, b"evil")
    with pytest.raises(ValueError, match="outside its folder"):
        saving.load_model(path)
    assert not list(tmp_path.parent.glob("**/evil"))


def test_assets_that_are_damaged(tmp_path: Path) -> None:
    noting(triarch).save(tmp_path / "m.keras")
    path = with_part(tmp_path / "m.keras", tmp_path / "n.keras", "assets/layers/notes/text.txt", b"\xff\xfe")
    with pytest.raises(ValueError, match=r"assets of 'outer'"):
        saving.load_model(path)


# Vocabularies, in the form in which Keras keeps those that `adapt` has made.


def as_keras_keeps(path: Path, target: Path, name: str, tokens: list[str], numbers: np.ndarray | None) -> Path:
    """The file with the vocabulary of the layer `name` in a file of its own instead of in the configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        config = json.loads(old.read("config.json"))
        for entry in config["config"]["layers"]:
            if entry["config"]["name"] == name:
                entry["config"] |= {"vocabulary": None, "idf_weights": None}
        new.writestr("metadata.json", old.read("metadata.json"))
        new.writestr("config.json", json.dumps(config))
        new.writestr(f"assets/layers/{name}/vocabulary.txt", "\n".join(tokens))
        weights = io.BytesIO(old.read("model.weights.h5"))
        with h5py.File(weights, "r+") as file:
            if f"layers/{name}/vars" in file:
                del file[f"layers/{name}/vars"]
            if numbers is not None:
                file.create_group(f"layers/{name}/vars").create_dataset("idf_weights", data=numbers)
        new.writestr("model.weights.h5", weights.getvalue())
    return target


TEXTS = np.array(["the cat", "the mat", "a zebra", ""])


@pytest.mark.parametrize("mode", ["int", "multi_hot", "tf_idf"])
def test_vocabularies_that_keras_has_adapted(mode: str, tmp_path: Path) -> None:
    layer = layers.TextVectorization(
        output_mode=mode, name="text_vectorization", max_tokens=5, pad_to_max_tokens=mode != "int"
    )
    layer.adapt(["the cat sat", "the mat"])
    ends = [layers.Embedding(9, 2), layers.GlobalAveragePooling1D()] if mode == "int" else [layers.Dense(2)]
    model = triarch.Sequential([triarch.Input((1,), dtype="string"), layer, *ends])
    expected = model.predict(TEXTS, verbose=0)
    model.save(tmp_path / "m.keras")
    with (
        zipfile.ZipFile(tmp_path / "m.keras") as archive,
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file,
    ):
        group = file.get("layers/text_vectorization/vars")
        numbers = None if group is None else group["idf_weights"][()]
    assert (numbers is not None) == (mode == "tf_idf")
    path = as_keras_keeps(tmp_path / "m.keras", tmp_path / "k.keras", layer.name, layer.get_vocabulary(), numbers)
    loaded = saving.load_model(path)
    assert loaded.layers[0].get_vocabulary() == layer.get_vocabulary()
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), expected, rtol=1e-6)
    loaded.save(tmp_path / "again.keras")
    np.testing.assert_allclose(
        saving.load_model(tmp_path / "again.keras").predict(TEXTS, verbose=0), expected, rtol=1e-6
    )


def test_integers_that_keras_has_adapted(tmp_path: Path) -> None:
    layer = layers.IntegerLookup(name="integer_lookup", vocabulary=[30, 20, 10])
    model = triarch.Sequential([triarch.Input((2,), dtype="int64"), layer, layers.Embedding(4, 2)])
    numbers = np.array([[10, 20], [7, 30]])
    expected = model.predict(numbers, verbose=0)
    model.save(tmp_path / "m.keras")
    tokens = [str(token) for token in layer.get_vocabulary()]
    path = as_keras_keeps(tmp_path / "m.keras", tmp_path / "k.keras", layer.name, tokens, None)
    np.testing.assert_array_equal(saving.load_model(path).predict(numbers, verbose=0), expected)
