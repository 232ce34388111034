"""The peak memory of training, by the chosen methods and by the vendor's: `scripts/bench train-memory`.

The chapter's network. Each side is a process of its own, which makes the same steps; its peak is what the system says
at the end.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np

from benchmarks.interleaved import record
from benchmarks.networks import CASES

METHODS = ("auto", "direct")
NETWORK, STEPS = "cnn", 6


def peak(method: str) -> tuple[float, float]:
    """MiB before the first step, and at the peak."""
    import triarch as keras

    case = CASES[NETWORK]
    rng = np.random.default_rng(0)
    x = rng.random((STEPS * case.batch_size, *case.shape), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    model = case.build(keras)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with keras.kernels.use(method), keras.kernels.expecting(10_000):
        model.fit(x, y, batch_size=case.batch_size, epochs=2, verbose=0)
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure each method in a process of its own, or be one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", choices=METHODS, help=argparse.SUPPRESS)
    worker = parser.parse_args().worker
    if worker:
        print(*peak(worker))
        return
    found = {}
    for method in METHODS:
        command = [sys.executable, "-m", "benchmarks.train_memory", "--worker", method]
        subprocess.run(command, check=True, capture_output=True)  # what has to be compiled is compiled here
        before, at_peak = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        found[method] = {"before_mib": round(before), "peak_mib": round(at_peak)}
        print(f"{method:7} {before:7.0f} MiB before the first step, {at_peak:7.0f} MiB at the peak")
    ratio = found["auto"]["peak_mib"] / found["direct"]["peak_mib"]
    print(f"the chosen methods' peak is {ratio:.2f} times the vendor's")
    print(
        "written to", record("train-memory", {"network": NETWORK, "peaks": found, "ratio": round(ratio, 3)}, ["torch"])
    )


if __name__ == "__main__":
    main()
