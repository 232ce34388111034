"""Loops over numbers that lie side by side, for kernels; the compiler makes them loops over vectors."""

from __future__ import annotations

from triarch.kernels.native.vectors import inlined


@inlined
def copy(source, target, count):
    """Write `count` numbers of the source to the target."""
    for number in range(count):
        target[number] = source[number]


@inlined
def add(source, target, count):
    """Add `count` numbers of the source to the target's."""
    for number in range(count):
        target[number] += source[number]


@inlined
def multiply(source, target, count):
    """Multiply the target's numbers with `count` numbers of the source."""
    for number in range(count):
        target[number] *= source[number]


@inlined
def add_moments(source, totals, squares, count):
    """Add `count` numbers of the source to the totals, and their squares to the squares."""
    for number in range(count):
        totals[number] += source[number]
        squares[number] += source[number] * source[number]


@inlined
def flush(sums, totals, count):
    """Add `count` sums to totals, which may be of higher precision, and begin again."""
    for number in range(count):
        totals[number] += sums[number]
        sums[number] = 0.0


@inlined
def zero(target, count):
    """Fill `count` numbers with zeros."""
    for number in range(count):
        target[number] = 0.0
