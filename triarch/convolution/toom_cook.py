"""Winograd's matrices, from Toom and Cook: products of polynomials by evaluation at points and interpolation."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import count

Matrix = tuple[tuple[Fraction, ...], ...]


def _points(number: int) -> tuple[Fraction, ...]:
    """0, 1, -1, 2, -2, 1/2, -1/2, 3, ...: small numerators and denominators first, which keep the rounding small."""
    points = [Fraction(0), Fraction(1), Fraction(-1)]
    for value in count(2):
        if len(points) >= number:
            break
        for point in (Fraction(value), Fraction(1, value)):
            points += [point, -point]
    return tuple(points[:number])


def _times(polynomial: list[Fraction], root: Fraction) -> list[Fraction]:
    """The polynomial times (x - root), lowest power first."""
    shifted = [Fraction(0), *polynomial]
    return [high - root * low for high, low in zip(shifted, [*polynomial, Fraction(0)], strict=True)]


@cache
def winograd_matrices(m: int, r: int, points: tuple[Fraction, ...] | None = None) -> tuple[Matrix, Matrix, Matrix]:
    """The exact matrices (Aᵀ, G, Bᵀ) of F(m, r): `m` places of the correlation with `r` taps by m + r - 1 products.

    `Aᵀ ((G g) ⊙ (Bᵀ d))` are the m sums `Σ_k d[i + k] g[k]` of a tile `d` of m + r - 1 places.

    Args:
        m: Places of the result in a tile.
        r: Taps of the kernel.
        points: m + r - 2 different ones, where the polynomials are evaluated beside infinity; small ones without it.

    Returns:
        Three tuples of rows of `Fraction`: (m, n), (n, r) and (n, n), n = m + r - 1.

    Raises:
        ValueError: A size is below one, or there is another number of points, or one comes twice.

    Source: Toom (1963), Cook (1966); Winograd, "Arithmetic Complexity of Computations" (1980), whose minimal filters
    are the transposed product. The letters are Lavin and Gray's (2016).
    """
    if m < 1 or r < 1:
        raise ValueError(f"winograd_matrices(m, r) expects sizes of at least 1. Received: m={m!r}, r={r!r}")
    n = m + r - 1
    points = _points(n - 1) if points is None else points
    if len(set(points)) != n - 1 or len(points) != n - 1:
        raise ValueError(f"F({m}, {r}) needs {n - 1} different points. Received: points={points!r}")
    scales = []
    for own in points:
        scale = Fraction(1)
        for other in points:
            if other != own:
                scale *= own - other
        scales.append(scale)
    evaluation = [[point**power for point in points] + [Fraction(power == m - 1)] for power in range(m)]
    kernel = [[point**power / scale for power in range(r)] for point, scale in zip(points, scales, strict=True)]
    kernel.append([Fraction(power == r - 1) for power in range(r)])
    tile = []
    for own in points:  # the coefficients of the product over the other points
        polynomial = [Fraction(1)]
        for other in points:
            if other != own:
                polynomial = _times(polynomial, other)
        tile.append([*polynomial, Fraction(0)])
    polynomial = [Fraction(1)]
    for point in points:
        polynomial = _times(polynomial, point)
    tile.append(polynomial)
    return tuple(map(tuple, evaluation)), tuple(map(tuple, kernel)), tuple(map(tuple, tile))
