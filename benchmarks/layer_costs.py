"""How well the method of a layer's convolution is chosen: random layers, each by every method that can do it.

`scripts/bench layer-costs` reports how often the chosen method is within 1.1 times the best one's time, forward with
gradients and forward alone; `--fit` first fits the constants of the cost model, on other layers, and writes
`costs.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from benchmarks.fit_costs import fit
from benchmarks.interleaved import processor, record
from triarch.kernels import ConvSpec, Rectifier, Window, keep_memory
from triarch.kernels.conv import choice
from triarch.kernels.conv.methods import METHODS

LARGEST = 4e9  # multiplications of a forward pass
HOPELESS = 8.0  # times the direct method's prediction: not measured


def layers(count: int, seed: int, depthwise: float = 0.2) -> Iterator[ConvSpec]:
    """Random layers as networks have them, this part of those of several channels depthwise."""
    rng = np.random.default_rng(seed)
    made = 0
    while made < count:
        rank = int(rng.choice([1, 2, 2, 2, 2, 2, 3]))
        channels = int(rng.choice([1, 3, 8, 16, 32, 48, 64, 96, 128, 256]))
        filters = int(rng.choice([8, 16, 32, 48, 64, 96, 128, 256]))
        size = int(
            rng.choice({1: [50, 100, 400, 1000, 4000], 2: [4, 7, 8, 14, 16, 28, 32, 56, 64], 3: [4, 8, 16]}[rank])
        )
        taps = int(rng.choice({1: [1, 3, 5, 7, 15, 63, 255], 2: [1, 3, 3, 3, 3, 5, 7, 11, 21], 3: [1, 3, 3]}[rank]))
        stride = int(rng.choice([1, 1, 1, 2]))
        batch = int(rng.choice([1, 8, 16, 32, 64, 128]))
        is_depthwise = channels > 3 and rng.random() < depthwise
        padding = str(rng.choice(["valid", "same"]))
        finish = Rectifier() if rng.random() < 0.7 else torch.Tensor.contiguous
        groups = channels if is_depthwise else 1
        window = Window((taps,) * rank, (stride,) * rank, (1,) * rank, padding, "channels_last", channels)
        shape = (batch, *(size,) * rank, channels)
        spec = ConvSpec(
            shape,
            window,
            groups,
            channels if is_depthwise else filters,
            finish,
            threads=torch.get_num_threads(),
            learns=bool(rng.random() < 0.7),
            calls=10**9,
        )
        if taps > size:
            continue
        products = batch * math.prod(spec.output_sizes) * taps**rank * spec.filters * channels // groups
        if 1e5 < products < LARGEST / (1 if groups == 1 else 10):
            made += 1
            yield spec


def operands(spec: ConvSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers for it, laid out as a layer's are."""
    generator = torch.Generator().manual_seed(0)
    sizes = (spec.filters, *spec.window.sizes, spec.channels // spec.groups)
    inputs, kernel, bias = (
        torch.randn(shape, generator=generator, dtype=spec.dtype) for shape in (spec.shape, sizes, (spec.filters,))
    )
    kernel = kernel.movedim(0, -1)
    return tuple(part.requires_grad_(spec.learns) for part in (inputs, kernel, bias))  # type: ignore[return-value]


def seconds_of(spec: ConvSpec, method: str) -> float:
    """The least time of several calls, each with its gradients where the layer learns."""
    convolve = METHODS[method].plan(spec)
    inputs, kernel, bias = operands(spec)

    def call() -> None:
        for part in (inputs, kernel, bias):
            part.grad = None
        outputs = convolve(inputs, kernel, bias)
        if spec.learns:
            outputs.backward(outputs.detach())

    call()
    best, began, rounds = math.inf, time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - began < 0.03 and rounds < 30):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        rounds += 1
        if best > 0.3:
            break
    return best


def _rough_constants() -> choice.Constants:
    """The shipped ones, and small ones for counts that are new."""
    known = choice.shipped()["constants"]
    return {method: defaultdict(lambda: 1e-11, known.get(method, {})) for method in METHODS}


class Pace:
    """How fast the machine is at the moment: shared ones drift, and layers are to be compared with each other."""

    def __init__(self) -> None:
        self._matrix = torch.rand(700, 700)
        self._usual = self._seconds()

    def _seconds(self) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            torch.mm(self._matrix, self._matrix)
            times.append(time.perf_counter() - start)
        return min(times)

    def now(self) -> float:
        """Times the usual time."""
        return self._seconds() / self._usual


def measure(specs: Iterator[ConvSpec]) -> list[tuple[ConvSpec, dict[str, float]]]:
    """Each layer with the seconds of its methods."""
    keep_memory()  # as training does
    rows, pace = [], Pace()
    for spec in specs:
        predicted = choice.predictions(spec, _rough_constants())
        able = [name for name in predicted if predicted[name] < HOPELESS * predicted["direct"]]
        before = pace.now()
        with torch.set_grad_enabled(spec.learns):
            seconds = {name: seconds_of(spec, name) for name in able}
        rows.append((spec, {name: taken / math.sqrt(before * pace.now()) for name, taken in seconds.items()}))
    return rows


def fitted(rows: list[tuple[ConvSpec, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The constants of every method."""
    constants = {}
    for method in METHODS:
        pairs = [(METHODS[method].count(spec), seconds[method]) for spec, seconds in rows if method in seconds]
        constants[method], factor = fit([counts for counts, _ in pairs], [time for _, time in pairs])
        print(f"  {method:<12} {len(pairs):>4} layers, within a factor of {factor:.2f} at the median")
    return constants


def described(spec: ConvSpec) -> str:
    """A layer in a line."""
    window = spec.window
    kind = "training" if spec.learns else "inference"
    return f"{spec.shape} -> {spec.filters}, {window.sizes} by {window.strides}, {spec.groups} groups, {kind}"


def main() -> None:
    """Fit where asked, and report how good the choices are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--layers", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.fit:
        # Two methods do depthwise layers alone, of which there would be too few for their constants.
        few_of_a_kind = layers(arguments.layers // 3, seed=3, depthwise=1.0)
        content = {
            "machine": f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "constants": fitted(measure(chain(layers(arguments.layers, seed=1), few_of_a_kind))),
        }
        choice.COSTS.write_text(json.dumps(content, indent=1) + "\n")
        choice.shipped.cache_clear()
    cases = []
    for spec, seconds in measure(layers(arguments.layers, seed=2)):
        chosen, best = choice.choose(spec), min(seconds, key=seconds.__getitem__)
        ratio = seconds.get(chosen, math.inf) / seconds[best]
        milliseconds = {name: round(1e3 * value, 4) for name, value in seconds.items()}
        cases.append({"layer": described(spec), "chosen": chosen, "ratio_to_best": round(ratio, 3), "ms": milliseconds})
        if ratio > 1.1:
            print(f"{ratio:5.2f} {described(spec)}: {chosen}, best {best}; {milliseconds}")
    good = sum(case["ratio_to_best"] <= 1.1 for case in cases) / len(cases)
    gain = math.exp(np.mean([math.log(case["ms"]["direct"] / case["ms"][case["chosen"]]) for case in cases]))
    print(f"within 1.1 times the best: {good:.1%} of {len(cases)} layers; the geometric mean of the gain is {gain:.2f}")
    print(
        "written to",
        record("layer-costs", {"within_1.1": good, "gain": gain, "cases": cases}, ["triarch", "torch", "numba"]),
    )


if __name__ == "__main__":
    main()
