"""Folders of images from one epoch to the next: what stays in memory, how much, and that only the clock shows it."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triarch import utils
from triarch.training.images import batches as image_batches
from triarch.training.images import kept as kept_images
from triarch.training.images.batches import ImageFolder
from triarch.training.images.kept import KeptImages

HEIGHT, WIDTH = 12, 18
PIXELS = HEIGHT * WIDTH * 3  # bytes


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Ten pictures of one size in two classes."""
    for number in range(10):
        place = tmp_path / "data" / ("b" if number > 5 else "a")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.{('png', 'jpg', 'bmp')[number % 3]}")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' files are young."""
    monkeypatch.setattr(kept_images, "_SETTLED", -(10**18))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    whole = image_batches.read_stamped
    monkeypatch.setattr(image_batches, "read_stamped", lambda path: names.append(Path(path).name) or whole(path))
    return names


def made(folder: Path, **settings: object) -> ImageFolder:
    return utils.image_dataset_from_directory(
        folder, **({"image_size": (HEIGHT, WIDTH), "shuffle": False, "batch_size": 4, "verbose": False} | settings)
    )


def images_of(data: ImageFolder) -> torch.Tensor:
    return torch.cat([images for images, _ in data])


def rewrite(path: Path, content: bytes) -> None:
    """Write until the file system's clock has moved on."""
    before = os.stat(path).st_ctime_ns
    while os.stat(path).st_ctime_ns == before:
        path.write_bytes(content)


