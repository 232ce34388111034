"""The automatic choice: constants for all that can be asked, and no bad choice where they are wrong for the machine."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from triarch.convolution import choice, cost
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


@cache
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


@pytest.fixture(autouse=True)
def _threads_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)


def regrets(octaves: float, draws: int = 40) -> np.ndarray:
    """How many times the best method the chosen one takes, on machines whose constants are each that far off."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        constants = {
            method: {
                dtype: {name: value * 2 ** rng.uniform(-octaves, octaves) for name, value in values.items()}
                for dtype, values in of_type.items()
            }
            for method, of_type in cost.shipped()["constants"].items()
        }
        for spec, seconds in measured():
            found.append(seconds[choice.choose(spec, constants)[0]] / min(seconds.values()))
    return np.array(found)


def test_the_shipped_constants_choose_well() -> None:
    assert np.mean(regrets(0, draws=1) <= 1.1) > 0.9


@pytest.mark.parametrize("octaves", [0.5, 1.0])
def test_wrong_constants_make_hardly_a_bad_choice(octaves: float) -> None:
    wrong = regrets(octaves)
    assert np.mean(wrong < 2.5) > 0.995
    assert wrong.max() < 3
