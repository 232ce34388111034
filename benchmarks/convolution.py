"""`triarch.convolution` beside NumPy, SciPy and torch over a grid of sizes: `scripts/bench convolution`.

All sides run in one process, in turn; a side that is far behind in the first round is not run again. Our methods are
timed as well, so that the automatic choice can be judged.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.signal
import torch
import torch.nn.functional as F

from benchmarks.interleaved import compare_calls, record
from triarch.convolution import choose_method, convolve, explain

BEHIND = 4.0  # times the best: not run again after the first round
VENDOR = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

LINES = [(64, 3), (64, 64), (256, 16), (1000, 5), (1000, 100), (1000, 1000), (16_000, 3), (16_000, 31), (16_000, 500)]
LINES += [(16_000, 16_000), (100_000, 9), (100_000, 101), (100_000, 3000), (1_000_000, 3), (1_000_000, 64)]
LINES += [(1_000_000, 1000), (1_000_000, 50_000), (1_000_000, 1_000_000), (4_000_000, 31), (4_000_000, 1000)]
PLANES = [(32, 3), (32, 15), (128, 3), (128, 7), (128, 31), (512, 3), (512, 11), (512, 63), (1024, 5), (1024, 31)]
PLANES += [(1024, 255), (2048, 3), (2048, 101), (4096, 15), (4096, 511)]
VOLUMES = [(16, 3), (32, 5), (64, 3), (64, 9), (100, 15), (128, 31)]
Case = tuple[tuple[int, ...], tuple[int, ...], str, str, tuple[int, ...] | None]


def cases() -> Iterator[Case]:
    """Shapes of both operands, mode, type, axes."""
    for dtype in ("float32", "float64"):
        yield from (((n,), (k,), "full", dtype, None) for n, k in LINES)
        yield from (((n, n), (k, k), "same", dtype, None) for n, k in PLANES)
    for dtype in ("int64", "complex128"):
        yield from (((n,), (k,), "same", dtype, None) for n, k in LINES[1:-3:3])
        yield from (((n, n), (k, k), "valid", dtype, None) for n, k in PLANES[:9:2])
    yield from (((n,) * 3, (k,) * 3, "same", "float32", None) for n, k in VOLUMES)
    yield ((64, 4096), (64, 65), "full", "float32", (1,))
    yield ((256, 1000), (1, 33), "same", "float64", (1,))
    yield ((32, 128, 128), (1, 5, 5), "same", "float32", (1, 2))
    yield ((1000, 64), (1, 64), "full", "float64", (1,))


def name_of(case: Case) -> str:
    """The case in words."""
    return f"{'×'.join(map(str, case[0]))} * {'×'.join(map(str, case[1]))} {case[2]} {case[3]}"


def operands(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers in the case's type."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-99, 99, shape).astype(case[3]) for shape in case[:2])
    return (a * (1 + 2j) if case[3].startswith("c") else a), b


def by_torch(a: np.ndarray, b: np.ndarray, mode: str) -> np.ndarray:
    """With the reversal and the padding that make torch's correlation a convolution."""
    x, w = torch.from_numpy(a)[None, None], torch.from_numpy(np.flip(b).copy())[None, None]
    padding: Any = [k - 1 for k in b.shape] if mode == "full" else {"same": "same", "valid": 0}[mode]
    return VENDOR[a.ndim](x, w, padding=padding)[0, 0].numpy()


def sides(a: np.ndarray, b: np.ndarray, case: Case) -> dict[str, Callable[[], Any]]:
    """Whoever can do the case."""
    _, _, mode, dtype, axes = case
    found: dict[str, Callable[[], Any]] = {"triarch": partial(convolve, a, b, mode, axes=axes)}
    products = a.size * math.prod(b.shape if axes is None else [b.shape[axis] for axis in axes])
    if axes is None:
        if a.ndim == 1 and products < 3e10:
            found["numpy.convolve"] = partial(np.convolve, a, b, mode)
        found["scipy auto"] = partial(scipy.signal.convolve, a, b, mode)
    if dtype != "int64":
        found["fftconvolve"] = partial(scipy.signal.fftconvolve, a, b, mode, axes)
        found["oaconvolve"] = partial(scipy.signal.oaconvolve, a, b, mode, axes)
    if dtype.startswith("float") and axes is None and products < 1e9 and (mode != "same" or b.shape[0] % 2):
        found["torch"] = partial(by_torch, a, b, mode)
    return found


