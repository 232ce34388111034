"""Image files as arrays, read the same way for training and for prediction."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from triarch.cli.output import CommandError
from triarch.training.images.batches import ImageReader, default_workers
from triarch.training.images.deep import FULL_SCALE, cut_colours, is_deep
from triarch.training.images.files import in_mode, read_image
from triarch.training.images.kept import KeptImages

_PORTION = 64  # files that a thread looks at, at a time
_TOLD_AT_ONCE = ("PNG", "JPEG", "BMP", "WEBP")  # formats whose files begin with what size and mode they have
_LYING = (5, 6, 7, 8)  # orientations of pictures whose width is the height of what they show
_WRITTEN_ONLY = ("PALM", "PDF")  # formats of Pillow that it cannot read
Form = tuple[tuple[int, int], bool]  # of a picture: width and height, and whether it is grey


def has_image_suffix(path: Path) -> bool:
    """Whether the file is an image by its name."""
    suffixes = Image.registered_extensions()
    return suffixes.get(path.suffix.lower(), "PDF") not in _WRITTEN_ONLY


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Errors of reading an image, in the command's words."""
    try:
        yield
    except FileNotFoundError as error:
        raise CommandError(f"There is no image {str(path)!r}.") from error
    except IsADirectoryError as error:
        raise CommandError(f"Expected an image. Received: the folder {str(path)!r}") from error
    except PermissionError as error:
        raise CommandError(f"The file {str(path)!r} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error


def open_image(path: Path) -> Image.Image:
    """The picture upright, in mode L where it is grey and RGB otherwise; transparent parts become white."""
    with _refusing(path):
        return read_image(path)


def numbers_of(path: Path) -> np.ndarray:
    """The pixels as the numbers of the file: grey `(height, width)`, of colours `(height, width, 3)`.

    Whole numbers are of type int64, which holds sums, fractions of float64.

    Raises:
        CommandError: The file cannot be read, or has colours of more bits than Pillow reads.
    """
    with _refusing(path):
        pixels = np.asarray(read_image(path, deep=True))
        with Image.open(path) as picture:
            if cut_colours(picture):
                raise ValueError(
                    f"The file {str(path)!r} has colours of 16 bits, of which 8 can be read. Save it with 8 bits, its "
                    "channels as grey images of 16 bits, or its numbers as an array (.npy)"
                )
            if picture.format == "PPM" and is_deep(picture) and isinstance(picture.tile[0][3], tuple):
                *_, highest = picture.tile[0][3]  # to whose multiple Pillow scales
                pixels = pixels if isinstance(highest, str) else _restored(pixels, highest)
    return pixels.astype(np.float64 if pixels.dtype.kind == "f" else np.int64)


def _restored(pixels: np.ndarray, highest: int) -> np.ndarray:
    """Pixels that were scaled from 0..highest to 16 bits as they were."""
    return (pixels / FULL_SCALE * highest).round().astype(np.int64) if 255 < highest < FULL_SCALE else pixels


def read_images(paths: Sequence[Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Images as networks learn and see them: float32 `(count, height, width, channels)`, values 0..255."""
    out = np.empty((len(paths), *shape), np.float32)
    reader, nothing = reader_of(shape), KeptImages(0)
    for image, path in zip(out, paths, strict=True):
        with _refusing(path):
            path.open("rb").close()
            reader.read_into(image[None], [str(path)], nothing)
    return out


def reader_of(shape: tuple[int, int, int]) -> ImageReader:
    """What makes an image of this height, width and 1 or 3 channels of a file."""
    height, width, channels = shape
    return ImageReader("grayscale" if channels == 1 else "rgb", (height, width), "bilinear", fit_pixels)


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
    return _stretched(in_mode(picture, "L" if channels == 1 else "RGB"), (height, width)).reshape(
        height, width, channels
    )


def _stretched(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def fit_pixels(pixels: np.ndarray, out: np.ndarray, interpolation: str) -> None:
    """Fill `out`, of shape `(height, width, channels)`, with bytes or floats stretched as `as_array` does it."""
    if pixels.dtype == np.uint8:
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        out[...] = as_array(picture, *out.shape)
        return
    for channel in range(pixels.shape[-1]):
        out[..., channel] = _stretched(Image.fromarray(np.ascontiguousarray(pixels[..., channel])), out.shape[:2])


def in_range(images: Any, given: tuple[float, float], wanted: tuple[float, float]) -> Any:
    """Pixel values of the range `given`, an array or tensor of floats, brought to the range `wanted`."""
    if given == wanted:
        return images
    return wanted[0] + (images - given[0]) * ((wanted[1] - wanted[0]) / (given[1] - given[0]))
