"""The command `triarch`, in this process through typer's runner and once as a real process."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import RESULTS, refused, run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import triarch
from triarch import cli, config
from triarch.cli import doctor, fonts, pictures, progress
from triarch.cli.data import load
from triarch.cli.output import duration
from triarch.cli.parts import every
from triarch.datasets import digits
from triarch.kernels.conv.patches import plan as patches_plan
from triarch.kernels.native.team import MEMBER

# A shell starts what it puts in the background with Ctrl-C ignored, and the command respects that.
WITH_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = [sys.executable, "-c", f"{WITH_CTRL_C}; from triarch.cli import main; main()"]
ENVIRONMENT = {**os.environ, "COLUMNS": "80"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of `triarch train` as it stands, run as a process of its own."""
    place = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*COMMAND, "train"], cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stderr == ""
    return next((place / "runs").iterdir()), done.stdout


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end without drawing, which takes longer than a few steps."""
    for name in ("draw_curves", "draw_confusion", "draw_mistakes"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


# train


def test_the_demo_learns_the_digits(demo: tuple[Path, str]) -> None:
    folder, output = demo
    assert {path.name for path in folder.iterdir()} == RESULTS
    report = json.loads((folder / "report.json").read_text())
    assert report["test"]["accuracy"] >= 0.98
    assert report["test"]["images"] == 359
    assert report["arguments"]["seed"] == 1
    assert report["interrupted"] is False
    assert report["machine"]["threads"] == 1
    assert report["versions"]["triarch"] == triarch.__version__
    assert f"Test accuracy {100 * report['test']['accuracy']:.2f} %" in output
    assert f"runs/{folder.name}/mistakes.png" in output


def test_in_a_pipe_the_output_is_plain_lines(demo: tuple[Path, str]) -> None:
    _, output = demo
    assert all(character.isprintable() or character == "\n" for character in output)
    lines = [line for line in output.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 30
    assert len({*map(len, lines)}) == 1


@pytest.mark.parametrize("loss", [0.00004, 9.99996, 2.3, 123.456, float("nan")])
@pytest.mark.parametrize(("epochs", "seconds"), [(30, 0.2), (30, 999.9), (999, 59.9), (999, 50000)])
def test_epoch_lines_fit_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loss: float, epochs: int, seconds: float
) -> None:
    times = iter((0, seconds))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    lines = progress.EpochLines(epochs)
    lines.on_epoch_begin(epochs - 1)
    lines.on_epoch_end(epochs - 1, {"accuracy": 1.0, "loss": loss, "val_accuracy": 0.0, "val_loss": loss})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert len(line) <= 79
    assert "loss" in line
    assert "100.00 %" in line


def test_the_history_has_a_row_for_each_epoch(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 31))
    assert float(rows[-1]["loss"]) < 0.1 < float(rows[0]["loss"])
    assert set(rows[0]) == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds"}


def test_the_pictures_are_pictures_of_some_content(demo: tuple[Path, str]) -> None:
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        picture = np.asarray(Image.open(demo[0] / name).convert("L"))
        assert min(picture.shape) >= 60
        assert picture.std() > 10


def test_the_saved_model_gives_the_accuracy_of_the_report(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    _, (x_test, y_test) = digits.load_data()
    model = triarch.models.load_model(folder / "model.keras")
    predicted = model.predict(x_test[..., None], verbose=0).argmax(-1)
    report = json.loads((folder / "report.json").read_text())
    assert (predicted == y_test).sum() == report["test"]["correct"]


@pytest.mark.usefixtures("without_pictures")
def test_the_same_seed_gives_the_same_history(tmp_path: Path) -> None:
    histories = []
    for name in ("a", "b"):
        assert run("train", "--epochs", 1, "--seed", 5, "--out", tmp_path / name)[0] == 0
        report = json.loads((tmp_path / name / "report.json").read_text())
        histories.append({**report["last_epoch"], "seconds": 0})
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("signals", "code"),
    [((signal.SIGINT,) * 20, 130), ((signal.SIGTERM,), 143)],
    ids=["ctrl-c again and again", "sigterm"],
)
def test_an_interruption_saves_the_model_and_says_where(
    tmp_path: Path, signals: tuple[signal.Signals, ...], code: int
) -> None:
    command = [*COMMAND, "train", "--epochs", "500", "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        for number in signals:
            process.send_signal(number)
            time.sleep(0.01)
        rest = process.stdout.read()
    assert process.returncode == code
    assert "Interrupted in epoch" in rest
    assert "run/model.keras" in rest
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["interrupted"] is True
    code, output, _ = run("evaluate", tmp_path / "run", "--data", "digits")
    assert code == 0
    assert output.startswith("Accuracy ")


def test_ctrl_c_after_the_last_epoch_says_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw_curves", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    code, output, error = run("train", "--epochs", 1, "--out", tmp_path / "out")
    assert (code, error) == (130, "")
    assert output.endswith(f"Interrupted after the last epoch. The model: {tmp_path / 'out' / 'model.keras'}\n")
    assert run("evaluate", tmp_path / "out", "--data", "digits")[0] == 0


def test_ctrl_c_before_the_training_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "load_data", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run("train", "--out", tmp_path / "out") == (130, "", "")
    assert not os.listdir(tmp_path)


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "train", "--out", "out"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (2, "Error: No space left on device\n")
    assert not os.listdir(tmp_path)


def test_a_closed_pipe_ends_the_training_quietly_with_its_model(tmp_path: Path) -> None:
    command = [*COMMAND, "train", "--epochs", "500", "--out", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["interrupted"] is True


@pytest.mark.usefixtures("without_pictures")
def test_one_step_is_no_steps(tmp_path: Path) -> None:
    code, output, _ = run("train", "--epochs", 1, "--batch-size", 2000, "--out", tmp_path / "out")
    assert code == 0
    assert "; 1 epoch of 1 step\n" in output


@pytest.mark.parametrize("device", ["foo", "cuda"])
def test_a_device_that_is_not_there_is_one_line(
    demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(config, "_device", device)
    assert "TRIARCH_DEVICE" in refused("train")
    assert "TRIARCH_DEVICE" in refused("evaluate", demo[0], "--data", "digits")
    code, output, _ = run("doctor")
    assert code == 0
    assert f"Received: {device!r}" in next(line for line in output.splitlines() if line.startswith("  device"))
    assert "cifar10" in output


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    assert "never overwritten" in refused("train", "--out", tmp_path / "out")
    assert "cannot be made" in refused("train", "--out", tmp_path / "out" / "mine")
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = triarch.cli.train.datetime.now()
    names = [triarch.cli.results.new_run_folder("digits-cnn", now).name for _ in range(3)]
    first = f"{now:%Y-%m-%d-%H%M%S}-digits-cnn"
    assert names == [first, f"{first}-2", f"{first}-3"]


def test_a_loss_that_is_not_a_number_is_an_error(tmp_path: Path) -> None:
    error = refused("train", "--lr", 1e9, "--epochs", 3, "--out", tmp_path / "out")
    assert "smaller --lr" in error
    assert os.listdir(tmp_path / "out") == ["history.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nothing"], "Received: 'nothing'"),
        (["--model", "nothing"], "--model must be one of cnn"),
        (["--lr", "-1"], "positive"),
        (["--lr", "nan"], "positive"),
    ],
)
def test_wrong_arguments_of_train_are_one_line(arguments: list[str], message: str) -> None:
    assert message in refused("train", *arguments)


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--bogus"], ["--seed", "x"]])
def test_usage_errors_have_exit_code_2(arguments: list[str]) -> None:
    code, _, error = run("train", *arguments)
    assert code == 2
    assert arguments[0] in error
    assert "Traceback" not in error


# data


def test_the_held_out_choice_is_that_of_the_digits() -> None:
    (_, y_train), (x_test, _) = digits.load_data()
    with np.load(Path(digits.__file__).with_name("digits.npz")) as arrays:
        chosen = every(5, arrays["labels"])
        assert (arrays["images"][chosen] == x_test).all()
        assert (arrays["labels"][~chosen] == y_train).all()


def saved(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


IMAGES = np.random.default_rng(0).integers(0, 255, (30, 6, 7), dtype=np.uint8)
LABELS = np.arange(30) % 3


def test_npz_files_with_and_without_a_split(tmp_path: Path) -> None:
    whole = load(str(saved(tmp_path / "a.npz", x=IMAGES, y=LABELS)))
    assert (len(whole.train), len(whole.test)) == (24, 6)
    assert whole.train.shape == (6, 7, 1)
    assert whole.class_names == ("0", "1", "2")
    assert whole.train.value_range == (0, 255)
    words = np.array(["no", "yes", "perhaps"])[LABELS]
    parts = {"x_train": IMAGES / 255 - 0.5, "y_train": words, "x_test": IMAGES[:4] / 255, "y_test": words[:4]}
    split = load(str(saved(tmp_path / "b.npz", **parts)))
    assert split.class_names == ("no", "perhaps", "yes")
    assert split.test.labels.tolist() == [0, 2, 1, 0]
    assert split.test.value_range == (-0.5, pytest.approx(254 / 255 - 0.5))
    named = load(str(saved(tmp_path / "c.npz", x=IMAGES, y=LABELS[:, None], class_names=["a", "b", "c", "d"])))
    assert named.class_names == ("a", "b", "c", "d")


class Trap:
    """Pickled, it would make a file when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES}, "Received: a"),
        ({"x": IMAGES, "y": LABELS[:5]}, "Expected 30 labels"),
        ({"x": IMAGES[:, 0], "y": LABELS}, "Received: shape (30, 7)"),
        ({"x": np.full((30, 4, 4), np.nan), "y": LABELS}, "NaN"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "whole numbers"),
        ({"x": IMAGES, "y": LABELS * 0}, "at least two classes"),
        ({"x": IMAGES, "y": np.arange(30)}, "at least 5 images"),
        ({"x": IMAGES * 0, "y": LABELS}, "more than one value"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "Received: shape (0, 6, 7)"),
        ({"x": IMAGES, "y": LABELS, "class_names": ["a"]}, "from 0 to 0"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS}, "same shape"),
        ({"x": np.array([Trap()]), "y": LABELS}, "plain arrays"),
    ],
)
def test_npz_files_that_cannot_be_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("train", "--data", saved(tmp_path / "a.npz", **arrays))
    assert os.listdir(tmp_path) == ["a.npz"]