# The same images, sooner


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"color_mode": "grayscale", "data_format": "channels_first"},
        {"color_mode": "rgba"},
        {"interpolation": "gaussian"},  # which blurs at the same size, too
        {"image_size": (5, 4)},
        {"image_size": (5, 4), "crop_to_aspect_ratio": True, "interpolation": "lanczos3"},
        {"image_size": (4, 9), "pad_to_aspect_ratio": True, "interpolation": "mitchellcubic"},
        {"image_size": (40, 30)},
        {"image_size": (40, 30), "crop_to_aspect_ratio": True},
        {"image_size": (12, 30), "pad_to_aspect_ratio": True, "interpolation": "nearest"},
    ],
    ids=str,
)
@pytest.mark.parametrize("cache_size", [None, 3 * PIXELS + 3 * 512])
def test_batches_are_identical_with_and_without(
    folder: Path, settings: dict[str, object], cache_size: int | None
) -> None:
    settings = {"shuffle": True, "seed": 3, "workers": 3} | settings
    kept, plain = made(folder, cache_size=cache_size, **settings), made(folder, cache_size=0, **settings)
    for _ in range(3):
        for (images, labels), (others, classes) in zip(kept, plain, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(labels, classes)
            images.fill_(-1)  # it is the user's
    assert plain._kept.used == 0 < kept._kept.used


def test_files_are_read_once(folder: Path, read: list[str]) -> None:
    data = made(folder, shuffle=True, seed=1)
    for _ in range(3):
        images_of(data)
    assert sorted(read) == sorted(Path(path).name for path in data.file_paths)
    plain = made(folder, cache_size=0)
    read.clear()
    for _ in range(2):
        images_of(plain)
    assert len(read) == 20


def test_the_smaller_form_is_kept(folder: Path) -> None:
    for size, cost in {
        (HEIGHT, WIDTH): PIXELS,
        (40, 40): PIXELS,
        (HEIGHT // 2, WIDTH // 2): PIXELS,  # as large, with floats
        (HEIGHT // 2, WIDTH // 2 + 1): PIXELS,
        (5, 4): 5 * 4 * 3 * 4,
    }.items():
        data = made(folder, image_size=size)
        images_of(data)
        assert data._kept.used == 10 * (cost + 512)


def test_parts_share_what_they_may_keep(folder: Path, read: list[str]) -> None:
    training, validation = made(folder, validation_split=0.3, subset="both", cache_size=8 * (PIXELS + 512))
    for _ in range(2):
        images_of(training)
        images_of(validation)
    assert len(read) == 10 + 2
    assert training._kept is validation._kept


def test_files_that_are_tried_are_kept(folder: Path, read: list[str]) -> None:
    (folder / "b" / "broken.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="Left out 1 of 11"):
        data = made(folder, unreadable="skip")
    assert len(read) == 11
    assert images_of(data).shape == (10, HEIGHT, WIDTH, 3)
    assert len(read) == 11


# Never more than that


@pytest.mark.parametrize("count", [0, 1, 4, 10, 100])
def test_the_size_is_a_bound(folder: Path, read: list[str], count: int) -> None:
    size = count * (PIXELS + 512) + 17
    data = made(folder, cache_size=size, workers=4)
    images_of(data)
    assert data._kept.used == min(count, 10) * (PIXELS + 512) <= size
    read.clear()
    images_of(data)
    assert len(read) == 10 - min(count, 10)


def test_many_threads_keep_the_bound() -> None:
    kept = KeptImages(50 * (100 + 512) + 99)
    paths = [__file__ + str(number) for number in range(200)]
    begin = threading.Barrier(8)

    def keep(order: int) -> None:
        begin.wait(10)
        for number in np.random.default_rng(order).permutation(200):
            kept.keep(paths[number], (0,), np.zeros(100, np.uint8))
            if number % 3 == 0:
                kept.find(paths[number])  # there is no such file: it gives way

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(keep, range(8)))
    left = [path for path in paths if path in kept._entries]
    assert kept.used == len(left) * 612 <= kept.size
    for path in left:
        assert kept.find(path) is None
    assert kept.used == 0


def test_by_default_it_is_a_part_of_the_free_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    monkeypatch.setattr(kept_images, "_LIMITS", (str(tmp_path / "none"), str(tmp_path / "limit")))
    assert made(folder)._kept.size == 1_024_000
    for limit, size in {"max\n": 1_024_000, "400000\n": 100_000, "9223372036854771712\n": 1_024_000}.items():
        (tmp_path / "limit").write_text(limit)
        assert made(folder)._kept.size == size
    monkeypatch.setattr(os, "sysconf_names", {"SC_PAGE_SIZE": 30})
    assert made(folder)._kept.size == 1_000_000_000
    assert made(folder, cache_size=5)._kept.size == 5


# Never another image than the file's


def test_a_changed_file_is_read_again(folder: Path, read: list[str]) -> None:
    data = made(folder)
    before = images_of(data)
    path = folder / "a" / "2.bmp"
    times, content = os.stat(path), path.read_bytes()
    rewrite(path, content[:54] + bytes(255 - value for value in content[54:]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as old and as large as before
    replaced = folder / "b" / "6.png"
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / "new.png")
    os.replace(folder / "new.png", replaced)
    read.clear()
    used = data._kept.used
    for _ in range(2):
        after = images_of(data)
        assert torch.equal(after[2], 255 - before[2])
        assert torch.equal(after[6], torch.tensor([255.0, 0, 0]).expand(HEIGHT, WIDTH, 3))
        assert torch.equal(after[[0, 1, 3, 4, 5, 7, 8, 9]], before[[0, 1, 3, 4, 5, 7, 8, 9]])
    assert sorted(read) == ["2.bmp", "6.png"]
    assert data._kept.used == used


def test_a_larger_file_that_has_no_room_any_more(folder: Path, read: list[str]) -> None:
    data = made(folder, cache_size=10 * (PIXELS + 512))
    images_of(data)
    Image.new("RGB", (3 * WIDTH, 3 * HEIGHT), "red").save(folder / "a" / "0.png")
    read.clear()
    for _ in range(2):
        assert torch.equal(images_of(data)[0], torch.tensor([255.0, 0, 0]).expand(HEIGHT, WIDTH, 3))
    assert read == ["0.png"] * 2
    assert data._kept.used == 9 * (PIXELS + 512)


def test_errors_are_those_of_now(folder: Path) -> None:
    data = made(folder)
    before = images_of(data)
    path = folder / "a" / "3.png"
    content = path.read_bytes()
    for _ in range(2):
        rewrite(path, content[:60])
        for _ in range(2):
            with pytest.raises(ValueError, match=r"a/3\.png' is not an image"):
                images_of(data)
        rewrite(path, content)
        assert torch.equal(images_of(data), before)
    path.unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a/3\.png' cannot be opened: No such file"):
            images_of(data)
    path.write_bytes(content)
    assert torch.equal(images_of(data), before)


def test_a_young_file_is_not_kept(folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be written to, within what the file system's clock takes for one moment."""
    monkeypatch.setattr(kept_images, "_SETTLED", 3600 * 10**9)
    data = made(folder)
    images_of(data)
    assert data._kept.used == 0
    monkeypatch.setattr(kept_images, "_SETTLED", -(10**18))
    images_of(data)
    images_of(data)
    assert len(read) == 20


# Copies and processes


def test_copies_begin_empty(folder: Path, read: list[str]) -> None:
    data = made(folder, shuffle=True, seed=1, cache_size=10**6)
    images_of(data)
    copies = [copy.deepcopy(data), pickle.loads(pickle.dumps(data))]
    expected = images_of(data)
    for other in copies:
        assert other._kept.used == 0
        assert other._kept.size == 10**6
        read.clear()
        assert torch.equal(images_of(other), expected)
        images_of(other)
        assert len(read) == 10
    assert copy.copy(data)._kept is data._kept


def in_child(data: ImageFolder, answers: object) -> None:
    answers.put([images_of(data).sum().item() for _ in range(2)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads, which is the point here
def test_a_lock_that_was_held_at_a_fork_holds_nobody_up(folder: Path) -> None:
    data = made(folder)
    expected = images_of(made(folder)).sum().item()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with data._kept._lock:
        child = context.Process(target=in_child, args=(data, answers))
        child.start()
        assert answers.get(timeout=30) == [expected, expected]
    child.join(30)
    assert child.exitcode == 0
    assert data._kept.used == 0
