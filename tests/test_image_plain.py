"""Plain files through imagecodecs: the very pixels of Pillow, and all that is not plain left to it."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from triarch import utils
from triarch.training.images import batches
from triarch.training.images.batches import default_workers
from triarch.training.images.files import MODES, in_mode, picture_of
from triarch.training.images.plain import decoders, plain_pixels

_MODES = {1: "grayscale", 3: "rgb"}
_JPEGS: dict[str, dict[str, Any]] = {
    "4:2:0": {},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "coarse": {"quality": 10},
    "fine": {"quality": 98},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "no YCbCr": {"keep_rgb": True},
    "other segments": {"comment": "a comment", "icc_profile": b"x" * 200, "dpi": (72, 72)},
}


@pytest.fixture(autouse=True)
def is_there() -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs decodes plain files, and is not installed")
    assert len(decoders()) == 2


@pytest.fixture
def without() -> Iterator[None]:
    """As if imagecodecs were not installed."""
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "imagecodecs", None)
    decoders.cache_clear()
    assert decoders() == ()
    yield
    patch.undo()
    decoders.cache_clear()


def picture(rng: np.random.Generator, mode: str, width: int = 33, height: int = 41) -> Image.Image:
    coarse = rng.integers(0, 256, (9, 7) if mode == "L" else (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def written(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def with_chunk(content: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG file with another chunk behind its head."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content[:33] + chunk + content[33:]


def by_pillow(content: bytes, channels: int) -> np.ndarray:
    pixels = np.asarray(in_mode(picture_of(content, None, False), MODES[_MODES[channels]]))
    return pixels.reshape(*pixels.shape[:2], channels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (33, 41), (16, 8), (100, 3)])
def test_png(rng: np.random.Generator, mode: str, size: tuple[int, int]) -> None:
    for level in (0, 9):
        content = written(picture(rng, mode, *size), "PNG", compress_level=level)
        for channels in (1, 3) if mode == "L" else (3,):
            pixels = plain_pixels(content, channels)
            assert pixels is not None
            assert np.array_equal(pixels, by_pillow(content, channels))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", _JPEGS)
def test_jpeg(rng: np.random.Generator, mode: str, kind: str) -> None:
    for size in ((1, 1), (33, 41), (64, 48)):
        content = written(picture(rng, mode, *size), "JPEG", **_JPEGS[kind])
        for channels in (1, 3) if mode == "L" else (3,):
            pixels = plain_pixels(content, channels)
            assert pixels is not None
            assert np.array_equal(pixels, by_pillow(content, channels))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"sBIT", b"\x05\x06\x05"),
        (b"bKGD", struct.pack(">3H", 9, 8, 7)),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        (b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5)),
        (b"tEXt", b"Software\0some tool"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"some words")),
    ],
)
def test_chunks_that_change_no_pixel(rng: np.random.Generator, kind: bytes, data: bytes) -> None:
    content = with_chunk(written(picture(rng, "RGB"), "PNG"), kind, data)
    pixels = plain_pixels(content, 3)
    assert pixels is not None
    assert np.array_equal(pixels, by_pillow(content, 3))


def not_plain(rng: np.random.Generator) -> dict[str, bytes]:
    """Files that Pillow reads, and reads in a way of its own."""
    colours, greys = picture(rng, "RGB"), picture(rng, "L")
    png, jpeg = written(colours, "PNG"), written(colours, "JPEG")
    turned = Image.Exif()
    turned[0x0112] = 6
    moving = [picture(rng, "RGB") for _ in range(2)]
    notes = PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    return {
        "alpha": written(colours.convert("RGBA"), "PNG"),
        "palette": written(colours.convert("P"), "PNG"),
        "one colour transparent": written(colours, "PNG", transparency=(1, 2, 3)),
        "one bit": written(greys.convert("1"), "PNG"),
        "16 bits": written(Image.fromarray(np.asarray(greys).astype(np.uint16) * 200), "PNG"),
        "turned PNG": written(colours, "PNG", exif=turned),
        "PNG with a note of XMP": written(colours, "PNG", pnginfo=notes),
        "PNG with a raw profile": with_chunk(png, b"tEXt", b"Raw profile type exif\0\nexif\n0\n"),
        "animated": written(moving[0], "PNG", save_all=True, append_images=moving[1:]),
        "bytes behind the end": png + b"more",
        "turned JPEG": written(colours, "JPEG", exif=turned),
        "JPEG in passes": written(colours, "JPEG", progressive=True),
        "four inks": written(colours.convert("CMYK"), "JPEG"),
        "JPEG with bytes behind the end": jpeg + b"more",
        "GIF": written(colours.convert("P"), "GIF"),
        "WebP": written(colours, "WEBP", lossless=True),
        "BMP": written(colours, "BMP"),
    }


def test_what_is_not_plain_is_left_to_pillow(rng: np.random.Generator) -> None:
    for name, content in not_plain(rng).items():
        assert plain_pixels(content, 3) is None, name
        assert by_pillow(content, 3).shape[2] == 3, name
    plain = written(picture(rng, "RGB"), "PNG")
    assert plain_pixels(plain, 1) is None  # Pillow decides what grey is
    assert plain_pixels(plain, 4) is None
    assert plain_pixels(written(picture(rng, "L"), "PNG"), 4) is None


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"text" * 20])
def test_what_is_no_picture_is_left_to_pillow(content: bytes) -> None:
    assert plain_pixels(content, 3) is None


def test_sizes_that_are_not_true(rng: np.random.Generator) -> None:
    content = written(picture(rng, "RGB"), "PNG")
    for size in ((0, 41), (33, 0), (2**31 - 1, 2**31 - 1), (9_000, 9_000), (33, 42), (34, 41)):
        head = b"IHDR" + struct.pack(">II", *size) + content[24:29]
        lying = content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
        assert plain_pixels(lying, 3) is None, size
    jpeg = written(picture(rng, "RGB"), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    for size in ((0, 33), (41, 0), (65_500, 65_500)):
        assert plain_pixels(jpeg[:frame] + struct.pack(">HH", *size) + jpeg[frame + 4 :], 3) is None, size


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_damage_is_never_read_otherwise_than_by_pillow(rng: np.random.Generator, mode: str, kind: str) -> None:
    content = written(picture(rng, mode, 24, 17), kind)
    if kind == "PNG":
        content = with_chunk(content, b"tEXt", b"Software\0some tool of a rather long name")
    chance, channels, read = random.Random(0), 1 if mode == "L" else 3, 0
    for number in range(600):
        place, byte = chance.randrange(len(content)), bytes([chance.randrange(256)])
        damaged = (
            content[:place] + byte + content[place + 1 :],
            content[:place],
            content[:place] + byte + content[place:],
            content[:place] + content[place + 1 :],
        )[number % 4]
        pixels = plain_pixels(damaged, channels)
        if pixels is not None:
            read += 1
            assert np.array_equal(pixels, by_pillow(damaged, channels)), (place, byte, number % 4)
    assert read  # some damage leaves a picture


def test_batches_are_the_same_without(tmp_path: Path, rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    files = {
        "a.png": written(picture(rng, "L", 30, 20), "PNG"),
        "b.jpg": written(picture(rng, "RGB", 40, 50), "JPEG"),
        "c.jpg": written(picture(rng, "L", 9, 9), "JPEG"),
        **{f"{name}.{'jpg' if 'JPEG' in name else 'png'}": content for name, content in not_plain(rng).items()},
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    settings = {"labels": None, "shuffle": False, "batch_size": 4, "image_size": 20, "verbose": False}
    modes = ("rgb", "grayscale", "rgba")

    def read() -> list[list[torch.Tensor]]:
        return [list(utils.image_dataset_from_directory(tmp_path, color_mode=mode, **settings)) for mode in modes]

    with_it = read()
    request.getfixturevalue("without")
    for one, other in zip(with_it, read(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_tiny_files_have_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(20)), raising=False)
    for name, size in (("tiny", 700), ("small", 3_000)):
        for number in range(40):
            (tmp_path / f"{name}-{number}").write_bytes(bytes(size))
    tiny, small = (sorted(map(str, tmp_path.glob(f"{name}*"))) for name in ("tiny", "small"))
    assert default_workers(tiny) == 1
    assert default_workers(small) == 8
    assert default_workers(small * 3 + tiny) == 8
    assert default_workers(small + tiny * 3) == 1
    assert default_workers([str(tmp_path / "gone")]) == default_workers([]) == 1
    assert len(tiny) >= batches._SAMPLED
