"""Grey pictures of more than 8 bits a pixel, which Pillow holds in modes I;16, I and F."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Array = np.ndarray[Any, Any]

FULL_SCALE = 65535  # of 16 bits
_OF_16_BITS = ("PNG", "PPM")  # formats whose pictures in mode I, of 32 bits, have 16


def is_deep(picture: Image) -> bool:
    """Whether pixels are grey and of more than 8 bits."""
    return picture.mode[0] in "IF"


def scaled_to_bytes(picture: Image, name: str) -> Array:
    """The pixels `(height, width)` of a deep picture, brought from 16 bits to 0..255 in float32, which keeps them all.

    Args:
        name: The file, for errors.

    Raises:
        ValueError: The pixels are of 32 bits, of which nothing says what is black and white.
    """
    pixels = np.asarray(picture)
    if not (picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in _OF_16_BITS)):
        kind = "fractions" if picture.mode == "F" else "whole numbers"
        raise ValueError(
            f"{name} has pixels of 32 bits, and nothing says which are black and white. Received: {kind} from "
            f"{pixels.min():g} to {pixels.max():g}. Save it with 8 or 16 bits a pixel, or give its numbers as an array"
        )
    return pixels.astype(np.float32) / np.float32(FULL_SCALE / 255)


def cut_colours(picture: ImageFile) -> bool:
    """Whether Pillow will read the highest 8 bits alone of a picture that was opened and not yet loaded."""
    told = [str(tile[3]) for tile in picture.tile]  # such as RGB;16B, or (RGB, 65535)
    return not is_deep(picture) and any(";16" in text or str(FULL_SCALE) in text for text in told)
