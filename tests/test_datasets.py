"""`triarch.datasets`: the shapes that Keras gives, where files are looked for, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import triarch.datasets
from triarch import config, files
from triarch.datasets import cifar10, digits, fashion_mnist, mnist, originals


@pytest.fixture
def shared(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the original files, where `load_data` looks first."""
    monkeypatch.setenv("TRIARCH_DATASETS", str(data_folder))
    return data_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no TRIARCH_DATASETS."""
    monkeypatch.delenv("TRIARCH_DATASETS", raising=False)
    monkeypatch.setenv("TRIARCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_digits_are_split_into_fixed_stratified_parts() -> None:
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (1438, 8, 8)
    assert x_test.shape == (359, 8, 8)
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert x_train.min() == 0
    assert x_train.max() == 16
    counts = np.bincount(np.concatenate([y_train, y_test]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.abs(np.bincount(y_test) - counts / 5).max() < 1
    assert hashlib.sha256(y_test.tobytes() + x_test.tobytes()).hexdigest() == DIGITS_TEST_SHA256
    first = [0, 0, 5, 13, 9, 1, 0, 0]  # the first line of the original file
    assert x_train[0, 0].tolist() == first
    assert y_train[:10].tolist() == list(range(10))


DIGITS_TEST_SHA256 = "a7e987049e1ec3de4124be56d8e46377e878025088888eab097253eb9d34b42d"


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_mnist_and_fashion_mnist_have_keras_shapes(shared: Path, module: object) -> None:
    (x_train, y_train), (x_test, y_test) = module.load_data()
    assert (x_train.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert (y_train.shape, y_test.shape) == ((60000,), (10000,))
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert np.bincount(y_test).shape == (10,)
    x_train[0] = 0  # the arrays are the caller's own


def test_mnist_begins_with_the_five(shared: Path) -> None:
    (x_train, y_train), (_, y_test) = mnist.load_data()
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert y_test[:3].tolist() == [7, 2, 1]
    assert x_train[0, 5, 12:16].tolist() == [3, 18, 18, 18]


def test_cifar10_has_keras_shapes(shared: Path) -> None:
    (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    assert (x_train.shape, y_train.shape) == ((50000, 32, 32, 3), (50000, 1))
    assert (x_test.shape, y_test.shape) == ((10000, 32, 32, 3), (10000, 1))
    assert {array.dtype for array in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert y_train[:5, 0].tolist() == [6, 9, 9, 4, 1]
    assert x_train[0, 0, 0].tolist() == [59, 62, 63]


def small_source(monkeypatch: pytest.MonkeyPatch, url: str = "http://127.0.0.1:9/{name}.gz") -> bytes:
    """Make mnist a set of one small file, and give its content."""
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)])
    packed = gzip.compress(content, mtime=0)
    row = originals.Original("a-idx", hashlib.sha256(content).hexdigest(), hashlib.sha256(packed).hexdigest())
    monkeypatch.setitem(originals.SOURCES, "mnist", originals.Source("mnist", url, (row,)))
    return content


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("place", ["TRIARCH_DATASETS", "cache"])
def test_files_are_found_plain_and_packed_in_both_places(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, packing: str
) -> None:
    content = small_source(monkeypatch)
    folder = home / "datasets"
    if place == "TRIARCH_DATASETS":
        folder = tmp_path / "mine"
        monkeypatch.setenv("TRIARCH_DATASETS", str(folder))
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packing]
    (folder / "mnist").mkdir(parents=True)
    (folder / "mnist" / f"a-idx{packing}").write_bytes(pack(content))
    array = originals.read_idx("mnist", originals.SOURCES["mnist"].originals[0])
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_a_wrong_or_damaged_file_is_refused_and_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    small_source(monkeypatch)
    path = home / "datasets" / "mnist" / f"a-idx{packing}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not the original")
    with pytest.raises(files.ChecksumError, match=rf"{path}.* is not used"):
        originals.read("mnist", originals.SOURCES["mnist"].originals[0])
    assert path.read_bytes() == b"not the original"


def test_offline_the_error_says_where_to_put_which_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_source(monkeypatch)
    with pytest.raises(ConnectionError, match="TRIARCH_DATASETS") as caught:
        originals.read("mnist", originals.SOURCES["mnist"].originals[0])
    assert f"{home}/datasets/mnist/a-idx.gz" in str(caught.value)
    assert "'a-idx' of the data set 'mnist'" in str(caught.value)


def test_a_data_sets_folder_that_is_missing_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIARCH_DATASETS", "/nowhere")
    with pytest.raises(NotADirectoryError, match="/nowhere"):
        mnist.load_data()


def test_a_missing_file_is_downloaded_into_the_cache(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small_source(monkeypatch, f"file://{tmp_path}/{{name}}.gz")
    (tmp_path / "a-idx.gz").write_bytes(gzip.compress(content, mtime=0))
    row = originals.SOURCES["mnist"].originals[0]
    assert originals.read("mnist", row) == content
    (tmp_path / "a-idx.gz").unlink()
    assert originals.read("mnist", row) == content
    assert os.listdir(home / "datasets" / "mnist") == ["a-idx.gz"]


def test_the_archive_of_cifar10_is_downloaded_and_unpacked(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = np.zeros((7, 3073), np.uint8)
    records[:, 0] = range(7)
    records[:, 1:1025] = 10
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = [row.name for row in originals.SOURCES["cifar10"].originals]
    for name in names:
        (folder / name).write_bytes(records.tobytes())
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    checksum = hashlib.sha256(records.tobytes()).hexdigest()
    rows = tuple(originals.Original(name, checksum, files.file_digest(archive)) for name in names)
    source = originals.Source("cifar-10", f"file://{archive}", rows)
    monkeypatch.setitem(originals.SOURCES, "cifar10", source)
    (x_train, y_train), (x_test, _) = cifar10.load_data()
    assert x_train.shape == (35, 32, 32, 3)
    assert y_train[:8, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert x_test[0, 5, 5].tolist() == [10, 0, 0]

    monkeypatch.setattr(config, "_image_data_format", "channels_first")
    assert cifar10.load_data()[1][0].shape == (7, 3, 32, 32)


def test_every_data_set_is_a_module_of_the_package() -> None:
    makers = {"DistortedImages", "Distortion", "cluttered", "digit_addition", "distort"}
    for name in set(triarch.datasets.__all__) - makers:
        assert callable(getattr(triarch.datasets, name).load_data)


def test_the_table_agrees_with_the_files(shared: Path) -> None:
    for name, source in originals.SOURCES.items():
        for row in source.originals:
            packed = shared / source.folder / f"{row.name}.gz"
            assert name == "cifar10" or files.matches(packed, row.download_sha256), packed
