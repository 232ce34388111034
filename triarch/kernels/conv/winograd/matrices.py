"""The matrices of F(m, r) with the points that round least, as rows of floats."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from triarch.convolution.toom_cook import Matrix, winograd_matrices

# Points by their number, beside infinity. They come as ±p, so that transforms share even and odd parts, and their
# ratios keep the matrices' norms small: with 5/8 and 3/2 instead of 1 and 2 the error of F(4, 3) halves.
_POINTS = {
    3: (0, 1),
    4: (0, 1, Fraction(1, 2)),
    5: (0, Fraction(5, 8), Fraction(3, 2)),
    6: (0, Fraction(7, 8), 2, Fraction(1, 4)),
    7: (0, 1, 2, Fraction(1, 2)),
}


def points_of(n: int) -> tuple[Fraction, ...]:
    """The n - 1 finite points of a tile of n places."""
    points = [Fraction(0)]
    for value in _POINTS.get(n - 1, (0, 1, Fraction(1, 2), 2))[1:]:
        points += [Fraction(value), -Fraction(value)]
    return tuple(points[: n - 1])


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


@cache
def matrix_of(name: str, m: int, r: int) -> tuple[tuple[float, ...], ...]:
    """One matrix of F(m, r), `n = m + r - 1`.

    Args:
        name: `"input"` Bᵀ (n, n), `"kernel"` G (n, r), `"output"` Aᵀ (m, n); with `_gradient` their transposes.
    """
    output, kernel, tile = winograd_matrices(m, r, points_of(m + r - 1))
    matrix = {"input": tile, "kernel": kernel, "output": output}[name.removesuffix("_gradient")]
    if name.endswith("_gradient"):
        matrix = _transposed(matrix)
    return tuple(tuple(float(value) for value in row) for row in matrix)


@cache
def amplification(m: int, r: int) -> float:
    """How much larger the rounding of F(m, r) can be than that of the direct sum of r taps, along one axis.

    With |.| for matrices of absolute values, rounding is bounded by a multiple of `|Aᵀ| (|G| |g| ⊙ |Bᵀ| |d|)`, that of
    the direct sum by the same multiple of `Σ |g| |d|`; this is their ratio for numbers of equal size. Along two axes
    the factors multiply.
    """
    output, kernel, tile = (matrix_of(name, m, r) for name in ("output", "kernel", "input"))
    sizes = [sum(map(abs, g)) * sum(map(abs, d)) for g, d in zip(kernel, tile, strict=True)]
    return max(sum(abs(a) * size for a, size in zip(row, sizes, strict=True)) for row in output) / r