def test_broken_npz_files_are_named(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.npz", x=IMAGES, y=LABELS).read_bytes()
    for content in (b"PK no archive", b"", whole[:-30], whole.replace(b"NUMPY", b"DUMPY"), whole[:200] + whole[210:]):
        (tmp_path / "a.npz").write_bytes(content)
        error = refused("train", "--data", tmp_path / "a.npz")
        assert "a.npz" in error
        assert "pickle" not in error


# evaluate and predict


def test_evaluate_repeats_the_test_of_the_training(demo: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = demo
    report = json.loads((folder / "report.json").read_text())
    code, output, _ = run("evaluate", folder / "model.keras", "--data", "digits", "--out", tmp_path / "pictures")
    assert code == 0
    assert f"{report['test']['correct']} of 359 images (test of digits)" in output
    assert sorted(os.listdir(tmp_path / "pictures")) == ["confusion.png", "mistakes.png"]
    assert "of 1,797 images" in run("evaluate", folder, "--data", "digits", "--part", "all")[1]


def test_evaluate_matches_classes_by_name_and_values_by_range(demo: tuple[Path, str], tmp_path: Path) -> None:
    _, (x_test, y_test) = digits.load_data()
    chosen = y_test > 6
    path = saved(tmp_path / "a.npz", x=x_test[chosen] / 16, y=y_test[chosen].astype(str))
    code, output, _ = run("evaluate", demo[0], "--data", path, "--part", "all")
    assert code == 0
    assert float(output.split()[1]) > 90
    assert "class 7" in output
    assert "class 6" not in output
    path = saved(tmp_path / "b.npz", x=x_test, y=np.array([f"digit {label}" for label in y_test]))
    assert "the model's classes" in refused("evaluate", demo[0], "--data", path)


def test_evaluate_refuses_what_does_not_fit(demo: tuple[Path, str], tmp_path: Path) -> None:
    other = saved(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    assert "shape (8, 8, 1)" in refused("evaluate", demo[0], "--data", other)
    assert "--part" in refused("evaluate", demo[0], "--data", "digits", "--part", "some")
    assert "does not exist" in refused("evaluate", tmp_path / "nothing", "--data", "digits")
    assert "holds no model.keras" in refused("evaluate", tmp_path, "--data", "digits")
    (tmp_path / "model.keras").write_bytes(b"no model")
    assert "not a model that can be loaded" in refused("evaluate", tmp_path / "model.keras", "--data", "digits")
    (tmp_path / "model.keras").write_bytes((demo[0] / "model.keras").read_bytes())
    assert "report.json' is missing" in refused("evaluate", tmp_path, "--data", "digits")
    (tmp_path / "report.json").write_text('{"input": {"height": 3}}')
    assert "not a report" in refused("evaluate", tmp_path, "--data", "digits")


def test_predict_reads_a_digit_of_any_size_and_both_polarities(demo: tuple[Path, str], tmp_path: Path) -> None:
    _, (x_test, y_test) = digits.load_data()
    bright = Image.fromarray((x_test[0] * 255.0 / 16).astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
    bright.convert("RGB").save(tmp_path / "bright.png")
    Image.fromarray(255 - np.asarray(bright)).save(tmp_path / "dark.png")
    for arguments in (["bright.png"], ["dark.png", "--invert"]):
        code, output, _ = run("predict", demo[0], tmp_path / arguments[0], *arguments[1:])
        assert code == 0
        assert output.splitlines()[1].split()[0] == str(y_test[0])


def test_predict_refuses_what_is_no_image(demo: tuple[Path, str], tmp_path: Path) -> None:
    assert "There is no image" in refused("predict", demo[0], tmp_path / "nothing.png")
    assert f"the folder {str(tmp_path)!r}" in refused("predict", demo[0], tmp_path)
    (tmp_path / "a.png").write_text("text")
    assert "a.png" in refused("predict", demo[0], tmp_path / "a.png")
    assert run("predict", demo[0])[0] == 2


# the rest


def test_doctor_tells_versions_device_operations_and_data_sets() -> None:
    code, output, _ = run("doctor")
    assert code == 0
    for word in ("triarch", "torch", "device", "threads", "convolution", "cifar10", "TRIARCH_HOME"):
        assert word in output
    assert re.search(r"128×26×26×64 -> 64, 3×3 +winograd_\d, about .* ms, .* times as fast as the vendor's", output)
    assert re.search(r"compiled kernels +\d+ of \d+ kept in ", output)


def test_doctor_compiles_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [MEMBER, patches_plan.source("forward", "float32")]
    missing = {sources[1]}
    monkeypatch.setattr(doctor, "kernel_sources", lambda: sources)
    monkeypatch.setattr(doctor, "is_kept", lambda source: source not in missing)
    monkeypatch.setattr(doctor, "compiled", missing.remove)
    code, output, _ = run("doctor", "--warm")
    assert code == 0
    assert output.startswith("1 kernels to compile\n    1 of 1  patches.forward(float32)")
    assert not missing
    assert run("doctor", "--warm")[1].startswith("all kernels are compiled\n")


def test_help_lists_every_command_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, output, _ = run("--help")
    assert code == 0
    for name in ("train", "evaluate", "predict", "doctor"):
        assert name in output
    assert "..." not in output.partition("Commands:")[2]
    assert "<bool>" not in output


def test_the_version() -> None:
    assert run("--version") == (0, f"triarch {triarch.__version__}\n", "")


def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TRIARCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRIARCH_DATASETS", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    assert "no network" in refused("train", "--data", "mnist")
    assert not os.listdir(tmp_path)


# pictures


@given(st.floats(1e-7, 1e4), st.floats(1.1, 1e6))
def test_a_logarithmic_axis_has_some_ticks(low: float, ratio: float) -> None:
    ticks = pictures.log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 16
    assert ticks == sorted(ticks)
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks)


def test_mistakes_come_surest_first() -> None:
    rng = np.random.default_rng(3)
    probabilities, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    worst = pictures.worst_mistakes(probabilities, labels)
    assert (probabilities[worst].argmax(-1) != labels[worst]).all()
    assert len(worst) == (probabilities.argmax(-1) != labels).sum()
    assert (np.diff(probabilities[worst].max(-1)) <= 0).all()


def test_long_names_are_shortened_where_they_agree() -> None:
    names = [f"a_family_of_long_names_species_{number:02}" for number in range(30)]
    short = pictures.shortened([*names, "cat"], 14)
    assert short[3] == "a_fami…cies_03"
    assert short[-1] == "cat"
    assert len(set(short)) == 31
    alike = ["the same beginning, one, the same end", "the same beginning, two, the same end"]
    assert len(set(pictures.shortened(alike, 14))) == 2


@pytest.mark.parametrize("classes", [2, 30, 100])
def test_confusions_of_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    labels = np.arange(classes).repeat(3)
    names = [f"${number} of many, of which each has its own name" for number in range(classes)]
    pictures.draw_confusion(tmp_path / "a.png", np.roll(labels, 1), labels, names, "title")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else object())
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "The command triarch needs pillow. Install: pip install 'triarch[cli]'\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (83.4, "1 min 23 s"), (7322, "2 h 2 min")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_letters_of_no_font_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fonts._say_once.cache_clear()
    names = ["cat", "\ufdd0", "\ufdd1"]  # what is no letter is in no font
    labels = np.arange(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("one.png", "other.png"):
            pictures.draw_confusion(tmp_path / name, labels, labels, names, "names")
            assert (tmp_path / name).stat().st_size
    said = capsys.readouterr()
    assert said.out.count("no font that is installed") == 1
    assert not said.err
