"""Image files as arrays, read the same way for training and for prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from triarch.cli.output import CommandError

_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_WRITTEN_ONLY = ("PALM", "PDF")  # formats of Pillow that it cannot read


def has_image_suffix(path: Path) -> bool:
    """Whether the file is an image by its name."""
    suffixes = Image.registered_extensions()
    return suffixes.get(path.suffix.lower(), "PDF") not in _WRITTEN_ONLY


def open_image(path: Path) -> Image.Image:
    """The picture upright, in mode L where it is grey and RGB otherwise; transparent parts become white."""
    try:
        with Image.open(path) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
    except FileNotFoundError as error:
        raise CommandError(f"There is no image {str(path)!r}.") from error
    except IsADirectoryError as error:
        raise CommandError(f"Expected an image. Received: the folder {str(path)!r}") from error
    except PermissionError as error:
        raise CommandError(f"The file {str(path)!r} cannot be opened: {error.strerror}") from error
    except _READ_ERRORS as error:
        raise CommandError(f"The file {str(path)!r} is not an image that can be read: {error}") from error
    if picture.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        grey = picture.convert("L")
        return grey if picture.convert("RGB").tobytes() == grey.convert("RGB").tobytes() else picture.convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def as_array(picture: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """The picture stretched to `(height, width, channels)`, values 0..255 of type `uint8`; channels are 1 or 3."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(height, width, channels)
