"""Image files as arrays, read the same way for training and for prediction."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from triarch.cli.output import CommandError
from triarch.training.images.batches import default_workers
from triarch.training.images.files import in_mode, read_image

_WRITTEN_ONLY = ("PALM", "PDF")  # formats of Pillow that it cannot read


def has_image_suffix(path: Path) -> bool:
    """Whether the file is an image by its name."""
    suffixes = Image.registered_extensions()
    return suffixes.get(path.suffix.lower(), "PDF") not in _WRITTEN_ONLY


def open_image(path: Path) -> Image.Image:
    """The picture upright, in mode L where it is grey and RGB otherwise; transparent parts become white."""
    try:
        return read_image(path)
    except FileNotFoundError as error:
        raise CommandError(f"There is no image {str(path)!r}.") from error
    except IsADirectoryError as error:
        raise CommandError(f"Expected an image. Received: the folder {str(path)!r}") from error
    except PermissionError as error:
        raise CommandError(f"The file {str(path)!r} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error


def open_images(paths: Iterable[Path]) -> list[Image.Image]:
    """The pictures of several files, in their order, read by threads."""
    with ThreadPoolExecutor(default_workers()) as pool:
        return list(pool.map(open_image, paths))


def as_array(picture: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """The picture stretched to `(height, width, channels)`, values 0..255 of type `uint8`; channels are 1 or 3."""
    picture = in_mode(picture, "L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, channels)
