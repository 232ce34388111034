"""Tables and texts as people have them: their numbers are right, or the command says what is wrong and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import refused, run

from triarch.cli import pictures
from triarch.cli.data import load
from triarch.cli.forecast import Forecast
from triarch.cli.operands import read_operand
from triarch.cli.output import CommandError
from triarch.cli.tables import read_table
from triarch.cli.tasks import task_of
from triarch.datasets.ts_files import load_ts
from triarch.files import read_text

STEPS = range(40)
HEAT, DAMP = [20 + n % 7 for n in STEPS], [50 + n % 5 / 2 for n in STEPS]


def table(cell: Callable[[int], object], names: str = "date,heat,damp", separator: str = ",", end: str = "\n") -> str:
    """Dates, temperatures, and a last column of cells."""
    rows = [separator.join([f"2024-02-{n % 28 + 1:02}", str(HEAT[n]), str(cell(n))]) for n in STEPS]
    return end.join([names, *rows, ""])


def written(tmp_path: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


PLAIN = table(lambda n: DAMP[n])


# What is read


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\n\n"),
        PLAIN.rstrip(),
        PLAIN + ",,\n,,\n",
        PLAIN.replace(",", ", "),
        PLAIN.replace("\n", ",\n"),  # a separator behind each line
        PLAIN.replace("\n", ",\n").replace("damp,", "damp", 1),
        PLAIN.replace("damp\n", "damp,,\n", 1).replace("\n2024", ",,\n2024").rstrip() + ",,",
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-32"),
        table(lambda n: f'"{DAMP[n]}"', '"date","heat","damp"'),
        table(lambda n: f"{DAMP[n]:+.3e}"),
        table(lambda n: f"{DAMP[n]:.1f}  "),
    ],
)
def test_the_same_numbers_come_from_every_spelling(tmp_path: Path, content: str | bytes) -> None:
    found = read_table(written(tmp_path, content), None)
    assert (found.names, found.target) == (("heat", "damp"), 1)
    np.testing.assert_array_equal(found.numbers, np.array([HEAT, DAMP], float).T)


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{n},{line}\n" for n, line in enumerate(PLAIN.splitlines())).replace("0,date", ",date", 1)
    found = read_table(written(tmp_path, text), "heat")
    assert (found.names, found.target) == (("heat", "damp"), 0)
    said = capsys.readouterr().out
    assert "Left out column 1 of table.csv, which has no name." in said
    assert "Left out 'date' of table.csv, without numbers." in said


def test_names_that_pandas_makes(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    numbers = np.random.default_rng(0).normal(size=(30, 3))
    for index in (True, False):
        path = tmp_path / f"{index}.csv"
        pandas.DataFrame(numbers).to_csv(path, index=index)
        found = read_table(path, None)
        assert found.names == ("0", "1", "2")
        np.testing.assert_array_equal(found.numbers, numbers)


# What is refused. Names, cells of the last column, and what the message says.
WRONG: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "gap": (table(lambda n: "" if n == 30 else DAMP[n]), ("'damp'", "line 32", "empty")),
    "NA": (table(lambda n: "NA" if n == 30 else DAMP[n]), ("'damp'", "line 32", "'NA'", "missing")),
    "NaN": (table(lambda n: "NaN" if n > 30 else DAMP[n]), ("'damp'", "line 33", "missing", "8 other")),
    "dash": (table(lambda n: "-" if n == 30 else DAMP[n]), ("'damp'", "line 32", "'-'")),
    "mark": (table(lambda n: "?2" if n == 30 else DAMP[n]), ("'damp'", "line 32", "'?2'")),
    "unit": (table(lambda n: f"{DAMP[n]} %"), ("'damp'", "line 2", "%")),
    "infinite": (table(lambda n: "inf" if n == 0 else DAMP[n]), ("'damp'", "line 2", "'inf'")),
    "too large": (table(lambda n: "1e999" if n == 0 else DAMP[n]), ("'damp'", "line 2", "1e999", "finite")),
    "thousands": (table(lambda n: f'"{1000 + DAMP[n]:,}"'), ("'damp'", "line 2", "comma")),
    "decimal comma": (table(lambda n: str(DAMP[n]).replace(".", ",")), ("line 2", "Decimals", "4 in line 2")),
    "quoted decimal comma": (table(lambda n: f'"{DAMP[n]}"'.replace(".", ",")), ("'damp'", "comma")),
    "underscore": (table(lambda n: "1_000"), ("'damp'", "1_000")),
    "words": (table(lambda n: "wet"), ("'damp'", "line 2", "'wet'")),
    "nothing but gaps": (table(lambda n: ""), ("'damp'", "line 2", "empty")),
    "semicolons": (table(lambda n: DAMP[n], "date;heat;damp", ";"), ("semicolons", "date;heat;damp")),
    "tabs": (table(lambda n: DAMP[n], "date\theat\tdamp", "\t"), ("tabs",)),
    "bars": (table(lambda n: DAMP[n], "date|heat|damp", "|"), ("bars",)),
    "spaces": (PLAIN.replace(",", " "), ("date heat damp", "line 2")),
    "a title": ("The weather\n" + PLAIN, ("line 2", "above")),
    "a comment": (PLAIN.replace("\n2024", "\n# checked\n2024", 1), ("line 2", "1 in line 2")),
    "a footer": (PLAIN + "Source: us\n", (f"line {len(STEPS) + 2}",)),
    "a short line": (PLAIN.replace(f",{HEAT[0]},{DAMP[0]}\n", f",{HEAT[0]}\n", 1), ("2 in line 2",)),
    "a long line": (PLAIN.replace(f",{HEAT[0]},{DAMP[0]}\n", f",{HEAT[0]},{DAMP[0]},9\n", 1), ("4 in line 2",)),
    "names twice": (table(lambda n: DAMP[n], "date,damp,damp"), ("'damp' more than once", "line 1")),
    "no names": (PLAIN.split("\n", 1)[1], ("line 1", "names")),
    "no names, numbers alone": ("\n".join(f"{n},{n / 2}" for n in range(1, 40)), ("line 1", "names")),
    "an open quote": (table(lambda n: f'"{DAMP[n]}' if n == 3 else DAMP[n]), ("line 5",)),
    "Latin-1": (
        table(lambda n: DAMP[n], "date,heat,größe").encode("latin-1"),
        ("0xf6", "line 1", "position 12", "UTF-8"),
    ),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), ("zero", "UTF-16")),
    "nothing": (b"", ("no lines",)),
    "names alone": ("date,heat,damp\n", ("'damp'", "no lines below")),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("target", [(), ("--target", "damp")])
def test_a_table_that_could_be_misread_is_refused(tmp_path: Path, what: str, target: tuple[str, ...]) -> None:
    content, words = WRONG[what]
    path = written(tmp_path, content)
    error = refused("train", "--model", "rnn", "--data", path, "--out", tmp_path / "out", *target)
    if target and what == "spaces":
        words = ("--target must be one of date heat damp",)
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_no_column_of_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, table(lambda n: "" if n == 5 else DAMP[n]))
    settings = ("train", "--model", "rnn", "--data", path, "--target")
    assert "line 2, '2024-02-01'" in refused(*settings, "date")
    assert "one of date, heat, damp. Received: 'rain'" in refused(*settings, "rain")
    assert "'damp'" in refused(*settings, "heat")  # a gap in a column that would be learnt from


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1;2\n3;4\n", "line 1 .*'1;2'"),
        ("1,2\n3,x\n", "line 2 .*'x'"),
        ("1,2\n\n3\n", "1 in line 3"),
        ("1,2,\n3,4,\n", "line 1"),
        ('"1,234"\n', "line 1 .*'1,234'"),
        ("1_000\n", "1_000"),
        ("a,b\n1,2\n", "line 1 .*'a'"),
        ("1,ä\n".encode("latin-1"), "0xe4"),
        ("1\n2\n".encode("utf-16-le"), "zero"),
    ],
)
def test_operands_that_could_be_misread_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        read_operand(str(written(tmp_path, content, "operand.CSV")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_operands_of_every_spelling(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(["1,2e0", '"3", 4/1', "", ""])
    assert read_operand(str(written(tmp_path, text.encode(encoding), "operand.csv"))).tolist() == [[1, 2], [3, 4]]


# Sizes


def waves(steps: int = 120) -> np.ndarray:
    return np.sin(np.arange(steps) / 3)


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (1e9, 1), (-1e12, 1), (0, 1e-12), (1e6, 1e-3), (1e15, 1e6)])
def test_series_far_from_zero_are_forecast_as_those_near_it(tmp_path: Path, offset: float, size: float) -> None:
    tasks = []
    for numbers in (waves(), waves() * size + offset):
        path = written(tmp_path, "level\n" + "".join(f"{number!r}\n" for number in numbers.tolist()))
        tasks.append(Forecast(path, None, 8, 2))
    plain, moved = tasks
    scaled = [np.asarray(task.scaling.layer()(task.learning[0])) for task in tasks]
    np.testing.assert_allclose(*scaled, atol=1e-3)
    np.testing.assert_allclose(plain.tests[1], moved.tests[1], atol=1e-3)
    found = [task.test(task.network("rnn"), tmp_path)[2] for task in tasks]
    for key in ("mean_absolute_error", "of_the_last_value"):
        assert found[1][key] == pytest.approx(found[0][key] * size, rel=1e-3)
    assert moved.facts()["mean"] == pytest.approx(plain.facts()["mean"] * size + offset)
    assert plain.facts()["offsets"] == [0]


def test_a_series_far_from_zero_is_learnt(tmp_path: Path) -> None:
    path = written(tmp_path, "level\n" + "".join(f"{number + 1e9!r}\n" for number in waves(300).tolist()))
    arguments = ("--data", path, "--model", "gru", "--window", 12, "--epochs", 10, "--out", tmp_path / "out")
    code, output, error = run("train", *arguments)
    assert code == 0, error
    assert "table.csv: level, forecast from level of 300 steps\n" in output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report["test"]["mean_absolute_error"] < report["test"]["of_the_last_value"]
    assert report["data"]["series"] == {"training": 198, "validation": 30, "test": 60}


def test_a_column_that_is_one_number_and_one_of_other_units(tmp_path: Path) -> None:
    text = "".join(f"{number!r},0.1,1e9\n" for number in waves().tolist())
    task = task_of(str(written(tmp_path, "level,same,far\n" + text)), "level", 8, 1, 0)
    inputs, targets = task.learning
    scaled = np.asarray(task.scaling.layer()(inputs))
    assert np.abs(scaled[..., 1:]).max() < 1e-5
    assert np.abs(targets).max() < 2
    path = written(tmp_path, "level\n" + "".join(f"{number * 1e35!r}\n" for number in waves().tolist()), "large.csv")
    with pytest.raises(CommandError, match="other units"):
        task_of(str(path), None, 8, 1, 0)


def test_the_title_of_a_forecast_tells_the_error_of_its_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "level\n" + "".join(f"{number!r}\n" for number in waves().tolist()))
    task, drawn = Forecast(path, None, 8, 5), {}
    monkeypatch.setattr(pictures, "draw_forecast", lambda _, *given: drawn.update(given=given))
    network = task.network("rnn")
    headline, _, scores = task.test(network, tmp_path)
    truth, found, _, title = drawn["given"]
    assert title.endswith(f"5 steps ahead: off by {np.abs(truth - found).mean():.4g}")
    assert scores["of_each_step_ahead"][-1] == pytest.approx(np.abs(truth - found).mean())
    assert headline.endswith(f"{scores['mean_absolute_error']:.4g}")
    np.testing.assert_array_equal(truth, waves()[-len(truth) :])


def ts(path: Path, series: list[np.ndarray], labels: list[str], header: str = "") -> Path:
    lines = [":".join([*(",".join(map(repr, row)) for row in own.tolist()), label]) for own, label in zip(series, labels, strict=True)]  # fmt: skip  # noqa: E501
    path.write_text(f"@problemName x\n{header}@data\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e9])
def test_no_number_of_unequal_series_is_taken_for_filling(tmp_path: Path, offset: float) -> None:
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(2, 5 + number % 4)) + offset for number in range(40)]
    task = task_of(str(ts(tmp_path / "x.ts", series, ["a", "b"] * 20)), None, None, 1, 0)
    network = task.network("gru")
    lengths = set()
    for x, _ in (task.learning, task.validation, task.tests):
        mask = np.asarray(network.layers[0].compute_mask(torch.as_tensor(x)))
        lengths |= set(mask.sum(1).tolist())
        assert (np.diff(mask.astype(int), axis=1) <= 0).all()  # what is left out lies behind the ends
    assert lengths == {5, 6, 7, 8}


# Texts and series in files


def test_texts_without_their_mark(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path = written(tmp_path, "straße\r\nЖ\rx\n".encode(encoding), "a.txt")
        assert read_text(path) == "straße\nЖ\nx\n"


@pytest.mark.parametrize(("name", "head"), [("a.txt", ""), ("a.ts", "@data\n"), ("a.csv", "x\n")])
def test_a_file_in_another_encoding_is_named_before_training(tmp_path: Path, name: str, head: str) -> None:
    path = written(tmp_path, (head + "1,2:größer\n" * 300).encode("windows-1252"), name)
    error = refused("train", "--model", "gru", "--data", path, "--out", tmp_path / "out")
    line = head.count("\n") + 1
    assert all(word in error for word in (str(path), "0xf6", f"line {line}", "UTF-8")), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("@data\n1,2:3,4:\n", "class label .*line 2"),
        ("@data\n1,2,3\n", "class label .*line 2.*'1,2,3'"),
        ("@classLabel true a b\n@data\n1,2:a\n1,2:c\n", "line 4, one of a, b. Received: 'c'"),
        ("@data\n1,2:3,4:a\n1,2:b\n", "Expected 2 dimensions .*line 3"),
        ("@data\n1,2:3:a\n", "as many numbers each in .*line 2"),
        ("@data\n1,?2:a\n", r"line 2: .*'\?2'"),
        ("@data\n1,1_0:a\n", "line 2: '1_0'"),
        ("@data\n1,1e39:a\n", "float32 holds .*line 2"),
    ],
)
def test_series_that_could_be_misread_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_ts(written(tmp_path, content, "a.ts"))


def test_series_of_every_spelling(tmp_path: Path) -> None:
    content = "# x\r\n@classLabel true a b\r\n@DATA\r\n1, ?:2,3 : a\r\n\r\n4:5:b\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        series, labels = load_ts(written(tmp_path, content.encode(encoding), "a.TS"))
        assert labels.tolist() == ["a", "b"]
        np.testing.assert_array_equal(series[0], [[1, 2], [np.nan, 3]])
        np.testing.assert_array_equal(series[1], [[4, 5]])
    assert load_ts(written(tmp_path, "@data\n1e39,1000000001:a\n", "b.ts"), "float64")[0][0].tolist() == [
        [1e39],
        [1000000001],
    ]


@pytest.mark.parametrize(("train", "test"), [("x_TRAIN.ts", "x_TEST.ts"), ("X_train.TS", "X_Test.ts")])
def test_the_file_for_the_test_lies_beside(tmp_path: Path, train: str, test: str) -> None:
    rng = np.random.default_rng(0)
    path = ts(tmp_path / train, [rng.normal(size=(1, 6)) for _ in range(20)], ["a", "b"] * 10)
    ts(tmp_path / test, [rng.normal(size=(1, 6)) for _ in range(7)], ["a"] * 7)
    assert len(task_of(str(path), None, None, 1, 0).tests[1]) == 7
    ts(tmp_path / test, [rng.normal(size=(2, 6))], ["a"])
    assert "as many dimensions" in refused("train", "--model", "rnn", "--data", path)
    ts(tmp_path / test, [rng.normal(size=(1, 6))], ["c"])
    assert f"c in {test!r}" in refused("train", "--model", "rnn", "--data", path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.array(["a", np.nan] * 10)}, "'nan' at place 1"),
        ({"y": np.array([0, np.nan] * 10)}, "nan at place 1"),
        ({"y": np.array([0, 1.5] * 10)}, "1.5 at place 1"),
        ({"y": np.array([0, 1e300] * 10)}, "1e.300 at place 1"),
        ({"y": np.array([b"a", b"\xe4"] * 10)}, "UTF-8"),
        ({"class_names": np.array(["a", "a"])}, "that differ"),
        ({"x": np.random.default_rng(0).normal(size=(20, 4, 4)) + 1e9}, "single precision"),
        ({"x": np.random.default_rng(0).normal(size=(20, 4, 4)) * 1e300}, "single precision"),
    ],
)
def test_arrays_that_could_be_misread_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    x = np.random.default_rng(0).integers(0, 255, (20, 4, 4))
    np.savez(tmp_path / "a.npz", **{"x": x, "y": np.arange(20) % 2} | arrays)
    with pytest.raises(CommandError, match=message):
        load(str(tmp_path / "a.npz"))


def test_arrays_far_from_zero_are_series(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 6, 2))
    for name, own in (("a.NPZ", x), ("b.npz", x + 1e9)):
        with (tmp_path / name).open("wb") as file:
            np.savez(file, x=own, y=np.arange(40) % 2)
    near, far = (task_of(str(tmp_path / name), None, None, 1, 0) for name in ("a.NPZ", "b.npz"))
    scaled = [np.asarray(task.scaling.layer()(task.learning[0])) for task in (near, far)]
    np.testing.assert_allclose(*scaled, atol=1e-5)
