"""Image files as arrays, read the same way for training and for prediction."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from triarch.cli.output import CommandError
from triarch.training.images.batches import default_workers
from triarch.training.images.files import in_mode, read_image

_PORTION = 64  # files that a thread looks at, at a time
_TOLD_AT_ONCE = ("PNG", "JPEG", "BMP", "WEBP")  # formats whose files begin with what size and mode they have
_LYING = (5, 6, 7, 8)  # orientations of pictures whose width is the height of what they show
_WRITTEN_ONLY = ("PALM", "PDF")  # formats of Pillow that it cannot read
Form = tuple[tuple[int, int], bool]  # of a picture: width and height, and whether it is grey


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


def form_of(path: Path) -> Form:
    """What `open_image` makes of a file; most are not decoded for that."""
    try:
        with Image.open(path) as picture:
            if picture.format in _TOLD_AT_ONCE and not picture.has_transparency_data:
                width, height = picture.size
                lies = picture.format == "JPEG" and picture.getexif().get(ExifTags.Base.Orientation) in _LYING
                return (height, width) if lies else (width, height), picture.mode.startswith(("1", "L", "I"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError):
        pass  # whatever is wrong with it is said where it is opened as a whole
    whole = open_image(path)
    return whole.size, whole.mode == "L"


def forms_of(paths: Sequence[Path]) -> Iterator[Form]:
    """`form_of` several files, by threads."""
    portions = [paths[first : first + _PORTION] for first in range(0, len(paths), _PORTION)]
    with ThreadPoolExecutor(default_workers(paths)) as pool:
        for forms in pool.map(lambda portion: [form_of(path) for path in portion], portions):
            yield from forms


def as_array(picture: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """The picture stretched to `(height, width, channels)`, values 0..255 of type `uint8`; channels are 1 or 3."""
    picture = in_mode(picture, "L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, channels)


def fit_bytes(pixels: np.ndarray, out: np.ndarray, interpolation: str) -> None:
    """Fill `out`, of shape `(height, width, channels)`, with bytes of another size as `as_array` stretches them."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    out[...] = as_array(picture, *out.shape)


def in_range(images: Any, given: tuple[float, float], wanted: tuple[float, float]) -> Any:
    """Pixel values of the range `given`, an array or tensor of floats, brought to the range `wanted`."""
    if given == wanted:
        return images
    return wanted[0] + (images - given[0]) * ((wanted[1] - wanted[0]) / (given[1] - given[0]))
