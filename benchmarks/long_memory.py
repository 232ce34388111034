"""What recurrent networks remember: the adding problem, and how gradients fade: `scripts/bench long-memory`.

A series has a random number and a mark at each step; two steps are marked, and the sum of their two numbers is asked
for at the end. Who answers 1 always is off by 1/6 in the mean square. Source: Hochreiter and Schmidhuber, "Long
Short-Term Memory" (1997). A record and a figure are written; `--figure-only` draws the newest record again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import triarch
from benchmarks.interleaved import RESULTS, record
from triarch import layers, optimizers, utils

FIGURE = RESULTS / "long-memory.png"
BATCH, UNITS = 64, 64
CELLS = {"SimpleRNN": layers.SimpleRNN, "LSTM": layers.LSTM}


def series(rng: np.random.Generator, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Series `(count, length, 2)` of numbers and marks, and the sums of the marked numbers."""
    numbers = rng.random((count, length), dtype=np.float32)
    marks = np.zeros_like(numbers)
    rows, half = np.arange(count), length // 2
    marks[rows, rng.integers(0, half, count)] = 1
    marks[rows, rng.integers(half, length, count)] = 1
    return np.stack([numbers, marks], -1), (numbers * marks).sum(1, keepdims=True)


class _Fresh(utils.PyDataset):
    """New series in every batch."""

    def __init__(self, length: int, steps: int, seed: int) -> None:
        super().__init__()
        self.length, self.steps, self.seed = length, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return series(np.random.default_rng((self.seed, index)), BATCH, self.length)


def network(kind: str) -> Any:
    """A recurrent layer, and a number from its last output."""
    return triarch.Sequential([layers.Input((None, 2)), CELLS[kind](UNITS), layers.Dense(1)])


def gradients(model: Any, x: np.ndarray) -> list[float]:
    """The norm of the gradient of the last output with respect to the input at each step, mean over series."""
    inputs = torch.from_numpy(x).requires_grad_()
    state = model.layers[0](inputs)
    (found,) = torch.autograd.grad(state.square().sum(), inputs)
    return [float(f"{norm:.3g}") for norm in found.norm(dim=-1).mean(0).tolist()]


def experiment(kind: str, length: int, steps: int, seed: int) -> dict[str, Any]:
    """Errors on 1,000 new series while it learns; gradients before and after; and what another order changes."""
    utils.set_random_seed(seed)
    model = network(kind)
    x, y = series(np.random.default_rng(10_000 + seed), 1_000, length)
    model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(2e-3, steps), clipnorm=1.0), "mse")
    before = gradients(model, x[:100])
    errors, at_a_time = [], steps // 20
    with triarch.kernels.expecting(steps):
        for number in range(20):
            model.fit(_Fresh(length, at_a_time, 1_000 * seed + number), verbose=0)
            errors.append(round(float(model.evaluate(x, y, batch_size=250, verbose=0)), 5))
            print(kind, length, errors[-1], flush=True)
    changed = np.abs(model.predict(x[:, ::-1].copy(), verbose=0) - model.predict(x, verbose=0)).mean()
    print(f"{kind:10} {length} steps: error {errors[-1]}, by time {errors}", flush=True)
    return {
        "errors": errors,
        "steps_of_training": steps,
        "gradients_before": before,
        "gradients_after": gradients(model, x[:100]),
        "change_of_the_output_in_reversed_order": round(float(changed), 5),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Errors while learning, and gradients by their distance from the end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lengths = sorted({int(name.split()[1]) for name in results})
    figure, axes = plt.subplots(1, 1 + len(lengths), figsize=(4.4 * (1 + len(lengths)), 3.6), layout="constrained")
    for name, found in results.items():
        steps = np.linspace(0, found["steps_of_training"], len(found["errors"]) + 1)[1:]
        kind, length = name.split()
        axes[0].plot(
            steps, found["errors"], label=f"{kind}, {length} steps", color="C0" if kind == "LSTM" else "C1",
            linestyle="-" if int(length) == lengths[0] else "--",
        )  # fmt: skip
    axes[0].axhline(1 / 6, color="0.6", linewidth=1, linestyle=":")
    axes[0].text(0, 1 / 6, " always 1", va="bottom", color="0.4", fontsize=8)
    axes[0].set(xlabel="training steps", ylabel="mean squared error", title="The adding problem", yscale="log")
    axes[0].legend(frameon=False, fontsize=8)
    for axis, length in zip(axes[1:], lengths, strict=True):
        for kind, colour in (("LSTM", "C0"), ("SimpleRNN", "C1")):
            for when, style in (("before", ":"), ("after", "-")):
                norms = results[f"{kind} {length}"][f"gradients_{when}"][::-1]
                axis.plot(np.maximum(norms, 1e-30), style, color=colour, label=f"{kind} {when} training")
        axis.set(xlabel="steps before the end", ylabel="gradient by the input", yscale="log", title=f"{length} steps")
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run what is asked for, write the record, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", nargs="+", type=int, default=[200, 400])
    parser.add_argument("--steps", nargs="+", type=int, default=[5_000, 15_000], help="of training, for each length")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figure-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.figure_only:
        path = max(RESULTS.glob("long-memory-*.json"))
        results = json.loads(path.read_text())["results"]
    else:
        results = {
            f"{kind} {length}": experiment(kind, length, steps, arguments.seed)
            for length, steps in zip(arguments.lengths, arguments.steps, strict=True)
            for kind in CELLS
        }
        path = record("long-memory", {"results": results, "seed": arguments.seed}, ["triarch", "torch", "numba"])
    draw(results, FIGURE)
    print("written to", path, "and", FIGURE)


if __name__ == "__main__":
    main()
