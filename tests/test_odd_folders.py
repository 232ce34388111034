"""Folders of data as they lie on disks: what systems leave there, parts under many names, names of any letters."""

from __future__ import annotations

import io
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

from triarch import utils
from triarch.cli import pictures
from triarch.cli.data import load
from triarch.cli.output import escape_unwritable, one_line, say
from triarch.cli.parts import held_by_name
from triarch.files import read_text

LEFT_BEHIND = (
    ".ipynb_checkpoints/0-checkpoint{0}",
    "a/.ipynb_checkpoints/0-checkpoint{0}",
    "a/sub/.hidden/0{0}",
    "a/._0{0}",
    "__MACOSX/a/._0{0}",
    "__MACOSX/a/0{0}",
    "a/__MACOSX/0{0}",
    ".DS_Store",
    "a/.DS_Store",
    "b/Thumbs.db",
    "b/THUMBS.DB",
    "desktop.ini",
    "b/Desktop.ini",
    "@eaDir/0{0}",
    "$RECYCLE.BIN/0{0}",
)


def image(path: Path, value: int = 7, size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(value).integers(0, 256, size, np.uint8)).save(path, "PNG")


def text(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.stem)


def images_in(folder: Path, *parts: str, count: int = 6) -> Path:
    """Classes a and b in the folder, or in each of these parts."""
    for part in parts or ("",):
        for name in ("a", "b"):
            for number in range(count):
                image(folder / part / name / f"{number}.png", number)
    return folder


READERS = {
    ".png": (image, lambda folder: utils.image_dataset_from_directory(folder, image_size=(5, 6), batch_size=100)),
    ".txt": (text, lambda folder: utils.text_dataset_from_directory(folder, batch_size=100)),
}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("place", LEFT_BEHIND)
def test_what_systems_leave_is_no_class_and_no_sample(tmp_path: Path, place: str, suffix: str) -> None:
    write, read = READERS[suffix]
    for name in ("a", "b"):
        for number in range(3):
            write(tmp_path / name / f"{number}{suffix}")
    odd = tmp_path / place.format(suffix)
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2\xff\xfe")
    found = read(tmp_path)
    assert found.class_names == ["a", "b"]
    assert len(found.file_paths) == 6
    assert sum(len(labels) for _, labels in found) == 6


@pytest.mark.parametrize("place", LEFT_BEHIND)
def test_the_command_says_what_it_leaves_out(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    images_in(tmp_path, "Train", "Valid")
    odd = tmp_path / "Train" / place.format(".png")
    odd.parent.mkdir(parents=True, exist_ok=True)
    odd.write_bytes(b"\0\5\x16\7")
    data = load(str(tmp_path))
    assert data.class_names == ("a", "b")
    assert len(data.part("all")) == 24
    where = odd.relative_to(tmp_path)
    assert f"Left out 1 file hidden or of the system, such as {where}\n" in capsys.readouterr().out


def test_other_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images_in(tmp_path)
    (tmp_path / "a" / "notes.md").write_text("x")
    (tmp_path / "b" / "notes.MD").write_text("x")
    image(tmp_path / "loose.png")
    utils.image_dataset_from_directory(tmp_path)
    said = capsys.readouterr().out
    assert "Found 12 files belonging to 2 classes.\nLeft out 2 files without the suffix .bmp" in said
    utils.image_dataset_from_directory(tmp_path, verbose=False)
    assert not capsys.readouterr().out
    load(str(tmp_path))
    said = capsys.readouterr().out
    assert "Left out 2 files without the suffix of an image, such as a/notes.md\n" in said
    assert "Left out 1 file in no class folder, such as loose.png\n" in said


@pytest.mark.parametrize("suffix", [".PNG", ".Png", ".JPG", ".JPEG", ".BMP", ".GIF", ".WEBP"])
def test_suffixes_in_capitals(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        for number in range(5):
            image(tmp_path / name / f"{number}{suffix}", number)
    assert len(utils.image_dataset_from_directory(tmp_path).file_paths) == 10
    assert len(load(str(tmp_path)).part("all")) == 10


def test_texts_with_suffixes_in_capitals_and_a_mark(tmp_path: Path) -> None:
    for number, encoding in enumerate(("utf-8", "utf-8-sig", "utf-16")):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}.TXT").write_text("größer", encoding=encoding)
    found = utils.text_dataset_from_directory(tmp_path)
    assert next(iter(found))[0].tolist() == ["größer"] * 3


def test_a_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    text(tmp_path / "a" / "0.txt")
    (tmp_path / "a" / "1.txt").write_bytes("ein\ngrößerer Text".encode("latin-1"))
    found = utils.text_dataset_from_directory(tmp_path)
    with pytest.raises(ValueError, match=r"a/1\.txt' .*UTF-8.*0xf6 at position 6, line 2") as caught:
        list(found)
    assert not isinstance(caught.value, UnicodeDecodeError)


# Parts


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("train", "test"), (12, None, 12)),
        (("train", "val"), (12, None, 12)),
        (("train", "valid"), (12, None, 12)),
        (("training", "validation"), (12, None, 12)),
        (("Train", "Test"), (12, None, 12)),
        (("TRAIN", "Dev"), (12, None, 12)),
        (("train", "val", "test"), (12, 12, 12)),
        (("Training", "Validation", "Testing"), (12, 12, 12)),
    ],
)
def test_parts_have_many_names(tmp_path: Path, names: tuple[str, ...], counts: tuple[int | None, ...]) -> None:
    data = load(str(images_in(tmp_path, *names)))
    assert data.class_names == ("a", "b")
    parts = data.train, data.validation, data.test
    assert tuple(None if part is None else len(part) for part in parts) == counts
    assert len(data.part("all")) == 12 * len(names)
    learning, validation = data.learning_and_validation()
    assert (len(learning), len(validation)) == ((12, 12) if len(names) == 3 else (10, 2))


