"""How images are read between and beyond their pixels."""

from __future__ import annotations

from typing import NamedTuple

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection", "mirror", "wrap")
CUBIC = -0.75  # the slope of the cubic kernel at distance 1, as in torch


class Method(NamedTuple):
    """Interpolation and padding.

    Args:
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"` (the cubic convolution of Keys, 1981, as in torch).
        padding: What lies outside: `"zeros"`; the nearest pixel of the `"border"`; the image turned over at its outer
            edges (`"reflection"`, d c b a | a b c d | d c b a) or at the centres of its outermost pixels (`"mirror"`,
            d c b | a b c d | c b a); the image again (`"wrap"`).
    """

    interpolation: str
    padding: str

    def check(self) -> Method:
        """Itself.

        Raises:
            ValueError: There is no such method.
        """
        for name, value, known in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("padding", self.padding, PADDINGS),
        ):
            if value not in known:
                raise ValueError(f"`{name}` is one of {', '.join(map(repr, known))}. Received: {name}={value!r}")
        return self


class Pixels(NamedTuple):
    """How places become pixels: `scale x + shift`, for each axis."""

    x_scale: float = 1.0
    x_shift: float = 0.0
    y_scale: float = 1.0
    y_shift: float = 0.0


def pixels_from_extent(size: tuple[int, int], align_corners: bool) -> Pixels:
    """Of places from -1 to 1 across images of this height and width."""
    height, width = size
    if align_corners:
        return Pixels((width - 1) / 2, (width - 1) / 2, (height - 1) / 2, (height - 1) / 2)
    return Pixels(width / 2, (width - 1) / 2, height / 2, (height - 1) / 2)
