"""The letters of pictures: fonts for names in any script, and what is said of letters that no font has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from logging import ERROR, getLogger

from matplotlib import rcParams
from matplotlib.font_manager import get_font_names

from triarch.cli.output import say

# For scripts that matplotlib's own font lacks: what the usual systems have.
_OTHERS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "NanumGothic",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Segoe UI",
    "Nirmala UI",
    "Leelawadee UI",
)
_MISSING = "missing from font"  # in matplotlib's words


@cache
def families() -> list[str]:
    """The fonts that are asked for a letter, one after the other."""
    known = set(get_font_names())
    return [*rcParams["font.family"], *(name for name in _OTHERS if name in known)]


@contextmanager
def missing_letters_told_once() -> Iterator[None]:
    """One line where matplotlib warns of each letter in each text."""
    logger = getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(ERROR)  # it tells which weight of a font it takes, where that has a few
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.filterwarnings("always", f".*{_MISSING}", UserWarning)
            yield
    finally:
        logger.setLevel(level)
    for warning in told:
        if _MISSING in str(warning.message):
            _say_once("Some names have letters of no font that is installed: pictures show boxes instead.")
        else:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


_say_once = cache(say)