def test_three_parts_are_used_and_said(tmp_path: Path) -> None:
    folder = images_in(tmp_path / "pets", "train", "valid", "test", "unlabelled")
    code, output, error = run("train", "--data", folder, "--epochs", 1, "--out", tmp_path / "out")
    assert code == 0, error
    assert "Left out 'unlabelled', beside the folders train, valid, test." in output
    assert "2 classes; images: 12 training, 12 validation, 12 test" in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["data"]["images"] == {"training": 12, "validation": 12, "test": 12}
    for part, count in (("validation", 12), ("all", 36)):
        code, output, _ = run("evaluate", tmp_path / "out", "--data", folder, "--part", part)
        assert code == 0
        assert f" of {count} images ({part} of " in output
    code, _, error = run("train", "--data", folder, "--model", "rnn", "--epochs", 1, "--out", tmp_path / "rows")
    assert code == 0, error
    report = json.loads((tmp_path / "rows" / "report.json").read_text())
    assert report["data"]["series"] == {"training": 12, "validation": 12, "test": 12}


def test_parts_that_do_not_go_together(tmp_path: Path) -> None:
    folder = images_in(tmp_path / "data", "train", "val", "valid")
    assert "one folder for each purpose" in refused("train", "--data", folder)
    folder = images_in(tmp_path / "other", "train", "val")
    image(folder / "val" / "c" / "0.png")
    error = refused("train", "--data", folder)
    assert all(word in error for word in ("'train'", "'val'", "same class folders", "Received: c in one"))
    for part in ("train", "val"):
        for number in range(6):
            image(tmp_path / "flat" / part / f"{number}.png")
    assert "at least two class folders" in refused("train", "--data", tmp_path / "flat")


