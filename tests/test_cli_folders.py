"""The command on folders of class folders, which are read batch by batch while a network learns."""

from __future__ import annotations

import io
import json
import os
import signal
import time
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import RESULTS, refused, run
from PIL import Image
from rich.console import Console

from triarch.cli import folders, learning, pictures, progress
from triarch.cli.data import load
from triarch.cli.images import as_array, form_of, open_image
from triarch.cli.output import CommandError
from triarch.cli.parts import InMemory, OnDisk, held_by_name
from triarch.cli.results import InputFormat
from triarch.training.images.kept import KeptImages

BLUE, GREEN, RED = "b lau", "grün", "красный"  # names of classes, in their order


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: noisy red, green and blue pictures of two sizes and several formats."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("data") / "colours"
    for channel, name in enumerate((RED, GREEN, BLUE)):
        (folder / name).mkdir(parents=True)
        for number in range(25):
            image = rng.integers(0, 120, (12, 14 if number % 5 else 20, 3), dtype=np.uint8)
            image[..., channel] += 130
            suffix = ("png", "jpg", "bmp", "webp", "tif")[number % 5]
            Image.fromarray(image).save(folder / name / f"{number:02}é.{suffix}")
    (folder / RED / ".hidden.png").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def learnt(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The result folder of a network that learnt the colours, and its report."""
    out = tmp_path_factory.mktemp("run") / "out"
    code, output, error = run("train", "--data", colours, "--epochs", 8, "--lr", 0.003, "--out", out)
    assert code == 0, output + error
    assert output.startswith(
        f"Left out 1 file hidden or of the system, such as {RED}/.hidden.png\n"
        "colours: 3 classes; images: 58 training, 6 validation, 11 test\n"
    )
    return out, json.loads((out / "report.json").read_text())


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end without drawing, which takes longer than a few steps."""
    for name in ("draw_curves", "draw_confusion", "draw_mistakes"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


def small(folder: Path, count: int = 8) -> Path:
    """Two classes of so many grey pictures of 6 x 5 pixels."""
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (5, 6), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


# What is learnt


def test_a_folder_of_class_folders_is_learnt(learnt: tuple[Path, dict[str, Any]]) -> None:
    out, report = learnt
    assert {path.name for path in out.iterdir()} == RESULTS
    assert report["input"]["class_names"] == [BLUE, GREEN, RED]
    assert [report["input"][key] for key in ("height", "width", "channels")] == [12, 14, 3]
    assert [report["input"][key] for key in ("lowest", "highest")] == [0, 255]
    assert report["test"]["accuracy"] == 1
    assert report["data"]["images"] == {"training": 58, "validation": 6, "test": 11}


def test_evaluate_repeats_the_test_and_predict_names_classes(
    colours: Path, learnt: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, report = learnt
    code, output, _ = run("evaluate", out, "--data", colours, "--out", tmp_path / "pictures")
    assert code == 0
    assert f"11 of 11 images (test of {colours})" in output
    assert float(output.split("loss ")[1].split()[0]) == pytest.approx(report["test"]["loss"], abs=1e-4)
    assert sorted(os.listdir(tmp_path / "pictures")) == ["confusion.png", "mistakes.png"]
    assert " of 75 images (all of " in run("evaluate", out, "--data", colours, "--part", "all")[1]
    paths = [colours / RED / "05é.png", colours / BLUE / "06é.jpg"]
    code, output, _ = run("predict", out, *paths, "--top", 2)
    assert code == 0
    lines = output.splitlines()
    assert [lines[0], lines[3]] == [str(path) for path in paths]
    assert lines[1].split()[0] == RED
    assert lines[4].split()[0] == BLUE.split()[0]
    assert len(lines) == 6
    assert "(12, 14, 3)" in refused("evaluate", out, "--data", "digits")


@pytest.mark.usefixtures("without_pictures")
def test_it_makes_no_difference_what_there_is_memory_for(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = max(path.stat().st_ctime for path in colours.rglob("*"))
    time.sleep(max(0.0, newest + 2.1 - time.time()))  # younger files are never kept
    stores: list[KeptImages] = []

    def store(size: int) -> KeptImages:
        stores.append(KeptImages(size))
        return stores[-1]

    monkeypatch.setattr(folders, "KeptImages", store)
    histories = []
    for name, size in (("all", 1 << 24), ("some", 20_000), ("none", 0)):
        monkeypatch.setattr(folders, "default_cache_size", lambda size=size: size)
        arguments = ("--data", colours, "--epochs", 2, "--seed", 3)
        assert run("train", *arguments, "--out", tmp_path / name)[0] == 0
        report = json.loads((tmp_path / name / "report.json").read_text())
        histories.append({**report["last_epoch"], "seconds": 0, "test": report["test"]})
    everything, some, nothing = (own.used for own in stores)
    assert everything > some > nothing == 0
    assert some <= 20_000
    assert histories[0] == histories[1] == histories[2]


def test_a_spatial_transformer_shows_what_it_looks_at(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, output, _ = run("train", "--data", small(tmp_path / "data"), "--model", "stn", "--epochs", 1, "--out", out)
    assert code == 0
    assert "transformed" in output
    picture = np.asarray(Image.open(out / "transformed.png").convert("RGB")).astype(int)
    assert (abs(picture - (224, 123, 42)).sum(-1) < 30).sum() > 500  # the orange of the frames


def test_recurrent_networks_take_the_rows_of_the_images(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, error = run("train", "--data", small(tmp_path / "data"), "--model", "rnn", "--epochs", 1, "--out", out)
    assert code == 0, error
    report = json.loads((out / "report.json").read_text())
    assert (report["input"]["dimensions"], report["input"]["longest"]) == (6, 5)


def test_mixed_sizes_and_greys_get_the_usual_shape(tmp_path: Path) -> None:
    folder = small(tmp_path / "data")
    assert load(str(folder)).train.shape == (5, 6, 1)
    Image.new("L", (200, 90)).save(folder / "a" / "8.png")
    assert load(str(folder)).train.shape == (5, 6, 1)
    Image.new("RGB", (6, 5), "red").save(folder / "a" / "9.png")
    assert load(str(folder)).train.shape == (5, 6, 3)
    for name in ("a", "b"):
        for number in range(20):
            Image.new("L", (70, 66)).save(folder / name / f"large{number}.bmp")
    assert load(str(folder)).train.shape == (64, 64, 3)
    assert load(str(folder), (7, 9, 1)).test.shape == (7, 9, 1)


# What is read


def test_every_pixel_is_that_which_predict_sees(colours: Path) -> None:
    data = load(str(colours))
    files = [path for name in (BLUE, GREEN, RED) for path in sorted((colours / name).glob("[0-9]*"))]
    labels = np.repeat(np.arange(3), 25)
    held = held_by_name([path.relative_to(colours).as_posix() for path in files], labels)
    wanted = np.stack([as_array(open_image(path), 12, 14, 3) for path in files])
    for part, chosen in ((data.train, ~held), (data.test, held)):
        assert isinstance(part, OnDisk)
        assert list(part.files) == [path for path, is_chosen in zip(files, chosen, strict=True) if is_chosen]
        assert (part.labels == labels[chosen]).all()
        assert (part.take(np.arange(len(part))) == wanted[chosen]).all()
        assert part.take(np.array([], int)).shape == (0, 12, 14, 3)
    batches, nothing = data.train.source(16)
    assert nothing is None
    assert len(batches) == -(-int((~held).sum()) // 16)
    images, numbers = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    assert images.dtype == np.float32
    assert (images == wanted[~held]).all()
    assert (numbers == labels[~held]).all()


def test_learning_mixes_anew_in_each_epoch_and_alike_for_a_seed(colours: Path) -> None:
    part = load(str(colours)).train
    batches, again = part.source(16, 4)[0], part.source(16, 4)[0]
    orders = [[labels.tolist() for _, labels in own] for own in (batches, batches, again, again)]
    assert orders[0] != orders[1]
    assert orders[:2] == orders[2:]
    assert orders[0] != [labels.tolist() for _, labels in part.source(16, 5)[0]]
    assert sorted(label for batch in orders[0] for label in batch) == sorted(part.labels)


def test_parts_on_the_disk_and_in_memory_are_alike(colours: Path) -> None:
    data = load(str(colours))
    memory = [InMemory(own.take(np.arange(len(own))), own.labels, own.value_range) for own in (data.train, data.test)]
    disk = data.train.followed_by(data.test).with_range((-1, 16))
    both = memory[0].followed_by(memory[1]).with_range((-1, 16))
    numbers = np.array([70, 2, 33])
    assert len(disk) == len(both) == 75
    assert disk.shape == both.shape
    assert disk.value_range == both.value_range == (-1, 16)
    assert (disk.labels == both.labels).all()
    assert (disk.take(numbers) == both.take(numbers)).all()
    images, labels = next(iter(disk.source(75)[0]))
    assert (images.numpy() == both.take(np.arange(75))).all()
    taken = InputFormat(12, 14, 3, -1, 16, data.class_names).from_bytes(memory[1].images[3])
    assert (taken == images[len(memory[0]) + 3].numpy()).all()
    chosen = labels.numpy() == 1
    assert (disk.where(chosen).take(np.arange(4)) == both.where(chosen).take(np.arange(4))).all()
    assert (disk.with_labels(labels.numpy() + 1).where(chosen).labels == 2).all()


def test_an_epoch_takes_the_memory_of_a_few_batches(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(100):
            Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / name / f"{number}.bmp")
    part = load(str(tmp_path), (64, 64, 3)).train
    batches, _ = part.source(8, seed=1)
    next(iter(batches))
    tracemalloc.start()
    try:
        count = sum(len(images) for images, _ in batches)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == len(part) > 150
    assert 8 * 64 * 64 * 3 * 4 < peak < count * 64 * 64 * 3 * 4 / 4


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 200, [[200]]),
        ("1", 1, [[255]]),
        ("I;16", 257 * 100, [[100]]),
        ("LA", (10, 0), [[255]]),
        ("RGBA", (255, 0, 0, 255), [[255, 0, 0]]),
        ("RGBA", (255, 0, 0, 0), [[255]]),
        ("RGB", (1, 2, 3), [[1, 2, 3]]),
        ("P", 0, [[0, 0, 0]]),
        ("CMYK", (0, 255, 255, 0), [[255, 0, 0]]),
    ],
)
def test_images_of_every_mode_are_read(tmp_path: Path, mode: str, color: object, expected: list[list[int]]) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture = Image.new(mode, (1, 1), color)
    if mode == "P":
        picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(path)
    picture = open_image(path)
    channels = len(expected[0])
    assert picture.mode == ("L" if channels == 1 else "RGB")
    assert as_array(picture, 1, 1, channels)[0].tolist() == expected
    assert form_of(path) == ((1, 1), channels == 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_a_picture_is_like_is_known_before_it_is_decoded(tmp_path: Path, mode: str, suffix: str) -> None:
    lying = Image.Exif()
    lying[0x0112] = 6
    for name, options in (("a", {}), ("lying", {"exif": lying})):
        path = tmp_path / f"{name}.{suffix}"
        Image.new(mode, (8, 3), 7 if mode == "L" else (7, 8, 9)).save(path, **options)
        whole = open_image(path)
        size, is_grey = form_of(path)
        assert is_grey == (whole.mode == "L")
        assert size == whole.size or (name == "lying" and suffix in ("png", "webp"))  # whose sizes only count


# What is refused


def test_broken_files_are_named_before_anything_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = small(tmp_path / "images")
    for number in (0, 2):  # of the training, and of the test
        file = folder / "b" / f"{number}.png"
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], b"no image", b""):
            file.write_bytes(content)
            assert str(file) in refused("train", "--data", folder)
        file.write_bytes(whole)
    assert os.listdir(tmp_path) == ["images"]
    assert "at least two class folders" in refused("train", "--data", folder / "a")
    (folder / "c").mkdir()
    assert "holds no images. Received: an empty folder" in refused("train", "--data", folder)
    (folder / "c" / "x.txt").write_text("x")
    assert "holds no images. Received: 1 file such as 'x.txt'" in refused("train", "--data", folder)
    Image.new("L", (5, 6)).save(folder / "c" / "1.png")
    assert "at least 5 images. Received: 1 of class 'c'" in refused("train", "--data", folder)
    (tmp_path / "none").mkdir()
    assert "at least two class folders" in refused("train", "--data", tmp_path / "none")


@pytest.mark.usefixtures("without_pictures")
def test_other_files_are_skipped(tmp_path: Path) -> None:
    folder = small(tmp_path / "images")
    (folder / "a" / "x.txt").write_text("x")
    code, output, _ = run("train", "--data", folder, "--epochs", 1, "--out", tmp_path / "out")
    assert code == 0
    assert output.startswith("Left out 1 file without the suffix of an image, such as a/x.txt\n")


def test_ctrl_c_while_files_are_read_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = small(tmp_path / "images")
    monkeypatch.setattr(folders, "reading_bar", lambda _: nullcontext(lambda _: os.kill(os.getpid(), signal.SIGINT)))
    assert run("train", "--data", folder) == (130, "", "")
    assert os.listdir(tmp_path) == ["images"]


@pytest.mark.usefixtures("without_pictures")
def test_a_file_that_goes_while_others_are_learnt_is_named_and_the_model_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = small(tmp_path / "images"), tmp_path / "out"

    def learn(*arguments: Any, **keywords: Any) -> learning.Rows:
        (folder / "b" / "0.png").unlink()
        return learning.learn(*arguments, **keywords)

    monkeypatch.setattr("triarch.cli.train.learn", learn)
    code, output, error = run("train", "--data", folder, "--epochs", 2, "--out", out)
    assert code == 2
    assert error == f"Error: The file {str(folder / 'b' / '0.png')!r} cannot be opened: No such file or directory\n"
    assert output.endswith(f"Stopped in epoch 1. The model as it is now: {out / 'model.keras'}\n")
    assert json.loads((out / "report.json").read_text())["interrupted"] is True
    assert run("evaluate", out, "--data", folder)[0] == 0


def test_evaluate_reads_the_part_that_it_is_about(
    colours: Path, learnt: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    for name in (BLUE, GREEN):
        (tmp_path / "data" / name).mkdir(parents=True)
        for file in sorted((colours / name).glob("*.png")):
            (tmp_path / "data" / name / file.name).write_bytes(file.read_bytes())
    files = sorted((tmp_path / "data").glob("*/*"))
    names = [path.relative_to(tmp_path / "data").as_posix() for path in files]
    held = held_by_name(names, np.repeat([0, 1], 5))
    files[int(np.argmin(held))].write_text("no image")
    code, output, _ = run("evaluate", learnt[0], "--data", tmp_path / "data")
    assert code == 0
    assert f"{held.sum()} of {held.sum()} images" in output
    tested = files[int(np.argmax(held))]
    tested.write_text("no image")
    assert str(tested) in refused("evaluate", learnt[0], "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_its_own_split(tmp_path: Path, colours: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for name in (RED, BLUE):
            (tmp_path / part / name).symlink_to(colours / name)
    data = load(str(tmp_path))
    assert (len(data.train), len(data.test)) == (50, 50)
    assert data.class_names == (BLUE, RED)
    assert len(data.part("all")) == 100
    (tmp_path / "test" / RED).unlink()
    (tmp_path / "test" / GREEN).symlink_to(colours / GREEN)
    with pytest.raises(CommandError, match="same class folders"):
        load(str(tmp_path))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_how_far_reading_is(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "console", lambda: Console(file=shown, force_terminal=is_terminal, width=80))
    with progress.reading_bar(2000) as advance:
        advance(500)
    assert ("reading 2,000 images" in shown.getvalue()) == is_terminal
    assert (" 25 %" in shown.getvalue()) == is_terminal
