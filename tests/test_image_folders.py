"""Folders of images as batches: their order, how threads end, what is skipped, and what is refused."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import triarch
from triarch import layers, utils
from triarch.training.images import batches as image_batches
from triarch.training.images import resizing as image_resizing
from triarch.training.images.batches import ImageFolder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten pictures in two classes, each with its number as the value of all pixels."""
    for number in range(10):
        place = tmp_path / "flat" / ("b" if number > 5 else "a")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, number, number)).save(place / f"{number}.png")
    return tmp_path / "flat"


def made(folder: Path, **settings: object) -> ImageFolder:
    return utils.image_dataset_from_directory(folder, **({"image_size": 8, "verbose": False} | settings))


def numbers_of(batches: object) -> list[int]:
    """The values of the pictures of `flat`, in their order."""
    return [int(image.max()) for images, _ in batches for image in images]


def test_each_epoch_has_a_new_order(flat: Path) -> None:
    data = made(flat, batch_size=3, seed=5)
    epochs = [numbers_of(data) for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [numbers_of(again) for again in [made(flat, batch_size=3, seed=5)] * 3] == epochs
    for images, labels in data:
        assert ((images[:, 0, 0, 0] > 5).int() == labels).all()
    still = made(flat, batch_size=3, shuffle=False)
    assert numbers_of(still) == numbers_of(still) == list(range(10))
    assert numbers_of(zip(*[[images for images, _ in still]] * 2, strict=True)) == list(range(10))
    validation = made(flat, seed=1, validation_split=0.5, subset="both")[1]
    assert numbers_of(validation) == numbers_of(validation)


def test_without_a_seed_numpys_decides(flat: Path) -> None:
    orders = []
    for seed in (1, 1, 2):
        utils.set_random_seed(seed)
        orders.append(numbers_of(made(flat)))
    assert orders[0] == orders[1] != orders[2]


def test_two_iterations_at_a_time(flat: Path) -> None:
    data = made(flat, batch_size=2, shuffle=False)
    pairs = list(zip(data, data, strict=True))
    assert len(pairs) == len(data) == 5
    assert all(torch.equal(one[0], other[0]) for one, other in pairs)


def test_models_learn_from_folders(flat: Path) -> None:
    training, validation = made(flat, batch_size=4, seed=2, validation_split=0.2, subset="both")
    model = triarch.Sequential([layers.Rescaling(1 / 9), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.compile("adam", triarch.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(training, validation_data=validation, epochs=2, verbose=0).history
    assert len(history["val_loss"]) == 2
    assert model.evaluate(training, verbose=0, return_dict=True)["loss"] > 0
    assert model.predict(made(flat, label_mode=None, batch_size=4), verbose=0).shape == (10, 2)
    model.fit(training, steps_per_epoch=1, epochs=5, verbose=0)


def test_what_is_said(flat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(flat, verbose=True, validation_split=0.2, subset="both", seed=1)
    assert capsys.readouterr().out == (
        "Found 10 files belonging to 2 classes.\nUsing 8 files for training.\nUsing 2 files for validation.\n"
    )
    made(flat, verbose=True, labels=None)
    assert capsys.readouterr().out == "Found 10 files.\n"
    made(flat)
    assert capsys.readouterr().out == ""


def test_webp_and_several_orders_of_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "only").mkdir()
    pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "only" / "a.webp", lossless=True)
    for data_format, axes in (("channels_last", (0, 1, 2)), ("channels_first", (2, 0, 1))):
        images, labels = next(iter(made(tmp_path, image_size=(5, 6), data_format=data_format)))
        np.testing.assert_array_equal(images[0], pixels.transpose(axes))
        assert labels.tolist() == [0]


# Files that cannot be read


@pytest.fixture
def damaged(flat: Path) -> Path:
    """`flat` with an empty file, one that is cut off, and a link to nothing."""
    (flat / "a" / "0.png").write_bytes(b"")
    whole = (flat / "b" / "9.png").read_bytes()
    (flat / "b" / "9.png").write_bytes(whole[:50])
    (flat / "b" / "none.png").symlink_to(flat / "nowhere.png")
    return flat


def test_unreadable_files_are_refused_by_name(damaged: Path) -> None:
    data = made(damaged, batch_size=2, shuffle=False)
    assert len(data.file_paths) == 11
    with pytest.raises(ValueError, match=r"a/0\.png' is empty"):
        list(data)
    (damaged / "a" / "0.png").unlink()
    batches = iter(made(damaged, batch_size=2, shuffle=False))
    assert [len(next(batches)[0]) for _ in range(4)] == [2] * 4  # what was read before is given
    with pytest.raises(ValueError, match=r"b/9\.png' is not an image"):
        next(batches)
    (damaged / "b" / "9.png").unlink()
    with pytest.raises(ValueError, match=r"b/none\.png' cannot be opened: No such file"):
        list(made(damaged))


def test_unreadable_files_are_skipped_with_one_warning(damaged: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = made(damaged, batch_size=3, unreadable="skip", shuffle=False)
        assert numbers_of(data) == numbers_of(data) == list(range(1, 9))
    text = str(caught[0].message)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "Left out 3 of 11 files" in text
    assert all(name in text for name in ("a/0.png", "b/9.png", "b/none.png"))
    assert len(data) == 3
    with pytest.warns(UserWarning, match="Left out 3 of 11"):
        data = made(damaged, labels=list(range(11)), unreadable="skip", validation_split=0.5, subset="both", seed=1)
    for images, labels in (*data[0], *data[1]):
        assert images[:, 0, 0, 0].tolist() == labels.tolist()


def test_skipping_says_nothing_where_all_can_be_read(flat: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers_of(made(flat, unreadable="skip", shuffle=False)) == list(range(10))


# Threads and processes


def threads() -> int:
    return sum(thread.name.startswith("triarch-images") for thread in threading.enumerate())


def test_threads_end_with_the_iteration_or_its_iterator(flat: Path) -> None:
    data = made(flat, batch_size=2, workers=2)
    assert threads() == 0
    batches = iter(data)
    next(batches)
    assert threads() == 2
    del batches
    gc.collect()
    assert threads() == 0
    list(data)
    assert threads() == 0
    batches = iter(data)
    next(batches)
    del data
    assert sum(1 for _ in batches) == 4
    assert threads() == 0


def test_few_batches_are_read_ahead(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = image_batches.read_stamped
    monkeypatch.setattr(image_batches, "read_stamped", lambda path: read.append(path) or whole(path))
    batches = iter(made(flat, batch_size=1, shuffle=False, workers=3))
    next(batches)
    end = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [Path(path).stem for path in sorted(read)] == ["0", "1", "2"]


def test_the_next_batches_are_read_while_one_is_used(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, begun = threading.Semaphore(2), threading.Event()
    whole = image_batches.read_stamped

    def read(path: str) -> object:
        if not allowed.acquire(blocking=False):
            begun.set()
            allowed.acquire()
        return whole(path)

    monkeypatch.setattr(image_batches, "read_stamped", read)
    batches = iter(made(flat, batch_size=2, workers=1))
    next(batches)
    assert begun.wait(10)  # nobody has asked for the second batch yet
    allowed.release(100)
    assert sum(1 for _ in batches) == 4


def in_child(batches: object, data: object, answers: object) -> None:
    try:
        next(batches)
    except RuntimeError as error:
        answers.put(str(error))
    answers.put(sorted(numbers_of(data)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads, which is the point here
def test_a_forked_process_reads_with_threads_of_its_own(flat: Path) -> None:
    data = made(flat, batch_size=2)
    batches = iter(data)
    next(batches)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=in_child, args=(batches, data, answers))
    child.start()
    assert "forked process" in answers.get(timeout=30)
    assert answers.get(timeout=30) == list(range(10))
    child.join(30)
    assert child.exitcode == 0
    assert sum(1 for _ in batches) == 4


def test_a_process_and_its_child_end_in_the_middle_of_an_iteration(flat: Path) -> None:
    code = (
        "import os, sys, warnings; warnings.simplefilter('ignore')\n"
        "from triarch import utils\n"
        "data = utils.image_dataset_from_directory(sys.argv[1], batch_size=1, image_size=8, verbose=False)\n"
        "batches = iter(data); next(batches); print(next(iter(data))[0].shape)\n"
        "os.fork() or next(batches)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(flat)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.count("Traceback") == 1  # of the child
    assert "RuntimeError: An iteration over images has no threads in a forked process" in done.stderr


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "all"}, r"`labels` is 'inferred', None or a list.*Received: 'all'"),
        ({"labels": [1, 2]}, r"there are 10 in .*flat'.*Received: 2 labels"),
        ({"labels": ["x"] * 10}, r"list of numbers"),
        ({"labels": [0] * 10, "class_names": ["a", "b"]}, r"`class_names` goes with inferred labels"),
        ({"label_mode": None, "class_names": ["a", "b"]}, r"`class_names` goes with inferred labels"),
        ({"class_names": ["a", "c"]}, r"folders \['a', 'b'\].*Received: class_names=\['a', 'c'\]"),
        ({"class_names": ["a", "a"]}, r"some of the folders"),
        ({"label_mode": "word"}, r"`label_mode` is one of 'int'.*Received: label_mode='word'"),
        ({"label_mode": "binary", "class_names": ["a"]}, r"there are 2 classes. Received: \['a'\]"),
        ({"label_mode": "categorical", "labels": [1, 2] * 5}, r"2 classes are 0 to 1. Received: \['1', '2'\]"),
        ({"color_mode": "grey"}, r"`color_mode` is one of 'grayscale'.*Received: color_mode='grey'"),
        ({"interpolation": "linear"}, r"`interpolation` is one of"),
        ({"image_size": (8, 8, 3)}, r"`image_size` is a height and a width.*\(8, 8, 3\)"),
        ({"image_size": None}, r"`image_size`"),
        ({"batch_size": 0}, r"`batch_size` is a positive number"),
        ({"workers": -1}, r"`workers` is a positive number"),
        ({"cache_size": -1}, r"`cache_size` is a number of bytes, or 0. Received: cache_size=-1"),
        ({"data_format": "first"}, r"data_format"),
        ({"unreadable": "ignore"}, r"`unreadable` is one of 'refuse', 'skip'"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, r"One of `crop_to_aspect_ratio`"),
        ({"validation_split": 0.5}, r"go together"),
        ({"subset": "both"}, r"go together"),
        ({"validation_split": 1.5, "subset": "both", "seed": 1}, r"between 0 and 1"),
        ({"validation_split": 0.5, "subset": "test", "seed": 1}, r"`subset` is one of"),
        ({"validation_split": 0.5, "subset": "both"}, r"a `seed` keeps the parts apart"),
        ({"validation_split": 0.01, "subset": "both", "seed": 1}, r"no images for this part.*0\.01"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_refused(flat: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(flat, **settings)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a folder for each class.*Received: '.*', without folders"):
        made(tmp_path)
    with pytest.raises(ValueError, match=r"no images, files \.bmp, .*Received: 0 files"):
        made(tmp_path, labels=None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"no images, files \.bmp, .*Received: 0 files"):
        made(tmp_path)
    (tmp_path / "a" / "a.png").write_text("no image")
    with (
        pytest.warns(UserWarning, match=r"a\.png"),
        pytest.raises(ValueError, match=r"no images, files \.bmp, .*Received: 1 files"),
    ):
        made(tmp_path, unreadable="skip")
    for arguments in ({}, {"labels": None}):
        with pytest.raises(FileNotFoundError, match="none"):
            made(tmp_path / "none", **arguments)


def test_links_are_followed_where_asked_for(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "linked" / "c").mkdir(parents=True)
    (tmp_path / "linked" / "a").symlink_to(flat / "a")
    (tmp_path / "linked" / "c" / "below").symlink_to(flat / "b")
    assert len(made(tmp_path / "linked").file_paths) == 6
    assert len(made(tmp_path / "linked", follow_links=True).file_paths) == 10


def test_a_folder_that_cannot_be_listed_is_named(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="flat/b"):
        made(flat)


# Resizing by itself


@pytest.mark.parametrize("interpolation", image_resizing.INTERPOLATIONS)
def test_a_constant_stays_one_in_every_size(interpolation: str) -> None:
    for size in ((1, 1), (2, 3), (7, 40), (1200, 5)):
        out = np.full((6, 9, 2), np.nan, np.float32)
        image_resizing.resize(np.full((*size, 2), 200, np.uint8), out, interpolation)
        np.testing.assert_allclose(out, 200, rtol=1e-5)


def test_many_lines_are_reduced_as_few_are(rng: np.random.Generator) -> None:
    tall = rng.integers(0, 256, (300, 7, 3), dtype=np.uint8)  # more lines than are read
    out, turned = np.empty((20, 5, 3), np.float32), np.empty((5, 20, 3), np.float32)
    for interpolation in image_resizing.INTERPOLATIONS:
        image_resizing.resize(tall, out, interpolation)
        image_resizing.resize(np.ascontiguousarray(tall.transpose(1, 0, 2)), turned, interpolation)
        np.testing.assert_allclose(out, turned.transpose(1, 0, 2), atol=2e-3)
