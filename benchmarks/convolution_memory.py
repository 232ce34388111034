"""Memory of a long convolution: `scripts/bench convolution-memory`.

10⁸ float32 samples with 1,000 taps; the highest resident memory beyond what the process had before, beside the size of
input and output, and the calls of the progress callback.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from benchmarks.interleaved import record
from triarch.convolution import convolve


def main() -> None:
    """Convolve and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--taps", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    convolve(np.ones(10_000, np.float32), np.ones(arguments.taps, np.float32))  # what is imported and compiled once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    a, b = (rng.standard_normal(size, np.float32) for size in (arguments.samples, arguments.taps))
    reports: list[tuple[int, int]] = []
    start = time.perf_counter()
    result = convolve(a, b, progress=lambda done, total: reports.append((done, total)))
    seconds = time.perf_counter() - start
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    needed = a.nbytes + result.nbytes
    place = arguments.samples // 2
    expected = float(np.dot(a[place - arguments.taps + 1 : place + 1].astype(float), b[::-1].astype(float)))
    if abs(result[place] - expected) > 1e-2:
        raise AssertionError(f"Expected {expected} at {place}. Received: {result[place]}")
    figures = {
        "samples": arguments.samples,
        "taps": arguments.taps,
        "seconds": seconds,
        "input and output, bytes": needed,
        "highest, bytes": highest,
        "highest, times input and output": highest / needed,
        "reports of progress": len(reports),
        "last report": reports[-1],
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(record("convolution-memory", figures, ["triarch", "numpy", "torch", "numba"]))


if __name__ == "__main__":
    main()
