"""Products of integer polynomials beside python-flint's `fmpz_poly`: `scripts/bench --peers polynomials`.

Small coefficients go in as int64 arrays, large ones as arrays of Python integers. FLINT's product is timed on
its own, on polynomials that it has made already, and as Python's integers go in and come out.
"""

from __future__ import annotations

import argparse
import operator
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import flint
import numpy as np

from benchmarks.interleaved import compare_calls, record
from triarch.convolution import explain, polymul

TERMS = (100, 1000, 10_000, 100_000, 1_000_000)
BITS = (8, 16, 64, 1000)


def operand(terms: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Coefficients of either sign."""
    if bits <= 16:
        return rng.integers(-(2**bits) + 1, 2**bits, terms)
    size = bits // 8
    data = rng.bytes(terms * size)
    values = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
    return np.array([value if value & 1 else -value for value in values], object)


def rows(most_terms: int, rounds: int) -> Iterator[dict[str, Any]]:
    """The times of each case, printed as they come."""
    rng = np.random.default_rng(3)
    for bits in BITS:
        for terms in TERMS:
            if terms > most_terms:
                continue
            a, b = operand(terms, bits, rng), operand(terms, bits, rng)
            numbers = [[int(value) for value in x] for x in (a, b)]
            calls = {
                "triarch": partial(polymul, a, b),
                "fmpz_poly": partial(operator.mul, *map(flint.fmpz_poly, numbers)),
                "with conversions": partial(between_integers, *numbers),
            }
            if list(calls["triarch"]()) != calls["fmpz_poly"]().coeffs():
                raise AssertionError(f"{terms} terms of {bits} bits: triarch and FLINT differ")
            seconds = {
                name: statistics.median(values)
                for name, values in compare_calls(calls, rounds if terms * bits < 200_000_000 else 1).items()
            }
            own = seconds["triarch"]
            method = explain(a, b).method
            print(
                f"{terms:>9,} terms of {bits:>5} bits  {own * 1e3:10.3f} ms {method:<10}"
                f" {own / seconds['fmpz_poly']:6.2f} × fmpz_poly's product,"
                f" {own / seconds['with conversions']:6.2f} × with its conversions",
                flush=True,
            )
            yield {"terms": terms, "bits": bits, "method": method, "seconds": seconds}


def between_integers(a: list[int], b: list[int]) -> list[Any]:
    """FLINT's product from and to lists."""
    return (flint.fmpz_poly(a) * flint.fmpz_poly(b)).coeffs()


def main() -> None:
    """Run the cases and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--most-terms", type=int, default=max(TERMS))
    arguments = parser.parse_args()
    results = list(rows(arguments.most_terms, arguments.rounds))
    if arguments.most_terms == max(TERMS):
        print(record("polynomials", {"rows": results}, ["triarch", "numpy", "torch", "numba", "python-flint"]))


if __name__ == "__main__":
    main()
