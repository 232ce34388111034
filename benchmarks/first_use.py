"""What compiling costs before the first step: `scripts/bench first-use [--rounds 5]`.

The chapter's network makes a training step and a prediction in a process of its own: with no kernels kept, and again
with those that the first process left. What a step itself takes is taken off.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.interleaved import record
from benchmarks.networks import CASES

NETWORK = "cnn"


def start_up() -> float:
    """Seconds of the first training step and prediction beyond those of the second."""
    import triarch as keras

    case = CASES[NETWORK]
    model = case.build(keras)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    x = np.random.default_rng(0).random((case.batch_size, *case.shape), dtype=np.float32)
    y = np.arange(case.batch_size) % 10
    seconds = []
    with keras.kernels.expecting(10_000):
        for _ in range(2):
            start = time.perf_counter()
            model.train_on_batch(x, y)
            model.predict_on_batch(x)
            seconds.append(time.perf_counter() - start)
    return seconds[0] - seconds[1]


def main() -> None:
    """Start processes in new homes, or be one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(start_up())
        return
    command = [sys.executable, "-m", "benchmarks.first_use", "--worker"]
    found: dict[str, list[float]] = {"first": [], "later": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as home:
            for times in found.values():
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=os.environ | {"TRIARCH_HOME": home}
                )
                times.append(round(float(done.stdout), 3))
    for name, times in found.items():
        print(f"{name:5} {statistics.median(times):6.2f} s (of {' '.join(f'{seconds:.2f}' for seconds in times)})")
    print("written to", record("first-use", {"network": NETWORK, "seconds": found}, ["torch", "numba", "llvmlite"]))


if __name__ == "__main__":
    main()
