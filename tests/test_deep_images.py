"""Pixels of more than 8 bits keep their numbers, or it is said why they cannot."""

from __future__ import annotations

import io
import struct
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import refused, run
from PIL import Image

from triarch import utils
from triarch.cli.data import load
from triarch.cli.images import form_of, numbers_of, read_images
from triarch.cli.operands import read_operand
from triarch.cli.output import CommandError

DEEP = (np.arange(24, dtype=np.uint16) * 2_731 + 7).reshape(4, 6)
REAL = np.linspace(-900, 4_100, 24, dtype=np.float32).reshape(4, 6)


def saved(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def png_of_16_bits(path: Path, colours: np.ndarray, kind: int) -> Path:
    """Colours or transparency with 16 bits, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = colours.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colours)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


# Files, their pixels, and whether a range of 16 bits says what is black and white.
FILES: dict[str, tuple[np.ndarray, bool]] = {
    "deep.png": (DEEP, True),
    "deep.tif": (DEEP, True),
    "DEEP.TIFF": (DEEP, True),
    "deep.pgm": (DEEP, True),
    "deep.jp2": (DEEP, True),
    "whole.tif": (DEEP.astype(np.int32) * 1000 - 50_000, False),
    "real.tif": (REAL, False),
    "one.tif": (REAL / 5_000, False),
    "real.pfm": (REAL, False),
}


@pytest.mark.parametrize("name", FILES)
def test_the_command_convolves_the_numbers_of_the_file(tmp_path: Path, name: str) -> None:
    path, pixels = saved(tmp_path / name, FILES[name][0]), FILES[name][0]
    found = read_operand(str(path))
    assert found.dtype == (np.float64 if pixels.dtype.kind == "f" else np.int64)
    np.testing.assert_array_equal(found, pixels)
    np.save(tmp_path / "one.npy", np.ones((1, 1)))
    code, _, error = run("convolve", path, tmp_path / "one.npy", "--output", tmp_path / "out.npy")
    assert code == 0, error
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), pixels, rtol=1e-12)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb", "rgba"])
def test_pictures_keep_grey_numbers_and_scale_colours(tmp_path: Path, name: str, color_mode: str) -> None:
    pixels, has_range = FILES[name]
    path = saved(tmp_path / name, pixels)
    if color_mode == "grayscale":
        assert (utils.img_to_array(utils.load_img(path, color_mode), dtype="float64")[..., 0] == pixels).all()
        resized = np.asarray(utils.load_img(path, color_mode, (2, 3)))
        assert set(resized.ravel().tolist()) <= set(pixels.ravel().tolist())
    elif has_range:
        found = utils.img_to_array(utils.load_img(path, color_mode))
        np.testing.assert_array_equal(found[..., 1], (pixels / 257).round())
    else:
        with pytest.raises(ValueError, match=r"32 bits.*Received: .* from .* to .*array"):
            utils.load_img(path, color_mode)


def test_grey_pictures_are_those_of_keras(keras: types.ModuleType, tmp_path: Path) -> None:
    for name in ("deep.png", "deep.tif", "deep.pgm"):
        path = saved(tmp_path / name, DEEP)
        ours, theirs = (load_img(path, "grayscale") for load_img in (utils.load_img, keras.utils.load_img))
        assert ours.mode == theirs.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("color_mode", ["grayscale", "rgb", "rgba"])
@pytest.mark.parametrize("size", [(4, 6), (2, 3), (9, 5)])
def test_folders_keep_all_bits(tmp_path: Path, color_mode: str, size: tuple[int, int]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name / "0.png", DEEP if name == "a" else DEEP[::-1])
        saved(tmp_path / name / "1.png", (DEEP >> 8).astype(np.uint8))
    read = utils.image_dataset_from_directory
    images = next(iter(read(tmp_path, color_mode=color_mode, image_size=size, shuffle=False)))[0].numpy()
    if size == (4, 6):
        np.testing.assert_allclose(images[0, ..., 0], DEEP / 257, rtol=1e-6)
        np.testing.assert_allclose(images[2, ..., 0], DEEP[::-1] / 257, rtol=1e-6)
        np.testing.assert_array_equal(images[1, ..., 0], DEEP >> 8)
    assert abs(images[0, ..., 0] - images[1, ..., 0]).max() < 1.5
    assert (images[..., :3] == images[..., :1]).all()
    assert color_mode != "rgba" or (images[..., 3] == 255).all()


def test_the_command_learns_and_predicts_the_same_deep_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("a", 1000), ("b", 1100)):  # 8 bits would not tell them apart
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            saved(tmp_path / "data" / name / f"{number}.png", rng.integers(low, low + 100, (8, 9), np.uint16))
    data = load(str(tmp_path / "data"))
    assert data.train.shape == (8, 9, 1)
    files = list(data.train.files)
    taken = data.train.take(np.arange(len(files)))
    for size in ((8, 9, 1), (5, 7, 1), (5, 7, 3)):
        own = load(str(tmp_path / "data"), size).train
        np.testing.assert_array_equal(own.take(np.arange(len(files))), read_images(files, size))
    np.testing.assert_allclose(taken[0, ..., 0] * 257, np.asarray(Image.open(files[0])), atol=0.01)
    code, _, error = run("train", "--data", tmp_path / "data", "--epochs", 1, "--out", tmp_path / "out")
    assert code == 0, error
    for options in ((), ("--invert",)):
        assert run("predict", tmp_path / "out", files[0], *options)[0] == 0


@pytest.mark.parametrize("name", ["real.tif", "whole.tif"])
def test_pixels_without_a_range_are_refused_before_learning(tmp_path: Path, name: str) -> None:
    for number in range(12):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        saved(path, FILES[name][0] if number == 7 else DEEP)
    error = refused("train", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert "7.tif' has pixels of 32 bits" in error
    assert "array" in error
    assert not (tmp_path / "out").exists()
    with pytest.raises(CommandError, match="32 bits"):
        form_of(tmp_path / "data" / "b" / "7.tif")


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colours_of_16_bits(tmp_path: Path, kind: int, channels: int) -> None:
    colours = np.arange(24 * channels).reshape(4, 6, channels) * (65_535 // (24 * channels))
    colours[..., 3 if channels == 4 else 1 if channels == 2 else channels :] = 65_535
    path = png_of_16_bits(tmp_path / "a.png", colours, kind)
    found = utils.img_to_array(utils.load_img(path))
    np.testing.assert_allclose(found, np.broadcast_to(colours[..., : 1 if channels == 2 else 3], found.shape) // 256)
    with pytest.raises(CommandError, match="16 bits, of which 8"):
        numbers_of(path)


@pytest.mark.parametrize("highest", [100, 1023, 4095, 65535])
def test_grey_maps_with_a_highest_value(tmp_path: Path, highest: int) -> None:
    values = np.array([[0, highest // 3, highest]])
    kind = ">u2" if highest > 255 else "u1"
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n3 1\n%d\n" % highest + values.astype(kind).tobytes())
    expected = values if highest > 255 else (values * 255 / highest).round()
    np.testing.assert_array_equal(numbers_of(path), expected)
    np.testing.assert_allclose(read_images([path], (1, 3, 1))[0, ..., 0], values * 255 / highest, atol=0.51)


@pytest.mark.parametrize("turn", range(1, 9))
def test_deep_pictures_stand_upright(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = saved(tmp_path / "a.png", DEEP, exif=exif)
    assert np.asarray(utils.load_img(path, "grayscale")).shape == (DEEP.shape if turn < 5 else DEEP.shape[::-1])
    assert set(np.asarray(utils.load_img(path)).ravel().tolist()) == set((DEEP / 257).round().ravel().tolist())


# What is written


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_what_is_saved_with_16_bits_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    utils.save_img(path, DEEP[..., None], scale=False)
    np.testing.assert_array_equal(utils.img_to_array(utils.load_img(path, "grayscale"))[..., 0], DEEP)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: utils.save_img(io.BytesIO(), x * 300, file_format="jpg", scale=False), "up to 255.*up to 300"),
        (lambda x: utils.save_img(io.BytesIO(), x * 300, file_format="webp", scale=False), "up to 255"),
        (lambda x: utils.save_img(io.BytesIO(), x * 70_000, file_format="ppm", scale=False), "up to 65535.*70000"),
        (lambda x: utils.array_to_img(x * 3e9, scale=False), "int32 has no room"),
        (lambda x: utils.array_to_img(x * 256, scale=False, dtype="uint8"), "`x` .*uint8 has no room for.*256"),
        (lambda x: utils.array_to_img(np.repeat(x * 256, 3, -1), scale=False), "from 0 to 255"),
        (lambda x: utils.img_to_array(x * 256, dtype="uint8"), "`img` .*uint8 has no room for.*256"),
        (lambda x: utils.img_to_array(Image.fromarray(DEEP), dtype="uint8"), "`img` .*uint8"),
        (lambda x: utils.array_to_img(np.ma.array(x, mask=x > 0)), "`x` is a masked array that hides 4 of 4"),
        (lambda x: utils.img_to_array(np.ma.array(x, mask=x > 0)), "`img` is a masked array"),
    ],
)  # fmt: skip
def test_values_that_an_image_cannot_hold_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 2, 1)))
