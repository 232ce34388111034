"""How far rounding in a floating-point transform can carry a result: whether integers may go through it."""

from __future__ import annotations

import math

from triarch.convolution.arrays import next_smooth

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
        A width of at least 1; at least as wide as the operands where they may stay in one piece.

    Raises:
        ValueError: Not even single bits are safe.
    """
    root = math.sqrt(a_terms) * math.sqrt(b_terms)
    widest = max(1, a_bits, b_bits)
    for width in range(min(widest, 52), 0, -1):
        if width >= widest:  # in one piece
            norm = 2.0 ** (a_bits + b_bits) * root
            within = points
        else:  # balanced limbs reach half their width; transforms may go along them too
            a_limbs, b_limbs = (-(-(bits + 1) // width) for bits in (a_bits, b_bits))
            a_limb, b_limb = min(a_bits, width - 1), min(b_bits, width - 1)
            norm = 2.0 ** (a_limb + b_limb) * root * math.sqrt(a_limbs) * math.sqrt(b_limbs)
            within = points * next_smooth(a_limbs + b_limbs - 1)
        if is_rounding_safe(norm, within):
            return width
    raise ValueError(f"No split of integers makes a transform of {points} points exact in float64")
