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
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]  # height, width and channels

_END_OF_JPEG = b"\xff\xd9"
_CHANNELS = {0: 1, 2: 3}  # by the kind of colour that a PNG file states
# Chunks of a PNG file that change no pixel, and those of text, which may say how a camera was held. Pillow refuses
# files where they are damaged, decoders do not look.
_CHUNKS = {b"PLTE", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"tIME"}
_TEXTS, _TURNING = {b"tEXt", b"zTXt", b"iTXt"}, (b"Raw profile type", b"XML:com.adobe.xmp")
# Segments of a JPEG file: its size, where it is not coded in passes; notes of cameras; the pixels.
_FRAMES, _NOTES, _SCAN = (0xFFC0, 0xFFC1), 0xFFE1, 0xFFDA
_SEGMENTS = frozenset((*range(0xFFC0, 0xFFD0), *range(0xFFDA, 0xFFFF)))  # those between have no length
_BODY, _AROUND = 33, 12  # where the chunks begin that follow a PNG file's head; bytes of a chunk besides its data
_PNG_HEAD, _PNG_CHUNK = struct.Struct(">I4sIIBB2xB"), struct.Struct(">I4s")
_JPEG_SEGMENT, _JPEG_FRAME = struct.Struct(">HH"), struct.Struct(">BHHB")
_MOST_PIXELS = 2**26  # Pillow has words for what is larger


class Decoder(NamedTuple):
    """Of files that begin so."""

    begin: bytes
    shape: Callable[[bytes], Shape | None]  # None where a file is not plain
    decode: Callable[[bytes], Array]
    error: type[Exception]


@cache
def decoders() -> tuple[Decoder, ...]:
    """Empty without imagecodecs. Called before there are threads and forks, since it imports."""
    try:
        import imagecodecs
    except ImportError:
        return ()
    if not (imagecodecs.PNG.available and imagecodecs.JPEG8.available):
        return ()
    return (
        Decoder(b"\x89PNG\r\n\x1a\n", _png_shape, imagecodecs.png_decode, imagecodecs.PngError),
        Decoder(b"\xff\xd8\xff", _jpeg_shape, imagecodecs.jpeg8_decode, imagecodecs.Jpeg8Error),
    )


def plain_pixels(content: bytes, channels: int) -> Array | None:
    """The pixels of a plain file, uint8 `(height, width, channels)`; None for all that Pillow has to see.

    Args:
        content: Of a file.
        channels: 1 of grey files, 3 of coloured and grey ones; nothing is plain with others.
    """
    for decoder in decoders():
        if content.startswith(decoder.begin):
            return _decoded(decoder, content, channels)
    return None


def _decoded(decoder: Decoder, content: bytes, channels: int) -> Array | None:
    shape = decoder.shape(content)
    if shape is None or shape[0] * shape[1] > _MOST_PIXELS or channels not in (shape[2], 3):
        return None
    try:
        pixels = decoder.decode(content)
    except decoder.error:
        return None
    if pixels.dtype != np.uint8 or pixels.size != shape[0] * shape[1] * shape[2]:
        return None
    pixels = pixels.reshape(shape)
    return pixels if shape[2] == channels else np.repeat(pixels, channels, axis=2)


def _png_shape(content: bytes) -> Shape | None:
    if len(content) < _BODY:
        return None
    length, kind, width, height, depth, colour, is_interlaced = _PNG_HEAD.unpack_from(content, 8)
    if kind != b"IHDR" or length != 13 or depth != 8 or colour not in _CHANNELS or is_interlaced:
        return None
    place, last = _BODY, len(content) - _AROUND
    while place < last:
        length, kind = _PNG_CHUNK.unpack_from(content, place)
        if kind != b"IDAT":
            is_text = kind in _TEXTS and not content.startswith(_TURNING, place + 8)
            end = place + 8 + length
            is_whole = zlib.crc32(content[place + 4 : end]).to_bytes(4) == content[end : end + 4]
            if not (is_text or kind in _CHUNKS) or not is_whole:
                return None
        place += _AROUND + length
    return (height, width, _CHANNELS[colour]) if place == last else None


def _jpeg_shape(content: bytes) -> Shape | None:
    if not content.endswith(_END_OF_JPEG):  # it ends too early
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
