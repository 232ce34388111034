"""Image files as pictures and arrays, and back: how the library and the command read and write images."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from triarch import config
from triarch.exactness import as_type
from triarch.files import atomic_write
from triarch.tensors import as_array, dtype_name
from triarch.training.directories import require
from triarch.training.images.deep import FULL_SCALE, is_deep, scaled_to_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
# What Pillow raises where a file is damaged.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error)
_FORMATS = {b"\x89P": "PNG", b"\xff\xd8": "JPEG", b"GI": "GIF", b"BM": "BMP", b"RI": "WEBP"}  # by how files begin
_ORIENTATION = 0x0112
_NOTES = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))  # where those formats may tell it
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def pillow() -> Any:
    """Pillow's module `Image`, with all the formats that it knows.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading and writing images needs Pillow: `pip install pillow`.") from error
    Image.init()
    return Image


def read_image(file: Any, transparent: bool = False, deep: bool = False) -> Image:
    """A picture from a path or an open file, upright, with 8 bits a channel: of an animation, the first one.

    It has mode L where it is grey and RGB otherwise; transparent parts become white; 16 bits are scaled to 8.

    Args:
        file: A path, or a file opened for reading bytes.
        transparent: Whether a picture with transparent parts keeps them, in mode RGBA.
        deep: Whether grey pixels of more than 8 bits stay as they are, in mode I;16, I or F.

    Raises:
        ValueError: The file is empty, damaged, or of no format that Pillow reads; or it has pixels of 32 bits.
        OSError: The file cannot be opened.
    """
    if not isinstance(file, (str, bytes, os.PathLike)):
        return picture_of(file.read(), None, transparent, deep)
    path = os.fsdecode(file)
    with open(path, "rb", buffering=0) as opened:
        return picture_of(opened.read(), path, transparent, deep)


def picture_of(content: bytes, path: str | None, transparent: bool, deep: bool = False) -> Image:
    """What `read_image` makes of the content of a file, which errors name by its path, where it has one."""
    picture = _decoded(content, path)
    if is_deep(picture):
        return picture if deep else pillow().fromarray(scaled_to_bytes(picture, _named(path)).round().astype(np.uint8))
    if not picture.has_transparency_data:
        return in_mode(picture, "L" if picture.mode in ("1", "L") else "RGB")
    picture = in_mode(picture, "RGBA")
    if transparent:
        return picture
    white = pillow().new("RGBA", picture.size, "white")
    colours = np.asarray(pillow().alpha_composite(white, picture))[..., :3]
    is_grey = (colours == colours[..., :1]).all()
    return pillow().fromarray(np.ascontiguousarray(colours[..., 0] if is_grey else colours))


def _decoded(content: bytes, path: str | None) -> Image:
    """The picture, turned as the file says."""
    name = _named(path)
    if not content:
        raise ValueError(f"{name} is empty: it is not an image that can be read.")
    images = pillow()
    try:
        picture = _opened(images, content)
        picture.load()
    except (*_DAMAGED, images.DecompressionBombError) as error:
        # Pillow's own words for an unknown format are where the bytes lie in memory.
        reason = "its format is unknown" if isinstance(error, images.UnidentifiedImageError) else error
        raise ValueError(f"{name} is not an image that can be read: {reason}") from error
    turn = _TURNS.get(_orientation(picture))
    if turn is None:
        return picture
    turned = picture.transpose(images.Transpose[turn])
    turned.format = picture.format  # which tells what its pixels are
    return turned


def _named(path: str | None) -> str:
    return "The given file" if path is None else f"The file {path!r}"


def _opened(images: Any, content: bytes) -> Image:
    """By the format that the first bytes tell, or else by the one that recognises them, which takes Pillow longer."""
    if likely := _FORMATS.get(content[:2]):
        try:
            return cast("Image", images.open(io.BytesIO(content), formats=(likely,)))
        except images.UnidentifiedImageError:
            pass  # the others are asked
    return cast("Image", images.open(io.BytesIO(content)))


def _orientation(picture: Image) -> Any:
    """The number that cameras write; 1, upright, where what they wrote is damaged, since the pixels are not."""
    if picture.format in _FORMATS.values() and _NOTES.isdisjoint(picture.info):
        return 1
    try:
        return picture.getexif().get(_ORIENTATION, 1)
    except _DAMAGED:
        return 1


