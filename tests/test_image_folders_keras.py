"""Folders of images as batches, against those that Keras makes with TensorFlow."""

from __future__ import annotations

import os
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triarch import utils
from triarch.training.images import resizing as image_resizing
from triarch.training.images.batches import ImageFolder

SUFFIXES = ("png", "PNG", "bmp", "gif", "jpg", "jpeg")
SIZES = ((9, 14), (20, 7), (12, 12), (31, 45))
# Of 255: float32's rounding, and for bicubic the table of 1024 places between two pixels that TensorFlow reads.
TOLERANCES = {"nearest": 0, "bilinear": 1e-4, "bicubic": 0.3, "gaussian": 4}
JPEG_TOLERANCE = 6  # two decoders


@pytest.fixture(scope="module")
def tensorflow() -> types.ModuleType:
    """What Keras reads folders with."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of colour and grey pictures of several sizes and formats, a few in folders below."""
    rng = np.random.default_rng(3)
    root = tmp_path_factory.mktemp("data")
    for label, name in enumerate(("cat", "dog", "überraschung")):
        for place in (root / name, root / name / "more"):
            place.mkdir()
            for number in range(4 + label):
                height, width = SIZES[number % 4]
                small = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
                picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
                picture = picture.convert("L") if number == 2 else picture
                picture.save(place / f"{number}ß.{SUFFIXES[number % 6]}")
        (root / name / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    (root / "loose.txt").write_text("no image")
    return root


def made(folder: Path, **settings: object) -> ImageFolder:
    return utils.image_dataset_from_directory(folder, **({"image_size": 8, "verbose": False} | settings))


def compared(keras: types.ModuleType, folder: Path, tolerance: float, **settings: object) -> None:
    """Ours against Keras's, batch by batch."""
    ours = made(folder, shuffle=False, **settings)
    theirs = keras.utils.image_dataset_from_directory(
        folder, shuffle=False, **({"image_size": 8, "verbose": False} | settings)
    )
    assert ours.file_paths == theirs.file_paths
    assert ours.class_names == theirs.class_names
    assert len(ours) == len(theirs)
    place = 0
    for mine, other in zip(ours, theirs, strict=True):
        (images, labels), (expected, classes) = (x if isinstance(x, tuple) else (x, None) for x in (mine, other))
        assert images.dtype is torch.float32
        assert tuple(images.shape) == tuple(expected.shape)
        if labels is not None:
            assert str(labels.dtype) == f"torch.{classes.dtype.name}"
            np.testing.assert_array_equal(labels, classes.numpy())
        single = settings.get("batch_size", 32) is None
        for image, other_image in zip([images] if single else images, [expected] if single else expected, strict=True):
            path = ours.file_paths[place]
            place += 1
            bound = max(tolerance, JPEG_TOLERANCE) if path.endswith(("jpg", "jpeg")) else tolerance
            assert abs(image.numpy() - other_image.numpy().astype(float)).max() <= bound, path
    assert place == len(ours.file_paths)


@pytest.mark.parametrize("interpolation", image_resizing.INTERPOLATIONS)
def test_images_are_those_of_keras(
    keras: types.ModuleType, tensorflow: types.ModuleType, folder: Path, interpolation: str
) -> None:
    tolerance = TOLERANCES.get(interpolation, 5e-3)
    compared(keras, folder, tolerance, interpolation=interpolation, image_size=(10, 33))


def test_some_filters_blur_at_the_same_size(
    keras: types.ModuleType, tensorflow: types.ModuleType, folder: Path
) -> None:
    compared(keras, folder, 5e-3, interpolation="mitchellcubic", image_size=SIZES[2])


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_to_aspect_ratio": True, "image_size": (8, 21)},
        {"pad_to_aspect_ratio": True, "image_size": (8, 21)},
        {"pad_to_aspect_ratio": True, "image_size": (40, 15), "data_format": "channels_first"},
        {"data_format": "channels_first", "batch_size": 5},
        {"label_mode": "categorical", "batch_size": 7},
        {"label_mode": None},
        {"labels": None, "label_mode": "binary", "batch_size": None},
        {"batch_size": None, "label_mode": "categorical"},
        {"class_names": ["überraschung", "cat"], "label_mode": "binary"},
        {"labels": [3, 1] * 15},
        {"labels": [0.5, 1] * 15},
        {"validation_split": 0.3, "subset": "validation"},
        {"validation_split": 0.3, "subset": "training"},
    ],
    ids=str,
)
def test_settings_are_those_of_keras(
    keras: types.ModuleType, tensorflow: types.ModuleType, folder: Path, settings: dict[str, object]
) -> None:
    compared(keras, folder, 1e-4, **settings)


@pytest.mark.parametrize("color_mode", ["grayscale", "rgba"])
def test_other_channels_are_those_of_keras(
    keras: types.ModuleType, tensorflow: types.ModuleType, tmp_path: Path, rng: np.random.Generator, color_mode: str
) -> None:
    for suffix in ("png", "jpg") if color_mode == "grayscale" else ("png",):  # of the others, TensorFlow refuses
        (tmp_path / suffix).mkdir()
        # Colours that JPEG's decoder need not cut off: TensorFlow takes brightness from the file, we from the colours.
        small = Image.fromarray(rng.integers(80, 170, (3, 4, 4), dtype=np.uint8))
        for mode in ("L", "RGB", "RGBA") if color_mode == "rgba" else ("L", "RGB"):
            small.resize((24, 20), Image.Resampling.BICUBIC).convert(mode).save(tmp_path / suffix / f"{mode}.{suffix}")
    compared(keras, tmp_path, 1 if color_mode == "grayscale" else 1e-4, color_mode=color_mode)


def test_parts_are_those_of_keras(keras: types.ModuleType, tensorflow: types.ModuleType, folder: Path) -> None:
    settings = {"validation_split": 0.25, "subset": "both", "seed": 11}
    ours = made(folder, **settings)
    theirs = keras.utils.image_dataset_from_directory(folder, verbose=False, **settings)
    assert [part.file_paths for part in ours] == [part.file_paths for part in theirs]
    assert not set(ours[0].file_paths) & set(ours[1].file_paths)
    for part, subset in zip(ours, ("training", "validation"), strict=True):
        assert made(folder, **(settings | {"subset": subset})).file_paths == part.file_paths
        for path, label in zip(part.file_paths, part.labels, strict=True):
            assert Path(path).relative_to(folder).parts[0] == part.class_names[label]
