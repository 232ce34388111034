"""How far rounding in a floating-point transform can carry a result: whether integers may go through it."""

from __future__ import annotations

import math

from triarch.convolution.arrays import next_smooth
from triarch.convolution.exact_limbs import limb_count

EPSILON = 2.0**-53  # the unit roundoff of float64
SAFETY = 4.0  # for mixed radices and real transforms, which the theorem does not name


def fft_rounding_bound(norm: float, points: int) -> float:
    """A bound of the absolute error of every coefficient of a float64 convolution through FFTs of `points` in all.

    Args:
        norm: The product of both operands' Euclidean norms.

    Source: Percival, "Rapid multiplication modulo the sum and difference of highly composite numbers" (2003), theorem
    5.1, with roots of unity good to one unit roundoff, as corrected by Brent, Percival and Zimmermann (2007); times
    `SAFETY`.
    """
    stages = 1 + max(1.0, math.log2(points))  # one for the twiddles of long axes, which are transformed in four steps
    growth = 3 * stages * math.log1p(EPSILON) * 2 + (3 * stages + 1) * math.log1p(EPSILON * math.sqrt(5))
    return SAFETY * norm * math.expm1(growth)


def is_rounding_safe(norm: float, points: int) -> bool:
    """Whether rounding each coefficient to the nearest integer is proven to give the exact one."""
    return fft_rounding_bound(norm, points) < 0.25


def limb_bits(a_bits: int, b_bits: int, a_terms: int, b_terms: int, points: int) -> int:
    """The widest limbs in which integers may be split so that transforms of them are safe.

    Args:
        a_bits, b_bits: Of the largest magnitudes.
        a_terms, b_terms: How many numbers each operand has within one transform.

    Returns:
        A width of at least 2; at least as wide as the operands where they may stay in one piece.

    Raises:
        ValueError: Not even two bits are safe.
    """
    root = math.sqrt(a_terms) * math.sqrt(b_terms)
    widest = max(2, a_bits, b_bits)
    for width in range(min(widest, 52), 1, -1):
        counts = [limb_count(bits, width) for bits in (a_bits, b_bits)]
        # Balanced limbs reach half their width; what stays in one piece, its own.
        a_limb, b_limb = (
            bits if count == 1 else width - 1 for bits, count in zip((a_bits, b_bits), counts, strict=True)
        )
        norm = 2.0 ** (a_limb + b_limb) * root * math.sqrt(math.prod(counts))
        within = points * next_smooth(sum(counts) - 1)  # transforms may go along the limbs too
        if is_rounding_safe(norm, within):
            return width
    raise ValueError(f"No split of integers makes a transform of {points} points exact in float64")
