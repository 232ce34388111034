"""`triarch convolve`: numbers, files and images in, results, tables and pictures out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

from triarch.cli import convolve as module


def printed(*arguments: object) -> str:
    code, output, error = run("convolve", *arguments)
    assert (code, error) == (0, "")
    return output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("1,2,3", "4,5,6"), "4,13,28,27,18\n"),
        (("1, 2, 3", "4,5,6", "--mode", "same"), "13,28,27\n"),
        (("1,2;3,4", "1,1"), None),  # ranks differ
        (("1,2;3,4", "1,1;1,1"), "1,3,2\n4,10,6\n3,7,4\n"),
        (("1/2,1/3", "1/2,3"), "1/4,5/3,1\n"),
        (("0.5,1", "2,4"), "1.0,4.0,4.0\n"),
        (("1+2j,3", "1,1j"), "1+2j,1+1j,3j\n"),
        (("1,2,3", "0,1,0.5", "--correlate"), "0.5,2.0,3.5,3.0,0.0\n"),
        (("1,2,3", "1,1", "--boundary", "wrap"), "4,3,5,4\n"),
        (("1,2,3", "1,1", "--fill-value", "10"), "11,3,5,13\n"),
        (("1,2;3,4", "1,1;5,5", "--axes", "1"), "1,3,2\n15,35,20\n"),
        (("--", "-1,2", "-3"), "3,-6\n"),
        (
            ("99999999999999999999,1", "10000000000", "--method", "kronecker"),
            "999999999999999999990000000000,10000000000\n",
        ),
    ],
)
def test_numbers(arguments: tuple[str, ...], expected: str | None) -> None:
    if expected is None:
        assert "axes" in refused("convolve", *arguments)
    else:
        assert printed(*arguments) == expected


def test_files_in_and_out(tmp_path: Path) -> None:
    a, b, result = tmp_path / "a.npy", tmp_path / "b.csv", tmp_path / "result.npy"
    signal_, kernel = np.linspace(0, 1, 50), np.array([1.5, -2.0, 0.25])
    np.save(a, signal_)
    b.write_text("1.5\n-2\n0.25\n")
    assert "result.npy" in printed(a, b, "--output", result)
    np.testing.assert_allclose(np.load(result), np.convolve(signal_, kernel), atol=1e-12)
    table = tmp_path / "result.csv"
    printed("1,2;3,4", "1,1;1,1", "--output", table)
    assert table.read_text().split() == ["1,3,2", "4,10,6", "3,7,4"]
    assert printed(table, "2,0;0,0", "--mode", "valid") == "20,12\n14,8\n"
    exact = tmp_path / "exact.npy"
    printed("1,2", "3,4", "--output", exact)
    assert np.load(exact).dtype == np.int64
    assert "rounded" in printed("1/3,2", "3,4", "--output", exact)


def test_images_in_and_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    colour, grey, blurred = (tmp_path / name for name in ("colour.png", "grey.png", "blurred.png"))
    Image.fromarray(picture).save(colour)
    Image.fromarray(picture[..., 0]).save(grey)
    kernel = "1/9,1/9,1/9;1/9,1/9,1/9;1/9,1/9,1/9"
    printed(colour, kernel, "--mode", "same", "--boundary", "nearest", "--output", blurred)
    padded = np.pad(picture.astype(float), ((1, 1), (1, 1), (0, 0)), "edge")
    means = sum(padded[i : i + 20, j : j + 30] for i in range(3) for j in range(3)) / 9
    assert np.abs(np.asarray(Image.open(blurred)) - means).max() <= 0.51
    output = printed(grey, "0,300;0,0", "--mode", "same", "--output", blurred)
    assert "clipped to 0 ... 255" in output
    assert np.asarray(Image.open(blurred)).shape == (20, 30)


def test_a_table_of_the_methods() -> None:
    output = printed("1,2,3", "4,5,6", "--explain")
    assert "direct" in output
    assert "chosen" in output
    assert "kronecker" in output
    assert output.endswith("4,13,28,27,18\n")


@pytest.mark.parametrize(("a", "b"), [("1,2,3", "4,5,6"), ("1,2;3,4", "0,1;1,0"), ("1j,2", "1,1")])
def test_pictures(a: str, b: str, tmp_path: Path) -> None:
    assert "picture in" in printed(a, b, "--plot", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_a_long_result_is_shortened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(5000))
    output = printed(tmp_path / "a.npy", "1")
    assert output.startswith("0,1,2,3,...,4996,4997,4998,4999\n")
    assert "--output" in output


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("1")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "words.csv").write_text("1,2\nx,3\n")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    np.save(tmp_path / "names.npy", np.array(["a"]))
    (tmp_path / "empty.csv").write_text("\n")
    for given, words in (
        ("1,x", "'x' is no number"),
        ("1,2;3", "rows have"),
        (tmp_path / "text.txt", "suffix"),
        (tmp_path / "none.npy", "There is no file"),
        (tmp_path / "ragged.csv", "as many numbers"),
        (tmp_path / "words.csv", "line 2"),
        (tmp_path / "broken.npy", "no .npy file"),
        (tmp_path / "names.npy", "type <U1"),
        (tmp_path / "empty.csv", "at least one number"),
        (tmp_path / "none.png", "no image"),
    ):
        assert words in refused("convolve", given, "1")
    assert "mode expects" in refused("convolve", "1", "1", "--mode", "some")
    assert "method expects" in refused("convolve", "1", "1", "--method", "some")
    assert "--axes expects" in refused("convolve", "1", "1", "--axes", "x")
    assert "--output expects" in refused("convolve", "1", "1", "--output", "out.xyz")
    assert "--plot expects" in refused("convolve", "1", "1", "--plot", "out.xyz")
    assert "--output expects" in refused("convolve", "1", "1", "--output", "out.psd")
    assert "folder that exists" in refused("convolve", "1", "1", "--output", tmp_path / "none" / "out.npy")
    cube = tmp_path / "cube.npy"
    np.save(cube, np.ones((2, 2, 2)))
    assert "--plot shows" in refused("convolve", cube, cube, "--plot", tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def test_an_operand_is_never_overwritten(tmp_path: Path) -> None:
    a = tmp_path / "a.npy"
    np.save(a, np.arange(3))
    assert "overwrite" in refused("convolve", a, "1", "--output", a)
    assert np.load(a).tolist() == [0, 1, 2]
    picture = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(picture)
    before = picture.read_bytes()
    assert "overwrite" in refused("convolve", picture, "1;1", "--plot", picture)
    assert picture.read_bytes() == before


def test_more_numbers_than_a_file_name_may_have() -> None:
    numbers = ",".join(["0.125"] * 500)
    assert printed(numbers, "8", "--mode", "same") == ",".join(["1.0"] * 500) + "\n"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = module.console()
    console._force_terminal = True
    monkeypatch.setattr(module, "console", lambda: console)
    monkeypatch.setattr(module, "_SECONDS_WITHOUT_BAR", -1.0)
    with module._bar() as advance:
        assert advance is not None
        advance(1, 2)
        advance(2, 2)
