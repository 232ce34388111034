"""Columns of any size and distance from zero, as a network in single precision can tell their numbers apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from triarch import layers
from triarch.cli.output import CommandError, listed

Array = np.ndarray[Any, Any]
_COARSE = 1e-4  # deviations, between numbers that single precision does not tell apart
_CONSTANT = 1e-14  # of the largest number: what rounding leaves of the deviation of a column that is one number
_SMALLEST, _LARGEST = 1e-30, 1e30  # deviations whose inverses single precision holds


@dataclass(frozen=True)
class Scaling:
    """How the columns of series come to a mean of 0 and a deviation of 1; numbers for each column, in double precision.

    Attributes:
        offset: Taken from the columns before a network sees them; 0 unless single precision would lose their numbers.
        mean: Of the columns as they are.
        deviation: Of the columns; 1 where all numbers are the same.
    """

    offset: Array
    mean: Array
    deviation: Array

    @classmethod
    def of(cls, rows: Array, name: str) -> Self:
        """For the rows `(steps, columns)` that are learnt, of the data with this name."""
        largest = abs(rows).max(0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, spread = rows.mean(0), rows.std(0)
        deviation = np.where(spread > _CONSTANT * largest, spread, 1.0)
        if not (np.isfinite(mean) & (deviation > _SMALLEST) & (deviation < _LARGEST)).all():
            raise CommandError(
                f"Expected columns in {name!r} that deviate by {_SMALLEST} to {_LARGEST} from their means. Received: "
                f"{listed(f'{value:.3g}' for value in deviation)}. Give them other units"
            )
        is_far = largest * np.finfo(np.float32).eps > _COARSE * deviation
        return cls(np.where(is_far, mean, 0.0), mean, deviation)

    def taken(self, x: Array) -> Array:
        """Numbers `(..., columns)` as a network takes them, in single precision."""
        taken = (x - self.offset).astype(np.float32)
        if not np.isfinite(taken).all():
            raise CommandError(f"Numbers are too far from the learnt ones. Received: up to {abs(x).max():.3g}")
        return taken

    def layer(self) -> layers.Layer:
        """From what a network takes to means of 0 and deviations of 1."""
        return layers.Rescaling(list(1 / self.deviation), list((self.offset - self.mean) / self.deviation))

    def scaled(self, x: Array, column: int) -> Array:
        """Numbers of a column, as deviations from its mean."""
        return (x - self.mean[column]) / self.deviation[column]

    def restored(self, x: Array, column: int) -> Array:
        """What was scaled, in the column's own units and double precision."""
        return x.astype(np.float64) * self.deviation[column] + self.mean[column]
