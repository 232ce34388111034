"""How long a training step takes: triarch beside hand-written PyTorch and Keras on its three backends.

Every side trains the same network (a CNN for MNIST with 260,298 weights or a 64-64-10 MLP) with Adam on the same
shuffled random data and keeps a running loss and accuracy. Usage: `scripts/bench fit [--cases cnn mlp]
[--sides triarch torch] [--rounds 9]`; `scripts/bench --peers fit` installs the peers first.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.interleaved import Worker, compare, median_ratio, record, serve

SIDES = {  # side -> environment of its process
    "torch": {},
    "triarch": {},
    "keras-torch": {"KERAS_BACKEND": "torch"},
    "keras-jax": {"KERAS_BACKEND": "jax"},
    "keras-tensorflow": {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
}


@dataclass(frozen=True)
class Case:
    """A network and the size of its data."""

    shape: tuple[int, ...]
    batch_size: int
    steps: int
    build: Callable[[Any], list[Any]]
    build_torch: Callable[[], Any]


def _cnn(keras: Any) -> list[Any]:
    layers = keras.layers
    return [
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
        layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def _mlp(keras: Any) -> list[Any]:
    return [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]


def _torch_cnn() -> Any:
    import torch
    from torch import nn

    model = nn.Sequential(
        *(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Conv2d(128, 128, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )
    return model.to(memory_format=torch.channels_last)


def _torch_mlp() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


CASES = {
    "cnn": Case((28, 28, 1), 128, 4, _cnn, _torch_cnn),
    "mlp": Case((64,), 32, 1000, _mlp, _torch_mlp),
}


def run_of(side: str, case: Case) -> Callable[[], Any]:
    """A function that trains for `case.steps` steps."""
    rng = np.random.default_rng(0)
    x = rng.random((case.steps * case.batch_size, *case.shape), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    return _torch_loop(case, x, y) if side == "torch" else _keras_fit(side, case, x, y)


def _torch_loop(case: Case, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """The loop that a careful user of PyTorch writes: data in memory, channels-last, no host read inside an epoch."""
    import torch

    images = torch.from_numpy(x)
    if images.ndim == 4:
        images = images.permute(0, 3, 1, 2)
    labels = torch.from_numpy(y)
    model = case.build_torch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> float:
        model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        order = torch.randperm(len(images))
        for start in range(0, len(images), case.batch_size):
            rows = order[start : start + case.batch_size]
            batch, targets = images[rows], labels[rows]
            logits = model(batch)
            loss = torch.nn.functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            correct += (logits.detach().argmax(1) == targets).sum()
        return total.item() / len(images)

    return run


def _keras_fit(side: str, case: Case, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    keras = importlib.import_module("triarch" if side == "triarch" else "keras")
    model = keras.Sequential([keras.layers.Input(shape=case.shape), *case.build(keras)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return lambda: model.fit(x, y, batch_size=case.batch_size, epochs=1, verbose=0)


def main() -> None:
    """Compare the sides and write the result file; or be a worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", nargs=2, metavar=("SIDE", "CASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        side, case = arguments.worker
        serve(run_of(side, CASES[case]))
        return
    results = {name: _compare_case(name, arguments.sides, arguments.rounds) for name in arguments.cases}
    packages = ["triarch", "torch", "keras", "jax", "tensorflow-cpu", "numpy"]
    print("written to", record("fit", {"rounds": arguments.rounds, "cases": results}, packages))


def _compare_case(name: str, sides: list[str], rounds: int) -> dict[str, Any]:
    case = CASES[name]
    workers = []
    for side in sides:
        worker = Worker(side, "benchmarks.fit", ["--worker", side, name], SIDES[side])
        if worker.error is None:
            workers.append(worker)
        else:
            print(f"{name}: {side} is left out: {worker.error}")
    seconds = compare(workers, rounds)
    for worker in workers:
        worker.close()
    base = "torch" if "torch" in seconds else next(iter(seconds))
    rows = {}
    for side, times in seconds.items():
        milliseconds = [1e3 * time / case.steps for time in times]
        rows[side] = {
            "median_ms_per_step": round(statistics.median(milliseconds), 4),
            "min_ms_per_step": round(min(milliseconds), 4),
            f"median_ratio_to_{base}": round(median_ratio(times, seconds[base]), 3),
        }
        print(
            f"{name:4} {side:17} {statistics.median(milliseconds):9.3f} ms/step (min {min(milliseconds):9.3f})"
            f"  {median_ratio(times, seconds[base]):6.2f} × {base}"
        )
    return rows


if __name__ == "__main__":
    main()
