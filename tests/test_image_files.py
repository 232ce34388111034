"""Single image files: what Keras gives, what files can be like, and what is refused."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triarch import utils
from triarch.cli.images import open_image
from triarch.training.images import files as image_files
from triarch.training.images.files import read_image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (11, 17, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path, pixels: np.ndarray) -> dict[str, Path]:
    """A picture in several formats."""
    picture = Image.fromarray(pixels)
    made = {}
    for name, mode in {"a.png": "RGB", "grey.png": "L", "palette.png": "P", "a.jpg": "RGB", "cmyk.jpg": "CMYK"}.items():
        made[name] = tmp_path / name
        picture.convert(mode).save(made[name])
    for suffix in ("gif", "bmp", "webp", "tif"):
        made[f"a.{suffix}"] = tmp_path / f"a.{suffix}"
        picture.save(made[f"a.{suffix}"])
    return made


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    return ours.mode == theirs.mode and np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale", "rgba"])
def test_files_are_loaded_as_in_keras(keras: types.ModuleType, files: dict[str, Path], color_mode: str) -> None:
    for path in files.values():
        assert same(utils.load_img(path, color_mode), keras.utils.load_img(path, color_mode)), path


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("target_size", [(5, 5), (23, 9), [11, 17], (2, 20)])
def test_sizes_are_those_of_keras(
    keras: types.ModuleType, files: dict[str, Path], interpolation: str, target_size: tuple[int, int]
) -> None:
    for keep in (False, True):
        arguments = {"target_size": target_size, "interpolation": interpolation, "keep_aspect_ratio": keep}
        ours, theirs = (module.load_img(files["a.png"], **arguments) for module in (utils, keras.utils))
        assert ours.size == (target_size[1], target_size[0])
        assert same(ours, theirs)


def test_a_path_is_told_in_several_ways(files: dict[str, Path], pixels: np.ndarray) -> None:
    path = files["a.png"]
    with open(path, "rb") as file:
        for given in (path, str(path), str(path).encode(), io.BytesIO(path.read_bytes()), file):
            assert np.array_equal(np.asarray(utils.load_img(given)), pixels)
    thin = utils.load_img(path, target_size=(1, 40), interpolation="bilinear", keep_aspect_ratio=True)
    assert thin.size == (40, 1)
    with pytest.raises(TypeError, match="Received: 3"):
        utils.load_img(3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first", None])
@pytest.mark.parametrize("dtype", ["uint8", None, "float64"])
def test_arrays_are_those_of_keras(
    keras: types.ModuleType, pixels: np.ndarray, data_format: str | None, dtype: str | None
) -> None:
    for picture in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0]), pixels[..., 1]):
        ours, theirs = (
            module.img_to_array(picture, data_format=data_format, dtype=dtype) for module in (utils, keras.utils)
        )
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"rank 2 or 3.*Received"):
        utils.img_to_array(np.zeros(3))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("scale", [True, False])
def test_pictures_of_arrays_are_those_of_keras(
    keras: types.ModuleType, rng: np.random.Generator, channels: int, data_format: str, scale: bool
) -> None:
    x = rng.uniform(-30 if scale else 0, 255, (5, 6, channels)).astype("float32")
    x = x.transpose(2, 0, 1) if data_format == "channels_first" else x
    theirs = keras.utils.array_to_img(x, data_format, scale)
    assert same(utils.array_to_img(x, data_format, scale), theirs)
    assert same(utils.array_to_img(torch.from_numpy(x).requires_grad_(), data_format, scale), theirs)


def test_arrays_of_one_value_and_of_large_ones(keras: types.ModuleType) -> None:
    for x, scale in ((np.full((2, 2, 3), 7.0), True), (np.array([[[300.0], [2.0]]]), False), (np.eye(3)[..., None], 1)):
        assert same(utils.array_to_img(x, scale=scale), keras.utils.array_to_img(x, scale=scale))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 2)), "rank 3.*shape \\(2, 2\\)"),
        (np.zeros((2, 2, 2)), "1, 3 or 4 channels"),
        (np.zeros((0, 2, 3)), "with pixels"),
        (np.full((2, 2, 3), np.nan), "finite.*12 that are not"),
        (np.full((2, 2, 3), 256.0), "from 0 to 255.*256.0"),
        (np.full((2, 2, 1), -1.0), "from 0 to 255.*-1.0"),
    ],
)
def test_arrays_that_are_no_images(x: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.array_to_img(x, scale=False)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg", "b.JPEG", "a.webp", "grey.png", "alpha.png"])
def test_files_are_saved_as_in_keras(
    keras: types.ModuleType, tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    x = rng.uniform(0, 255, (8, 9, {"grey.png": 1, "alpha.png": 4}.get(name, 3)))
    for folder, save in ((tmp_path / "ours", utils.save_img), (tmp_path / "theirs", keras.utils.save_img)):
        folder.mkdir()
        save(folder / name, x, scale=name == "a.png")
    assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_large_values_are_saved_with_16_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.integers(0, 65536, (8, 9, 1))
    utils.save_img(tmp_path / "a.png", x, scale=False)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), x[..., 0])
    with pytest.raises(ValueError, match=r"up to 65535 .*70000"):
        utils.save_img(tmp_path / "a.png", np.full((2, 2, 1), 70000), scale=False)


def test_formats_of_saved_files(tmp_path: Path, pixels: np.ndarray) -> None:
    utils.save_img(tmp_path / "a", pixels, file_format="PNG", scale=False)
    assert np.array_equal(np.asarray(utils.load_img(tmp_path / "a")), pixels)
    file = io.BytesIO()
    utils.save_img(file, pixels.transpose(2, 0, 1), "channels_first", "jpg", quality=30)
    assert Image.open(file).format == "JPEG"
    for arguments in ((tmp_path / "a", pixels), (tmp_path / "a.xyz", pixels), (io.BytesIO(), pixels)):
        with pytest.raises(ValueError, match=r"format that Pillow writes.*Received"):
            utils.save_img(*arguments)
    transparent = np.concatenate([pixels, pixels[..., :1]], -1)
    with pytest.warns(UserWarning, match="no transparency"):
        utils.save_img(tmp_path / "a.jpg", transparent)
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"


def test_transparent_parts_are_white_or_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]], np.uint8)).save(path)
    assert np.asarray(utils.load_img(path)).tolist() == [[[255, 255, 255], [10, 20, 30], [204, 224, 244]]]
    assert np.asarray(utils.load_img(path, "rgba")).tolist() == [
        [[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 200, 51]]
    ]
    assert np.asarray(utils.load_img(path, "grayscale"))[0, 0] == 255
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 8, 7, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    palette.save(path, transparency=0)
    assert np.asarray(utils.load_img(path)).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert np.asarray(utils.load_img(path, "rgba"))[0, :, 3].tolist() == [0, 255]


def test_16_bits_become_8_in_colours_and_stay_in_greys(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 257, 65535, 25700]], np.uint16)).save(path)
    assert np.asarray(utils.load_img(path, "grayscale")).tolist() == [[0, 257, 65535, 25700]]
    for mode in ("rgb", "rgba"):
        found = np.asarray(utils.load_img(path, mode)).reshape(1, 4, -1)
        assert found[..., 0].tolist() == [[0, 1, 255, 100]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_stand_upright(tmp_path: Path, suffix: str) -> None:
    whole = Image.fromarray(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6).repeat(8, 0).repeat(8, 1))
    turns = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the turns that make such a file of an upright picture
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = whole if turn is None else whole.transpose(Image.Transpose(turn))
        stored.save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
        found = np.asarray(utils.load_img(tmp_path / f"a.{suffix}", "grayscale"), int)
        assert found.shape == (32, 48)
        assert abs(found - np.asarray(whole)).max() < 8, orientation


def test_a_damaged_orientation_is_no_damaged_picture(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=b"Exif\x00\x00MM(*\x00\x00\x00\x08")
    assert np.array_equal(np.asarray(utils.load_img(path)), pixels)


def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert np.asarray(utils.load_img(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def test_the_command_reads_as_the_library_does(files: dict[str, Path]) -> None:
    for path in files.values():
        assert same(open_image(path), read_image(path))
        assert np.array_equal(np.asarray(open_image(path).convert("RGB")), np.asarray(utils.load_img(path)))


def test_how_a_file_begins_is_only_a_hint(
    tmp_path: Path, files: dict[str, Path], pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for beginning in (b"\x89P", b"\xff\xd8", b"GI", b"RI"):
        with pytest.raises(ValueError, match="The given file is not an image that can be read: its format is unknown"):
            read_image(io.BytesIO(beginning + b"x" * 100))
    misnamed = files["a.png"].rename(tmp_path / "b.jpg")
    assert np.array_equal(np.asarray(read_image(misnamed)), pixels)
    monkeypatch.setitem(image_files._FORMATS, b"\x89P", "JPEG")
    assert np.array_equal(np.asarray(read_image(misnamed)), pixels)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, files: dict[str, Path]) -> None:
    contents = {"empty.png": b"", "text.png": b"no image", "cut.png": files["a.png"].read_bytes()[:120]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' is.* not an image that can be read"):
            utils.load_img(tmp_path / name)
    with pytest.raises(ValueError, match="given file is not an image"):
        utils.load_img(io.BytesIO(b"no image"))
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        utils.load_img(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        utils.load_img(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"color_mode": "cmyk"}, "`color_mode` is one of.*'rgba'.*Received.*'cmyk'"),
        ({"interpolation": "area"}, "`interpolation` is one of.*'lanczos'.*Received.*'area'"),
        ({"target_size": (1, 2, 3)}, "`target_size` is a height and a width"),
        ({"target_size": (0, 2)}, "positive.*Received.*\\(0, 2\\)"),
    ],
)
def test_arguments_that_are_none(files: dict[str, Path], arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.load_img(files["a.png"], **arguments)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_give_pictures_or_a_clear_error(files: dict[str, Path], rng: np.random.Generator) -> None:
    readable = 0
    for path in files.values():
        whole = path.read_bytes()
        for _ in range(25):
            content = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
            for place in rng.integers(0, len(content), 3):
                content[place] = rng.integers(0, 256)
            try:
                read_image(io.BytesIO(content))
                readable += 1
            except ValueError as error:
                assert "not an image that can be read" in str(error)  # noqa: PT017
    assert 0 < readable < 25 * len(files)


def test_a_damaged_avif_file_gives_a_clear_error(tmp_path: Path, pixels: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF")
    with pytest.raises(ValueError, match="given file is not an image that can be read"):
        read_image(io.BytesIO(file.getvalue().replace(b"pitm", b"xxxx")))


def test_pillow_is_asked_for(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        utils.load_img(files["a.png"])