def check(found: dict[str, Callable[[], Any]], case: Case) -> None:
    """Every side gives the same numbers."""
    own = found["triarch"]()
    for name, run in found.items():
        theirs = run()
        scale = float(np.abs(theirs).max())
        if own.shape != theirs.shape or not np.abs(own - theirs).max() <= 1e-3 * scale:
            raise AssertionError(f"{case}: triarch and {name} differ")


def run_case(case: Case, rounds: int) -> dict[str, Any]:
    """Medians of all sides, minima of our methods."""
    a, b = operands(case)
    found = sides(a, b, case)
    check(found, case)
    table = explain(a, b, case[2], case[4])
    predicted = {c.method: c.seconds for c in table.candidates if c.seconds is not None}
    able = [method for method, seconds in predicted.items() if seconds < 4 * predicted[table.method]]
    for method in able:
        found[f"method {method}"] = partial(convolve, a, b, case[2], method, case[4])
        found[f"method {method}"]()
    rounds = compare_calls(found, rounds, BEHIND)
    seconds = {name: statistics.median(values) for name, values in rounds.items()}
    seconds |= {name: min(values) for name, values in rounds.items() if name.startswith("method ")}
    methods = {name.removeprefix("method "): value for name, value in seconds.items() if name.startswith("method ")}
    peers = {name: value for name, value in seconds.items() if not name.startswith("method ")}
    return {
        "a": case[0],
        "b": case[1],
        "mode": case[2],
        "dtype": case[3],
        "axes": case[4],
        "chosen": table.method,
        "seconds": peers.pop("triarch"),
        "peers": peers,
        "methods": methods,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that matter."""

    def mean(values: list[float]) -> float:
        return math.exp(statistics.fmean(map(math.log, values)))

    best = [min(row["peers"].values()) / row["seconds"] for row in rows]
    auto = [row["peers"]["scipy auto"] / row["seconds"] for row in rows if "scipy auto" in row["peers"]]
    own = [row["methods"][row["chosen"]] / min(row["methods"].values()) for row in rows if row["methods"]]
    return {
        "cases": len(rows),
        "faster than scipy auto, geometric mean": mean(auto),
        "faster than the best peer, geometric mean": mean(best),
        "slowest, times the best peer": 1 / min(best),
        "cases above 1.10 times the best peer": sum(ratio < 1 / 1.1 for ratio in best),
        "share of cases whose choice is within 1.10 of our best method": sum(x <= 1.1 for x in own) / len(own),
    }


def price_of_accuracy(only: str, rounds: int) -> None:
    """What `accuracy="sum"` takes beside `"norm"`, in turn, case after case; and their geometric mean."""
    ratios = []
    for case in cases():
        name = name_of(case)
        if only not in name:
            continue
        a, b = operands(case)
        calls = {way: partial(convolve, a, b, case[2], axes=case[4], accuracy=way) for way in ("sum", "norm")}
        for call in calls.values():
            call()
        seconds = {way: statistics.median(values) for way, values in compare_calls(calls, rounds, BEHIND).items()}
        ratios.append(seconds["sum"] / seconds["norm"])
        methods = [choose_method(a, b, case[2], case[4], accuracy=way) for way in ("sum", "norm")]
        print(f"{name:<44} {seconds['sum'] * 1e3:10.4f} ms {ratios[-1]:6.2f} × {' beside '.join(methods)}", flush=True)
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"{len(ratios)} cases: accuracy='sum' takes {mean:.3f} times as long as 'norm' (geometric mean)")


def main() -> None:
    """Run the grid, print a line for each case, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="cases whose description has this in it")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracy='sum' with 'norm', nothing else")
    arguments = parser.parse_args()
    if arguments.accuracy:
        price_of_accuracy(arguments.only, arguments.rounds)
        return
    rows = []
    for case in cases():
        name = name_of(case)
        if arguments.only not in name:
            continue
        row = run_case(case, arguments.rounds)
        rows.append(row)
        own, peers = row["seconds"], row["peers"]
        fastest = min(peers, key=peers.__getitem__)
        print(
            f"{name:<44} {own * 1e3:10.4f} ms {row['chosen']:<12} {peers[fastest] / own:6.2f} × {fastest:<15}"
            f" {min(row['methods'], key=row['methods'].__getitem__)}",
            flush=True,
        )
    figures = summary(rows)
    for text, value in figures.items():
        print(f"{text}: {value:.3g}")
    if not arguments.only:
        print(record("convolution", figures | {"rows": rows}, ["triarch", "numpy", "scipy", "torch", "numba"]))


if __name__ == "__main__":
    main()
