"""Text files, in UTF-8 or in what their first bytes say."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

# UTF-32 before UTF-16, whose little-endian mark is the beginning of the other's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file without its byte order mark, with lines that end in a line feed.

    Raises:
        ValueError: The file is not in UTF-8, nor in the encoding of its byte order mark; the message says where.
        OSError: It cannot be read.
    """
    content = Path(path).read_bytes()
    mark, encoding = next((row for row in _MARKS if content.startswith(row[0])), (b"", "utf-8"))
    content = content[len(mark) :]
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(encoding, "replace").count("\n") + 1
        raise ValueError(
            f"The file {os.fspath(path)!r} is expected to be a text in {encoding.upper()}. Received: the byte "
            f"0x{content[error.start]:02x} at position {len(mark) + error.start:,}, line {line:,} ({error.reason}). "
            "Save it as UTF-8, or convert it: iconv -f windows-1252 -t utf-8 (or the encoding that it has)"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"The file {os.fspath(path)!r} is expected to be a text in {encoding.upper()}. Received: a zero at "
            f"character {text.index(chr(0)):,}, as in UTF-16 without a byte order mark, or in what is no text. "
            "Save it as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")
