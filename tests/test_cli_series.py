"""`triarch train` with recurrent networks: classes of series, forecasts, letters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

import triarch
from triarch.datasets.ts_files import load_ts

HEADER = "# series\n@problemName waves\n@timeStamps false\n@classLabel true slow fast\n@data\n"


def waves(path: Path, count: int, seed: int) -> Path:
    """Slow and fast waves of different lengths, in two dimensions."""
    rng, lines = np.random.default_rng(seed), []
    for number in range(count):
        name, speed = (("slow", 0.3), ("fast", 1.2))[number % 2]
        times = np.arange(rng.integers(12, 25)) * speed + rng.uniform(0, 6)
        columns = (np.sin(times), np.cos(times) * 10)
        lines.append(":".join([*(",".join(f"{value:.4f}" for value in own) for own in columns), name]))
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(tmp_path: Path, *arguments: object) -> tuple[str, Path, dict]:
    """What was on the screen, the result folder, and its report."""
    folder = tmp_path / "out"
    code, said, error = run("train", *arguments, "--out", folder)
    assert code == 0, error
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 400
    return said, folder, json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru", "bilstm"])
def test_series_of_classes(tmp_path, model):
    waves(tmp_path / "waves_TEST.ts", 30, 2)
    path = waves(tmp_path / "waves_TRAIN.ts", 60, 1)
    said, folder, report = trained(tmp_path, "--data", path, "--model", model, "--epochs", 25)
    assert "Test accuracy" in said
    assert report["test"]["accuracy"] >= 0.75
    assert report["test"]["series"] == 30
    assert report["input"]["class_names"] == ["fast", "slow"]
    assert {path.name for path in folder.iterdir()} == {
        *("model.keras", "history.csv", "report.json", "curves.png", "confusion.png")
    }
    model = triarch.models.load_model(folder / "model.keras")
    assert model.predict(load_ts(path)[0][0][None], verbose=0).shape == (1, 2)


def test_a_fifth_is_the_test_where_there_is_no_file_for_it(tmp_path):
    _, _, report = trained(tmp_path, "--data", waves(tmp_path / "all.ts", 50, 1), "--model", "gru", "--epochs", 1)
    assert report["data"]["series"]["training"] + report["data"]["series"]["validation"] == 40
    assert report["test"]["series"] == 10


def test_images_are_series_of_rows(tmp_path):
    _, folder, report = trained(tmp_path, "--data", "digits", "--model", "lstm", "--epochs", 1)
    assert report["input"]["dimensions"] == 8
    assert "models of images" in refused("evaluate", folder, "--data", "digits")


def test_arrays_of_series(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 9, 5)).astype("float32")
    np.savez(tmp_path / "series.npz", x=x, y=np.arange(40) % 2)
    _, _, report = trained(tmp_path, "--data", tmp_path / "series.npz", "--model", "rnn", "--epochs", 1)
    assert report["input"]["dimensions"] == 5


def table(path: Path, steps: int) -> Path:
    times = np.arange(steps)
    rows = [f"2020-{time},{np.sin(time / 4) + time / 50:.4f},{np.cos(time / 4):.4f}" for time in times]
    path.write_text("day,up,other\n" + "\n".join(rows) + "\n")
    return path


def test_a_forecast(tmp_path):
    path = table(tmp_path / "waves.csv", 300)
    said, folder, report = trained(
        tmp_path, "--data", path, "--model", "lstm", "--target", "up", "--window", 20, "--horizon", 3, "--epochs", 12
    )
    assert (folder / "forecast.png").exists()
    assert report["test"]["mean_absolute_error"] < report["test"]["of_the_last_value"]
    assert report["input"] | {"mean": 0, "deviation": 0} == {
        "task": "forecast",
        "target": "up",
        "columns": ["up", "other"],
        "offsets": [0, 0],
        "window": 20,
        "horizon": 3,
        "mean": 0,
        "deviation": 0,
    }
    assert "Mean absolute error" in said
    model = triarch.models.load_model(folder / "model.keras")
    assert model.predict(np.zeros((2, 20, 2)), verbose=0).shape == (2, 3)


def test_letters(tmp_path):
    path = tmp_path / "rhyme.txt"
    path.write_text("round and round the garden, like a teddy bear; " * 80, encoding="utf-8")
    said, folder, report = trained(
        tmp_path,
        *("--data", path, "--model", "gru", "--window", 30, "--sample", 40, "--epochs", 8, "--batch-size", 8),
    )
    written = (folder / "sample.txt").read_text()
    assert len(written) == 41
    assert written.strip() in said
    assert set(written.strip()) <= set(path.read_text())
    assert report["test"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("a.ts", "@data\n1,2:x\n", (), "at least two classes"),
        ("a.ts", "@timeStamps true\n@data\n", (), "time stamps"),
        ("a.ts", "@data\n1,2:3:x\n", (), "as many numbers each"),
        ("a.ts", "@data\n1,b:x\n", (), "Expected numbers"),
        ("a.ts", "1,2:x\n", (), "begins with '@'"),
        ("a.ts", "@targetLabel true\n@data\n1:2\n", (), "class labels"),
        ("a.ts", "@data\n" + "1,?:x\n1,2:y\n" * 9, (), "NaN"),
        ("a.csv", "day\nmonday\n", (), "a column of numbers"),
        ("a.csv", "x\n" + "1\n" * 9, (), "too few"),
        ("a.csv", "x\n" + "1\n" * 90, ("--target", "y"), "--target must be one of x"),
        ("a.csv", "x\n" + "nan\n" * 90, (), "line 2, 'nan', a mark for a missing number, and 89 other"),
        ("a.txt", "short", (), "at least"),
        ("a.txt", "letters " * 400, ("--model", "bilstm"), "sees the letters"),
        ("a.txt", "letters " * 400, ("--target", "x"), "--target is for"),
        ("a.txt", "letters " * 400, ("--weights", "x"), "--weights is for"),
    ],
)
def test_what_cannot_be_learnt_is_refused(tmp_path, name, content, arguments, message):
    (tmp_path / name).write_text(content)
    model = () if "--model" in arguments else ("--model", "gru")
    assert message in refused("train", "--data", tmp_path / name, *model, *arguments)


def test_a_file_that_is_missing(tmp_path):
    assert "does not exist" in refused("train", "--data", tmp_path / "no.ts", "--model", "lstm")