def test_trains_among_other_things_are_a_class(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        for number in range(5):
            image(tmp_path / name / f"{number}.png", number)
    assert load(str(tmp_path)).class_names == ("bus", "train")


# What is held out


def test_what_was_learnt_is_never_held_out_later(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = [f"{'ab'[number % 2]}/{rng.integers(10**9)}.png" for number in range(400)]
    labels = np.arange(400) % 2
    learnt: set[str] = set()
    for count in (10, 11, 20, 50, 51, 200, 400):
        held = held_by_name(names[:count], labels[:count])
        for label in (0, 1):
            assert 0 < held[labels[:count] == label].sum() < (labels[:count] == label).sum()
        tested = {name for name, is_held in zip(names, held, strict=False) if is_held}
        assert not tested & learnt
        learnt |= set(names[:count]) - tested
    assert 60 < len(tested) < 100
    order = rng.permutation(400)
    again = held_by_name([names[number] for number in order], labels[order])
    assert (again == held[order]).all()


def test_the_same_files_are_held_out_wherever_they_lie(tmp_path: Path) -> None:
    first, second = (load(str(images_in(tmp_path / name, count=30))) for name in ("here", "there"))
    names = [
        [file.relative_to(tmp_path / name).as_posix() for file in data.test.files]
        for name, data in (("here", first), ("there", second))
    ]
    assert names[0] == names[1]
    for number in range(5):
        image(tmp_path / "there" / "a" / f"another{number}.png", number)
    more = load(str(tmp_path / "there"))
    learnt = {str(file) for file in second.train.files}
    assert not learnt & {str(file) for file in more.test.files}
    assert held_by_name(["a/e\u0301.png"], np.zeros(1, int)) == held_by_name(["a/\u00e9.png"], np.zeros(1, int))


def test_texts_are_found_mixed_and_divided_as_in_keras(tmp_path: Path, keras: types.ModuleType) -> None:
    judge = keras.src.utils.dataset_utils
    for place in ("b/2", "b/10", "a/x/1", "a/2", "a/B/3", "c/1", "c/2", "a/.hidden/9"):
        text(tmp_path / f"{place}.txt")
    (tmp_path / "a" / ".hidden" / "9.txt").unlink()  # which Keras takes
    expected = judge.index_directory(str(tmp_path), "inferred", (".txt",), shuffle=True, seed=5, verbose=False)
    assert (
        utils.text_dataset_from_directory(tmp_path, shuffle=False).file_paths
        == judge.index_directory(str(tmp_path), "inferred", (".txt",), shuffle=False, verbose=False)[0]
    )
    ours = utils.text_dataset_from_directory(tmp_path, seed=5, validation_split=0.3, subset="both")
    for found, subset in zip(ours, ("training", "validation"), strict=True):
        files, labels = judge.get_training_or_validation_split(*expected[:2], 0.3, subset)
        assert found.file_paths == files
        assert found.labels.tolist() == list(labels)
        assert found.class_names == expected[2]


# Names


@pytest.fixture
def odd_names(tmp_path: Path) -> list[str]:
    """Classes with all that a folder's name can hold."""
    names = ["a, b", 'quo"te', "line\nend", "$x_1$", "\u202eright", "b" * 150]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"gr\xf6\xdfer"))  # no UTF-8
    for name in names:
        for number in range(5):
            image(tmp_path / "data" / name / f"{number}.png", number)
    return sorted(names)


def test_classes_of_any_name(tmp_path: Path, odd_names: list[str]) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    if sys.platform == "linux":
        folder = folder.rename(tmp_path / os.fsdecode(b"d\xe4ta"))
        out = tmp_path / os.fsdecode(b"\xf6ut")
    code, output, error = run("train", "--data", folder, "--epochs", 1, "--out", out)
    assert code == 0, error
    assert (out / "confusion.png").stat().st_size
    assert json.loads((out / "report.json").read_text())["input"]["class_names"] == odd_names
    code, output, error = run("evaluate", out, "--data", folder, "--out", tmp_path / "pictures")
    assert code == 0, error
    lines = [line for line in output.splitlines() if line.startswith("  class ")]
    assert len(lines) == len(odd_names)
    assert r"class line\nend" in output
    code, output, error = run("predict", out, folder / odd_names[-1] / "0.png", "--top", len(odd_names))
    assert code == 0, error
    assert len(output.splitlines()) == 1 + len(odd_names)


def test_names_are_shown_on_one_line() -> None:
    assert one_line("a\nb\x1b[1m\udce4\u2028") == r"a\nb\x1b[1m\udce4\u2028"
    for name in ("größer", "犬", "a\u00a0b", ""):
        assert one_line(name) == name


def test_what_a_screen_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, "ascii"))
    escape_unwritable()
    say("gr\u00fcn \udce4")
    sys.stdout.flush()
    assert screen.getvalue() == b"gr\\xfcn \\udce4\n"


def test_thousands_of_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    count = 3000
    labels = np.arange(count).repeat(2)
    predicted = labels.copy()
    predicted[:120:2] = 2999
    names = [f"class {number}" for number in range(count)]
    texts: list[str] = []
    path = tmp_path / "confusion.png"
    with pytest.MonkeyPatch.context() as patch:
        draw = pictures._label_classes
        patch.setattr(pictures, "_label_classes", lambda axes, own: (texts.extend([axes.get_title("left"), *own]), draw(axes, own)))  # fmt: skip  # noqa: E501
        pictures.draw_confusion(path, predicted, labels, names, "title")
    assert texts[0] == "title\n50 of 3,000 classes, those with the most mistakes"
    assert len(texts) == 51
    assert texts[-1] == "class 2999"
    assert path.stat().st_size


def test_texts_say_where_they_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ok\n\n\xff")
    with pytest.raises(ValueError, match=r"a\.txt' .*0xff at position 4, line 3"):
        read_text(path)
    path.write_bytes(b"\xff\xfea\0b")
    with pytest.raises(ValueError, match=r"a\.txt' .*UTF-16"):
        read_text(path)
