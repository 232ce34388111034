"""Fits the constants of the convolution cost model to this machine: `scripts/bench fit-costs` writes `costs.json`.

Each method runs on convolutions of many sizes; the constants are the non-negative ones whose predictions have the least
relative error. Reports how far predictions are from measurements.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks.interleaved import processor
from triarch.convolution import cost
from triarch.convolution.arrays import magnitude_bits
from triarch.convolution.choice import costed_as
from triarch.convolution.methods import METHODS
from triarch.convolution.spec import ConvolutionSpec

LONGEST = 0.1  # seconds: larger runs of the same kind are left out
PLAIN = ("float32", "float64", "int64", "complex64", "complex128")
SLOW = ("integer", "object", "longdouble", "clongdouble")
SIZES = [((n,), (k,)) for n in (64, 1000, 16_000, 200_000, 2_000_000) for k in (3, 16, 64, 300, 2000, 30_000) if k <= n]
SIZES += [((n, n), (k, k)) for n in (32, 128, 512, 1500) for k in (3, 7, 15, 31, 101) if k <= n]
SIZES += [
    ((6_000_000,), (100,)),
    ((6_000_000,), (50_000,)),
    ((2500, 2500), (15, 15)),
    ((2500, 2500), (101, 101)),
    ((3500, 3500), (15, 15)),
]
SIZES += [((n,) * 3, (k,) * 3) for n in (8, 24, 64, 100) for k in (2, 3, 5, 11) if k <= n]
SLOW_SIZES = [((n,), (k,)) for n in (4, 30, 200, 1500) for k in (2, 10, 100, 1000) if k <= n]
SLOW_SIZES += [((40_000,), (30_000,)), ((100_000,), (3_000,))]
SLOW_SIZES += [((n, n), (k, k)) for n in (5, 20) for k in (2, 5)]
BATCHES = ((), (16,), (500,))
OTHER_WORK = (np.random.default_rng(0).random(20_000), torch.linspace(0, 1, 500_000))  # for one thread, for several
BITS = {"int64": ((10, 10), (30, 20)), "integer": ((20, 20), (200, 200), (1000, 1000))}  # of both operands


def specs(dtype: str) -> Iterator[ConvolutionSpec]:
    """The convolutions that are timed for a type of numbers."""
    sizes, batches = (SIZES, BATCHES) if dtype in PLAIN else (SLOW_SIZES, BATCHES[:1])
    for bits in BITS.get(dtype, ((0, 0),)):
        for a, b in sizes:
            for batch in batches:
                if not batch or math.prod(batch) * math.prod(a) <= 4_000_000:
                    yield ConvolutionSpec.of_mode("same", a, b, dtype=dtype, bits=bits, a_batch=batch)


def operands(spec: ConvolutionSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for it; the second one has rank 1, so that every method can run."""
    a = rng.integers(-9, 10, spec.a_batch + spec.a_sizes)
    b = np.ones((), np.int64)
    for size in spec.b_sizes:
        b = np.multiply.outer(b, rng.integers(1, 5, size))
    if spec.dtype in ("integer", "object"):
        scale = 2 ** (spec.bits[0] - 4) if spec.dtype == "integer" else 1
        a, b = a.astype(object) * scale, b.astype(object) * max(1, scale >> magnitude_bits(b))
        return a, b
    return a.astype(spec.dtype), b.astype(spec.dtype)


def is_its_own(method: str, spec: ConvolutionSpec) -> bool:
    """Whether the method can do it, and is not another one then."""
    return METHODS[method].refuse(spec) is None and costed_as(method, spec) == method


def measured(run: Callable[[], object]) -> float:
    """Seconds of one call: the median of several, with other work in between: helper threads sleep or are busy."""
    run()
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    if once > 0.05:
        return once
    repeats = math.ceil(2e-4 / once)
    times = []
    for number in range(7 if once < 5e-3 else 3):
        (torch.exp if number % 2 else np.sort)(OTHER_WORK[number % 2])
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(times)


def measure(method: str, dtype: str, rng: np.random.Generator) -> tuple[list[dict[str, float]], list[float]]:
    """Counts and seconds of the method's runs."""
    counts, seconds = [], []
    able = [(METHODS[method].count(spec), spec) for spec in specs(dtype) if is_its_own(method, spec)]
    long: set[frozenset[str]] = set()  # what counts of runs that took long have
    for count, spec in sorted(able, key=lambda pair: sum(pair[0].values())):
        kind = frozenset(name for name, number in count.items() if number)
        if kind in long:
            continue
        seconds.append(measured(partial(METHODS[method].plan(spec), *operands(spec, rng))))
        counts.append(count)
        if seconds[-1] > LONGEST:
            long.add(kind)
    return counts, seconds


def fit(counts: list[dict[str, float]], seconds: list[float]) -> tuple[dict[str, float], float]:
    """The constants, and the median factor between prediction and measurement."""
    names = sorted(set().union(*counts))
    table = np.array([[count.get(name, 0.0) for name in names] for count in counts]) / np.array(seconds)[:, None]
    scale = np.maximum(table.max(axis=0), 1e-30)
    solution, _ = nnls(table / scale, np.ones(len(seconds)))
    constants = solution / scale
    factors = table @ constants
    return {name: float(f"{value:.4g}") for name, value in zip(names, constants, strict=True)}, float(
        np.median(np.exp(np.abs(np.log(np.maximum(factors, 1e-9)))))
    )


def main() -> None:
    """Fit every method for every type of numbers, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", nargs="+", default=(*PLAIN, *SLOW), help="only these; the other constants stay")
    types = parser.parse_args().types
    began = time.perf_counter()
    rng = np.random.default_rng(7)
    constants: cost.Constants = json.loads(cost.PATH.read_text())["constants"]
    for method in METHODS:
        for dtype in types:
            counts, seconds = measure(method, dtype, rng)
            if not counts:
                continue
            constants.setdefault(method, {})[dtype], factor = fit(counts, seconds)
            print(f"{method:<12} {dtype:<12} {len(counts):>4} runs, within a factor of {factor:.2f} at the median")
    machine = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, numpy {np.__version__}"
    cost.PATH.write_text(json.dumps({"machine": machine, "constants": constants}, indent=1) + "\n")
    print(f"{cost.PATH}: {machine}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
