"""How well the method of a layer's convolution is chosen: random layers, each by every method that can do it.

`scripts/bench layer-costs` reports how often the chosen method is within 1.1 times the best one's time, forward with
gradients and forward alone; `--fit 1000` first fits the constants of the cost model and its corrections on that many
other layers, and a quarter as many depthwise ones, and writes `costs.json`; `--fit 1000 --only narrow` fits the
constants of that method alone, on those of the layers that it can do, and leaves the rest of the file as it is.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fit_costs import fit
from benchmarks.interleaved import processor, record
from triarch.kernels import ConvSpec, Rectifier, Window, keep_memory
from triarch.kernels.conv import choice, cost
from triarch.kernels.conv.methods import METHODS, Convolve

LARGEST = 4e9  # multiplications of a forward pass
HOPELESS = 8.0  # times the direct method's prediction: not measured
SPENT = 0.15  # seconds for the rounds of a layer
BEHIND = 1.6  # times the best: out of the further rounds
LARGEST_CORRECTION = 1.5  # of a logarithm: larger ones are sudden, and say little of other layers
NOISE = 0.2  # of one measurement's correction, as a part of the corrections' variance


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
        learns = bool(rng.random() < 0.7)
        is_first = bool(rng.random() < (0.8 if channels <= 3 else 0.1))
        spec = ConvSpec(
            shape,
            window,
            groups,
            channels if is_depthwise else filters,
            finish,
            threads=torch.get_num_threads(),
            learns=learns,
            calls=10**9,
            is_first=learns and is_first,
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
    wanted = (spec.gradients == 2, spec.learns, spec.learns)
    return tuple(part.requires_grad_(it) for part, it in zip((inputs, kernel, bias), wanted, strict=True))  # type: ignore[return-value]


def seconds_of(spec: ConvSpec, methods: list[str]) -> dict[str, float]:
    """The least time of several calls by each method in turn, each with its gradients where the layer learns.

    In turn, because the machine's pace changes; those that are far behind take part in the first rounds only.
    """
    inputs, kernel, bias = operands(spec)

    def once(convolve: Convolve) -> float:
        for part in (inputs, kernel, bias):
            part.grad = None
        start = time.perf_counter()
        outputs = convolve(inputs, kernel, bias)
        if spec.learns:
            outputs.backward(outputs.detach())
        return time.perf_counter() - start

    plans = {name: METHODS[name].plan(spec) for name in methods}
    for convolve in plans.values():
        once(convolve)
    best, began, rounds = dict.fromkeys(methods, math.inf), time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - began < SPENT and rounds < 30):
        first = min(best.values())
        for name, convolve in plans.items():
            if rounds < 2 or best[name] < BEHIND * first:
                best[name] = min(best[name], once(convolve))
        rounds += 1
    return best


def _rough_constants() -> cost.Constants:
    """The shipped ones, and small ones for counts that are new."""
    known = cost.shipped().constants
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
        able = [name for name, method in METHODS.items() if method.refuse(spec) is None]
        predicted = {name: cost.counted_seconds(name, spec, _rough_constants()) for name in able}
        able = [name for name in able if predicted[name] < HOPELESS * predicted["direct"]]
        before = pace.now()
        with torch.set_grad_enabled(spec.learns):
            seconds = seconds_of(spec, able)
        rows.append((spec, {name: taken / math.sqrt(before * pace.now()) for name, taken in seconds.items()}))
    return rows


def fitted(rows: list[tuple[ConvSpec, dict[str, float]]]) -> dict[str, Any]:
    """The constants of every method, and what each layer says of the methods that it was measured by."""
    constants: cost.Constants = {}
    layers: list[dict[str, Any]] = [{"at": cost.likeness(spec), "weights": {}} for spec, _ in rows]
    for method in METHODS:
        measured = [number for number, (_, seconds) in enumerate(rows) if method in seconds]
        specs, seconds = [rows[number][0] for number in measured], [rows[number][1][method] for number in measured]
        constants[method], weights = fitted_method(method, specs, seconds)
        for number, weight in zip(measured, weights, strict=True):
            layers[number]["weights"][method] = weight
    return {"constants": constants, "layers": layers}


def fitted_method(method: str, specs: list[ConvSpec], seconds: list[float]) -> tuple[dict[str, float], list[float]]:
    """The constants of a method, and what each layer says of it."""
    constants, _ = fit([METHODS[method].count(spec) for spec in specs], seconds)
    counted = np.array([cost.counted_seconds(method, spec, {method: constants}) for spec in specs])
    beyond = np.clip(np.log(np.array(seconds) / np.maximum(counted, 1e-7)), -LARGEST_CORRECTION, LARGEST_CORRECTION)
    points = np.array([cost.likeness(spec) for spec in specs])
    close = cost.closeness(points, points)
    weights = np.linalg.solve(close + NOISE * np.eye(len(specs)), beyond)
    factors = [float(np.median(np.exp(np.abs(error)))) for error in (beyond, beyond - close @ weights)]
    print(f"  {method:<18} {len(seconds):>4} layers, at the median off by {factors[0]:.2f} and {factors[1]:.2f} times")
    return constants, [round(float(weight), 3) for weight in weights]


def with_method(name: str, content: dict[str, Any], specs: Iterator[ConvSpec]) -> dict[str, Any]:
    """The file's content with this method fitted anew, by those layers that it can do.

    Each is measured beside the vendor's: what the file predicts for the vendor's tells how fast the machine is against
    that of the other constants.
    """
    able = [spec for spec in specs if METHODS[name].refuse(spec) is None]
    measured = [seconds_of(spec, ["direct", name]) for spec in able]
    usual = [cost.shipped().predict_seconds(spec)["direct"] for spec in able]
    seconds = [own[name] / own["direct"] * vendor for own, vendor in zip(measured, usual, strict=True)]
    constants, weights = fitted_method(name, able, seconds)
    others = [layer for layer in content["layers"] if layer["weights"].pop(name, None) is None or layer["weights"]]
    own = [{"at": cost.likeness(spec), "weights": {name: weight}} for spec, weight in zip(able, weights, strict=True)]
    return content | {"constants": content["constants"] | {name: constants}, "layers": others + own}


def written(content: dict[str, Any]) -> str:
    """As JSON, with a line for each layer."""
    layers = ",\n".join(f"  {json.dumps(layer)}" for layer in content["layers"])
    rest = json.dumps(content | {"layers": []}, indent=1)
    return rest.replace('"layers": []', f'"layers": [\n{layers}\n ]') + "\n"


def described(spec: ConvSpec) -> str:
    """A layer in a line."""
    window = spec.window
    kind = ("inference", "training of a first layer", "training")[spec.gradients]
    return f"{spec.shape} -> {spec.filters}, {window.sizes} by {window.strides}, {spec.groups} groups, {kind}"


def main() -> None:
    """Fit where asked, and report how good the choices are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", type=int, default=0, metavar="LAYERS", help="first, on so many others")
    parser.add_argument("--only", choices=sorted(METHODS.keys() - {"direct"}), help="fit this method's constants alone")
    parser.add_argument("--layers", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.fit and arguments.only:
        content = json.loads(cost.PATH.read_text())
        cost.PATH.write_text(written(with_method(arguments.only, content, layers(arguments.fit, seed=1))))
        cost.shipped.cache_clear()
    elif arguments.fit:
        # Two methods do depthwise layers alone, of which there would be too few for their constants.
        few_of_a_kind = layers(arguments.fit // 4, seed=3, depthwise=1.0)
        machine = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        content = fitted(measure(chain(layers(arguments.fit, seed=1), few_of_a_kind)))
        cost.PATH.write_text(written({"machine": machine} | content))
        cost.shipped.cache_clear()
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