def in_mode(picture: Image, mode: str) -> Image:
    """The picture in a mode of Pillow's; itself where it is that already."""
    return picture if picture.mode == mode else picture.convert(mode)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Image:
    """An image file as a Pillow picture, upright; transparent parts are white unless they are kept.

    Args:
        path: A path, or a file opened for reading bytes.
        color_mode: `"rgb"` or `"rgba"`, with 8 bits a channel, to which 16 are scaled; or `"grayscale"`, where grey
            pixels of more than 8 bits stay as they are in the file, in mode I;16, I or F.
        target_size: Height and width; None keeps those of the file.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"hamming"`, `"box"` or `"lanczos"`.
        keep_aspect_ratio: Cut the largest part with the shape of `target_size` out of the middle first.

    Raises:
        ValueError: The file is no image that can be read, or an argument is none of the above.
        OSError: The file cannot be opened.
    """
    if not isinstance(path, (str, bytes, os.PathLike)) and not hasattr(path, "read"):
        raise TypeError(f"`path` is a path or a file opened for reading bytes. Received: {path!r}")
    require("color_mode", color_mode, tuple(MODES))
    require("interpolation", interpolation, _INTERPOLATIONS)
    picture = read_image(path, color_mode == "rgba", deep=color_mode == "grayscale")
    picture = picture if is_deep(picture) else in_mode(picture, MODES[color_mode])
    if target_size is None:
        return picture
    height, width = size_of(target_size, "target_size")
    if picture.size == (width, height):
        return picture
    box = None
    if keep_aspect_ratio:
        cut_width = max(1, min(picture.width, picture.height * width // height))
        cut_height = max(1, min(picture.height, picture.width * height // width))
        left, top = (picture.width - cut_width) // 2, (picture.height - cut_height) // 2
        box = left, top, left + cut_width, top + cut_height
    return picture.resize((width, height), pillow().Resampling[interpolation.upper()], box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> Array:
    """A picture as an array `(height, width, channels)`, or `(channels, height, width)` with channels first.

    Args:
        img: A Pillow picture, or an array of rank 2 or 3.
        dtype: `config.floatx()` by default.

    Raises:
        ValueError: An array is of another rank, or `dtype` has no room for a value.
    """
    channels_first = config.standardize_data_format(data_format) == "channels_first"
    x = as_type(img, _number_type(dtype), "img")
    if x.ndim == 2:
        return x[None] if channels_first else x[..., None]
    if x.ndim != 3:
        raise ValueError(f"Expected a picture, or an array of rank 2 or 3. Received: shape {x.shape}")
    return x.transpose(2, 0, 1) if channels_first else x


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> Image:
    """An array or tensor as a Pillow picture: of 1 channel (mode L), 3 (RGB) or 4 (RGBA).

    One channel with values above 255 gives mode I, of 32 bits; PNG files keep 16 of them. Fractions are cut off.

    Args:
        x: `(height, width, channels)`, or `(channels, height, width)` with channels first.
        scale: Whether the smallest value becomes 0 and the largest 255; otherwise they have to lie there.
        dtype: What `x` is turned into first, `config.floatx()` by default.

    Raises:
        ValueError: The array has another rank or number of channels, no pixels, or values that no pixel can have.
    """
    channels_first = config.standardize_data_format(data_format) == "channels_first"
    x = as_type(as_array(x) if isinstance(x, torch.Tensor) else x, _number_type(dtype), "x")
    if x.ndim != 3:
        raise ValueError(f"Expected an image of rank 3. Received: shape {x.shape}")
    x = x.transpose(1, 2, 0) if channels_first else x
    if x.shape[2] not in (1, 3, 4):
        raise ValueError(f"An image has 1, 3 or 4 channels. Received: shape {x.shape}, channels last")
    if not x.size:
        raise ValueError(f"Expected an image with pixels. Received: shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"Expected an image of finite numbers. Received: {(~np.isfinite(x)).sum()} that are not")
    if scale:
        x = x - x.min()
        x = x / (x.max() or 1) * 255
    if x.shape[2] == 1 and x.max() > 255:
        return pillow().fromarray(as_type(np.trunc(x[..., 0]), np.int32, "x"))
    if x.min() <= -1 or x.max() >= 256:
        raise ValueError(f"Without `scale`, values lie from 0 to 255. Received: values from {x.min()} to {x.max()}")
    return pillow().fromarray(np.ascontiguousarray((x[..., 0] if x.shape[2] == 1 else x).astype(np.uint8)))


def save_img(
    path: Any, x: Any, data_format: str | None = None, file_format: str | None = None, scale: bool = True, **kwargs: Any
) -> None:
    """Write an array or tensor as an image file.

    Args:
        path: A path, or a file opened for writing bytes.
        x: `(height, width, channels)`, or `(channels, height, width)` with channels first.
        file_format: Such as `"png"`; by default what the path's suffix says. An open file needs it.
        scale: As `array_to_img` takes it.
        **kwargs: What Pillow's `save` takes.

    Raises:
        ValueError: The format is unknown, or the array is no image.
    """
    suffix = Path(path).suffix[1:] if isinstance(path, (str, os.PathLike)) else ""
    kind = suffix if file_format is None else file_format
    images = pillow()
    known = images.registered_extensions().get(f".{kind.lower()}", kind.upper())
    if known not in images.SAVE:
        raise ValueError(f"Expected a format that Pillow writes, such as 'png'. Received: {kind!r} for {path!r}")
    picture = array_to_img(x, data_format, scale)
    if picture.mode == "RGBA" and known == "JPEG":
        warnings.warn("JPEG files have no transparency: the image is saved without it.", stacklevel=2)
        picture = picture.convert("RGB")
    if picture.mode == "I" and known not in ("PNG", "TIFF", "PPM"):
        raise ValueError(f"{known} files hold values up to 255. Received: up to {np.asarray(picture).max()}")
    if picture.mode == "I" and known != "TIFF":
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > FULL_SCALE:
            raise ValueError(
                f"{known} files hold values up to {FULL_SCALE} without `scale`. Received: {values.min()} to "
                f"{values.max()}"
            )
        picture = images.fromarray(values.astype(np.uint16))
    if not isinstance(path, (str, os.PathLike)):
        picture.save(path, known, **kwargs)
        return
    content = io.BytesIO()  # Pillow takes a part of a file for the whole where a disk is full
    picture.save(content, known, **kwargs)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def size_of(value: Any, name: str) -> tuple[int, int]:
    """Height and width, from both of them or from one number."""
    size = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in size):
        raise ValueError(f"`{name}` is a height and a width, positive numbers. Received: {name}={value!r}")
    return int(size[0]), int(size[1])


def _number_type(dtype: Any) -> Any:
    return config.floatx() if dtype is None else dtype_name(dtype) if isinstance(dtype, torch.dtype) else dtype
