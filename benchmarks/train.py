"""How long a step takes, in training and in inference: triarch beside PyTorch by hand and Keras on its three backends.

Every side runs the same network (`benchmarks/networks.py`) on the same random data. Training is with Adam, and keeps a
running loss and accuracy; PyTorch's loop has channels last, fused Adam and, as another side, `torch.compile`. Usage:
`scripts/bench train [--cases cnn mlp] [--sides triarch torch] [--tasks training] [--rounds 7]`; `scripts/bench --peers
train` installs the peers first.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import statistics
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np

from benchmarks.interleaved import RESULTS, Worker, compare, median_ratio, record, serve
from benchmarks.networks import CASES, TASKS, Case

SIDES: dict[str, dict[str, str]] = {  # side -> environment of its process
    "triarch": {},
    "torch": {},
    "torch-compile": {},
    "keras-torch": {"KERAS_BACKEND": "torch"},
    "keras-jax": {"KERAS_BACKEND": "jax"},
    "keras-tensorflow": {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
}
_STEPS = 10_000
PATIENCE = 20.0  # times as long as triarch in the first round: a side takes no part in the others


class Measured(Protocol):
    """What is compared: for these tasks, so many steps in a run."""

    @property
    def steps(self) -> int: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...


def run_of(side: str, case: Case, task: str) -> Callable[[], Any]:
    """A function that goes through `case.steps` batches."""
    x, y = case.data()
    if side.startswith("torch"):
        return _torch_loop(case, x, y, task, is_compiled=side == "torch-compile")
    return _keras_loop(side, case, x, y, task)


def _torch_loop(case: Case, x: np.ndarray, y: np.ndarray, task: str, is_compiled: bool) -> Callable[[], Any]:
    """The loop that a careful user of PyTorch writes: data in memory, channels-last, no host read inside an epoch."""
    import torch

    inputs = torch.from_numpy(x)
    if inputs.ndim > 2 and case.is_convolutional:
        inputs = inputs.movedim(-1, 1)
    labels = torch.from_numpy(y)
    model = case.build_torch()
    if inputs.ndim == 4:
        model = model.to(memory_format=torch.channels_last)
    call = torch.compile(model) if is_compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def train() -> float:
        model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs), case.batch_size):
            rows = order[start : start + case.batch_size]
            batch, targets = inputs[rows], labels[rows]
            logits = call(batch)
            loss = torch.nn.functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            correct += (logits.detach().argmax(1) == targets).sum()
        return total.item() / len(inputs)

    def infer() -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            return torch.cat([call(batch).softmax(1) for batch in inputs.split(case.batch_size)]).numpy()

    return train if task == "training" else infer


def _keras_loop(side: str, case: Case, x: np.ndarray, y: np.ndarray, task: str) -> Callable[[], Any]:
    keras = importlib.import_module("triarch" if side == "triarch" else "keras")
    # A run stands for a part of a longer one: that is what triarch weighs the start of compiled code against.
    expecting = keras.kernels.expecting if side == "triarch" else nullcontext
    model = case.build(keras)

    def infer() -> Any:
        with expecting(_STEPS):
            return model.predict(x, batch_size=case.batch_size, verbose=0)

    def train() -> Any:
        with expecting(_STEPS):
            return model.fit(x, y, batch_size=case.batch_size, epochs=1, verbose=0)

    if task == "inference":
        return infer
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return train


def main(
    name: str = "train",
    cases: Mapping[str, Measured] = CASES,
    run_of: Callable[[str, Any, str], Callable[[], Any]] = run_of,
    description: str | None = __doc__,
) -> None:
    """Compare the sides and write the result file; or be a worker.

    Args:
        name: Of the benchmark, its module and its record.
        run_of: From side, case and task to a function that goes through the batches.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "CASE", "TASK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        side, case, task = arguments.worker
        serve(run_of(side, cases[case], task), warm_ups=1)
        return
    packages = ["triarch", "torch", "numba", "keras", "jax", "tensorflow-cpu", "numpy"]
    results = _cases_of_today(name)
    for case in arguments.cases:
        for task in arguments.tasks:
            if task in cases[case].tasks:
                found = _compare_case(name, case, cases[case], task, arguments.sides, arguments.rounds)
                results[f"{case} {task}"] = found
                path = record(name, {"cases": results}, packages)
    print("written to", path)


def _cases_of_today(name: str) -> dict[str, Any]:
    """What this day's record holds already: cases that are not measured again stay in it."""
    path = RESULTS / f"{name}-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}.json"
    return json.loads(path.read_text())["cases"] if path.exists() else {}


def _compare_case(
    benchmark: str, name: str, case: Measured, task: str, sides: list[str], rounds: int
) -> dict[str, Any]:
    workers = []
    for side in sides:
        worker = Worker(side, f"benchmarks.{benchmark}", ["--worker", side, name, task], SIDES[side])
        if worker.error is None:
            workers.append(worker)
        else:
            print(f"{name} {task}: {side} is left out: {worker.error}")
    seconds = compare(workers[:1], 1)
    limit = PATIENCE * seconds[workers[0].name][0]
    first = compare(workers, 1)
    quick = [worker for worker in workers if first[worker.name][0] < limit]
    seconds = {worker.name: first[worker.name] for worker in workers if worker not in quick}
    seconds |= compare(quick, rounds)
    for worker in workers:
        worker.close()
    peers = {side: statistics.median(times) for side, times in seconds.items() if side != "triarch"}
    best = min(peers, key=peers.__getitem__) if peers else "triarch"
    rows = {}
    for side, times in seconds.items():
        milliseconds = [1e3 * time / case.steps for time in times]
        base = seconds[best] if len(seconds[best]) == len(times) else [statistics.median(seconds[best])] * len(times)
        ratio = median_ratio(base, times)
        rows[side] = {
            "median_ms_per_step": round(statistics.median(milliseconds), 4),
            "min_ms_per_step": round(min(milliseconds), 4),
            "rounds": len(times),
            "times_as_fast_as_the_best_peer": round(ratio, 3),
        }
        print(
            f"{name:10} {task:10} {side:17} {statistics.median(milliseconds):10.3f} ms/step "
            f"(min {min(milliseconds):10.3f})  {ratio:6.2f} times as fast as {best}",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
