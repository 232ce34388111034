"""The automatic choice: constants for all that can be asked, and no bad choice where they are wrong for the machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from triarch.convolution import choice, cost
from triarch.convolution.methods import METHODS
from triarch.convolution.spec import COMPLEX, EXACT, EXTENDED, FLOATS, ConvolutionSpec

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SIZES = [((1,), (1,)), ((50,), (3,)), ((5000,), (400,)), ((200_000,), (200_000,)), ((5_000_000,), (5000,))]
SIZES += [
    ((40, 40), (3, 3)),
    ((900, 900), (200, 100)),
    ((20_000, 3), (1, 3)),
    ((30, 30, 30), (4, 5, 6)),
    ((9,) * 4, (3,) * 4),
]


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX, *EXACT, *EXTENDED])
def test_everything_has_constants(dtype: str) -> None:
    for a, b in SIZES:
        for batch in ((), (1,), (7,)):
            for bits in ((3, 3), (31, 20), (700, 700)) if dtype in EXACT else ((0, 0),):
                if dtype == "int64" and sum(bits) > 60:
                    continue
                spec = ConvolutionSpec.of_mode("same", a, b, a_batch=batch, dtype=dtype, bits=bits)
                seconds = choice.predictions(spec)
                assert min(seconds.values()) > 0
                assert choice.choose(spec)[0] in seconds


def measured() -> list[tuple[ConvolutionSpec, dict[str, float]]]:
    """The newest record of `scripts/bench convolution`: what each method really took."""
    record = json.loads(max(RESULTS.glob("convolution-????-??-??.json")).read_text())
    assert record["cases"] > 80
    return [(spec_of(row), row["methods"]) for row in record["rows"]]


def spec_of(row: dict) -> ConvolutionSpec:
    axes = row["axes"] or range(len(row["a"]))
    a, b = (tuple(row[name][axis] for axis in axes) for name in ("a", "b"))
    batches = (tuple(n for axis, n in enumerate(row[name]) if axis not in axes) for name in ("a", "b"))
    a_batch, b_batch = batches
    bits = (7, 7) if row["dtype"] == "int64" else (0, 0)
    return ConvolutionSpec.of_mode(row["mode"], a, b, a_batch=a_batch, b_batch=b_batch, dtype=row["dtype"], bits=bits)


def distortions() -> Iterator[cost.Constants]:
    """Constants of machines on which a method is twice as fast or slow, and on which every constant is off."""
    constants = cost.shipped()["constants"]
    for slow in METHODS:
        for factor in (0.5, 2.0):
            yield {
                method: {
                    dtype: {name: value * (factor if method == slow else 1) for name, value in values.items()}
                    for dtype, values in of_type.items()
                }
                for method, of_type in constants.items()
            }
    rng = np.random.default_rng(0)
    for _ in range(30):  # any two constants up to a factor of 2 apart
        yield {
            method: {
                dtype: {name: value * 2 ** rng.uniform(-0.5, 0.5) for name, value in values.items()}
                for dtype, values in of_type.items()
            }
            for method, of_type in constants.items()
        }


def test_wrong_constants_make_no_bad_choice() -> None:
    worst = {}
    for spec, seconds in measured():
        for constants in (cost.shipped()["constants"], *distortions()):
            chosen = choice.choose(spec, constants)[0]
            worst[spec] = max(worst.get(spec, 1.0), seconds[chosen] / min(seconds.values()))
    assert max(worst.values()) < 2.5
    assert np.quantile(list(worst.values()), 0.9) < 2
