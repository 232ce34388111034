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
def zero(target, count):
    """Fill `count` numbers with zeros."""
    for number in range(count):
        target[number] = 0.0
