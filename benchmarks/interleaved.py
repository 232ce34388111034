"""Times several sides of a comparison in turn, so that a machine whose speed drifts is fair to all of them.

Each side lives in a process of its own (`Worker`), set up and warmed up once; then rounds go A B C, A B C, ... and each
round times one run of each side while the others wait. What is reported is the median over the rounds and the median of
the ratios round by round. Sides that are short calls of one process go to `compare_calls`.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Worker:
    """A side in its own process: `module` run with `arguments`, which must call `serve`."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process, which a full pipe would stop
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | environment,
        )
        answer = self._read()
        self.error = None if answer == "ready" else answer

    def _read(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # libraries may print: only marked lines are answers
            if line.startswith("#answer "):
                return line.removeprefix("#answer ").strip()
        self._process.wait()
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["ended without a word"])[-1]

    def run(self) -> float:
        """Seconds of one run."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._read()
        try:
            return float(answer)
        except ValueError:
            raise RuntimeError(f"The process of {self.name!r} ended during the comparison: {answer}") from None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve(run: Callable[[], Any], warm_ups: int = 2) -> None:
    """In a worker: run whenever asked, and answer with the seconds it took."""
    for _ in range(warm_ups):
        run()
    print("#answer ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(f"#answer {time.perf_counter() - start}", flush=True)


def compare(workers: Sequence[Worker], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round."""
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            seconds[worker.name].append(worker.run())
    return seconds


def compare_calls(
    calls: Mapping[str, Callable[[], Any]], rounds: int, hopeless: float = 20.0, least_seconds: float = 1e-3
) -> dict[str, list[float]]:
    """Seconds per call of each side in each round, all in this process; each side must have been called before.

    Args:
        hopeless: A side that takes this many times as long as the best in a warm-up round is left out of the rounds and
            has that one time. Calls above a second take part in at most three rounds.
        least_seconds: A timing repeats short calls until it takes about as long.
    """
    estimates = {name: _time_call(call, 1) for name, call in calls.items()}
    repeats = {name: max(1, math.ceil(least_seconds / seconds)) for name, seconds in estimates.items()}
    warm_up = {
        name: min(estimates[name], _time_call(call, repeats[name])) if estimates[name] < 1 else estimates[name]
        for name, call in calls.items()
    }
    best = min(warm_up.values())
    seconds = {name: [taken] for name, taken in warm_up.items() if taken > hopeless * best}
    for completed in range(rounds):
        for name, call in calls.items():
            if warm_up[name] <= hopeless * best and (warm_up[name] < 1 or completed < 3):
                if warm_up[name] < 10e-3:
                    call()  # untimed: the side before has left its own data in the caches
                seconds.setdefault(name, []).append(_time_call(call, repeats[name]))
    return {name: seconds[name] for name in calls}


def _time_call(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, the mean of several."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def median_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """The median over the rounds of first / second."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def record(benchmark: str, content: dict[str, Any], packages: Sequence[str]) -> Path:
    """Write a result file with the machine and the versions; returns its path."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    now = datetime.datetime.now(datetime.UTC)
    document = {
        "benchmark": benchmark,
        "date": now.isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": versions,
        **content,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}-{now:%Y-%m-%d}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def processor() -> str:
    """The name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
