"""PNG and JPEG files as tools mostly write them, decoded by imagecodecs where that is installed.

The pixels are those that Pillow makes. A small file takes a quarter of the time, and other threads can run meanwhile:
it is one call of compiled code, where Pillow goes by many steps in Python. What is not plain is left to Pillow, so that
there is one rule for it: transparency, palettes, other depths than 8 bits, JPEG in passes, notes that may turn a
picture, and damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Decoder = Callable[[bytes], Array]

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how files begin
_END_OF_JPEG = b"\xff\xd9"
_CHANNELS = {0: 1, 2: 3}  # by the kind of colour that a PNG file states
# Chunks of a PNG file that change no pixel, and those of text, which may say how a camera was held. Pillow refuses
# files where they are damaged, decoders do not look.
_CHUNKS = {b"PLTE", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"tIME"}
_TEXTS, _TURNING = {b"tEXt", b"zTXt", b"iTXt"}, (b"Raw profile type", b"XML:com.adobe.xmp")
# Segments of a JPEG file: its size, where it is not coded in passes; notes of cameras; the pixels.
_FRAMES, _NOTES, _SCAN = (0xFFC0, 0xFFC1), 0xFFE1, 0xFFDA
_SEGMENTS = frozenset((*range(0xFFC0, 0xFFD0), *range(0xFFDA, 0xFFFF)))  # those between have no length
_PNG_HEAD, _PNG_CHUNK = struct.Struct(">I4sIIBB2xB"), struct.Struct(">I4s")
_JPEG_SEGMENT, _JPEG_FRAME = struct.Struct(">HH"), struct.Struct(">BHHB")
_MOST_PIXELS = 2**26  # Pillow has words for what is larger


@cache
def decoders() -> tuple[Decoder, Decoder, tuple[type[Exception], ...]] | None:
    """Of PNG, of JPEG, and what they raise; None without imagecodecs. Called before threads and forks: it imports."""
    try:
        import imagecodecs
    except ImportError:
        return None
    if not (imagecodecs.PNG.available and imagecodecs.JPEG8.available):
        return None
    return imagecodecs.png_decode, imagecodecs.jpeg8_decode, (imagecodecs.PngError, imagecodecs.Jpeg8Error)


def plain_pixels(content: bytes, channels: int) -> Array | None:
    """The pixels of a plain file, uint8 `(height, width, channels)`; None for all that Pillow has to see.

    Args:
        content: Of a file.
        channels: 1 of grey files, 3 of coloured and grey ones; nothing is plain with others.
    """
    known = decoders()
    if known is None:
        return None
    decode_png, decode_jpeg, errors = known
    is_png = content.startswith(_PNG)
    shape = _png_shape(content) if is_png else _jpeg_shape(content)
    if shape is None or shape[0] * shape[1] > _MOST_PIXELS or channels not in (shape[2], 3):
        return None
    try:
        pixels = (decode_png if is_png else decode_jpeg)(content)
    except errors:
        return None
    if pixels.dtype != np.uint8 or pixels.size != shape[0] * shape[1] * shape[2]:
        return None
    pixels = pixels.reshape(shape)
    return pixels if shape[2] == channels else np.repeat(pixels, channels, axis=2)


def _png_shape(content: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels; None where the file is not plain."""
    if len(content) < 33:
        return None
    length, kind, width, height, depth, colour, is_interlaced = _PNG_HEAD.unpack_from(content, 8)
    if kind != b"IHDR" or length != 13 or depth != 8 or colour not in _CHANNELS or is_interlaced:
        return None
    place, last = 33, len(content) - 12
    while place < last:
        length, kind = _PNG_CHUNK.unpack_from(content, place)
        if kind != b"IDAT":
            is_text = kind in _TEXTS and not content.startswith(_TURNING, place + 8)
            data, check = content[place + 4 : place + 8 + length], content[place + 8 + length : place + 12 + length]
            if not (is_text or kind in _CHUNKS) or zlib.crc32(data).to_bytes(4) != check:
                return None
        place += 12 + length
    return (height, width, _CHANNELS[colour]) if place == last else None


def _jpeg_shape(content: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels; None where the file is not plain, or ends too early."""
    if not (content.startswith(_JPEG) and content.endswith(_END_OF_JPEG)):
        return None
    shape, place = None, 2
    while place + 10 < len(content):
        kind, length = _JPEG_SEGMENT.unpack_from(content, place)
        if kind == _SCAN:
            return shape
        if kind == _NOTES or kind not in _SEGMENTS:
            return None
        if kind in _FRAMES:
            depth, height, width, channels = _JPEG_FRAME.unpack_from(content, place + 4)
            if depth != 8 or channels not in (1, 3):
                return None
            shape = height, width, channels
        place += 2 + length
    return None
