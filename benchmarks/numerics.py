"""How large Winograd's rounding errors are beside the direct sum's, over random layers: `scripts/bench numerics`.

Each layer's outputs and gradients are computed in float32 by both and compared with the direct sum in float64; the
ratio of the largest errors stands beside the amplification that `docs/numerics.md` derives.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch

from benchmarks.interleaved import record
from triarch.kernels import ConvSpec, Window
from triarch.kernels.conv.methods import METHODS
from triarch.kernels.conv.winograd.matrices import amplification

NAMES = ("outputs", "input gradient", "kernel gradient")
TAPS = (2, 3, 3, 3, 3, 5)
DEPTHWISE_TAPS = (4, 5, 7, 9, 13)


def random_layer(rng: np.random.Generator, is_depthwise: bool) -> ConvSpec:
    """A small layer: of one or two axes, odd sizes, any number of channels."""
    rank, taps = int(rng.choice([1, 2, 2, 2])), int(rng.choice(DEPTHWISE_TAPS if is_depthwise else TAPS))
    sizes = tuple(int(size) for size in rng.integers(taps, 20, rank))
    channels, filters = (int(number) for number in rng.integers(1, 80, 2))
    groups, filters = (channels, channels) if is_depthwise else (1, filters)
    padding = str(rng.choice(["valid", "same"]))
    window = Window((taps,) * rank, (1,) * rank, (1,) * rank, padding, "channels_last", channels)
    return ConvSpec((int(rng.integers(1, 4)), *sizes, channels), window, groups, filters, torch.Tensor.contiguous)


def methods_of(spec: ConvSpec) -> list[tuple[str, str, float]]:
    """The tiles to compare: their name, the method, and its amplification."""
    if spec.groups > 1:
        return [("F(4, 4) of single channels", "winograd_depthwise", amplification(4, 4))]
    taps = spec.window.sizes[0]
    return [
        (f"F({tile}, {taps}) in {spec.rank} axes", f"winograd_{tile}", amplification(tile, taps) ** spec.rank)
        for tile in (2, 4)
    ]


def results(method: str, spec: ConvSpec, dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
    """Outputs and gradients, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    spec = spec._replace(dtype=dtype)
    shapes = (spec.shape, (spec.filters, *spec.window.sizes, spec.channels // spec.groups))
    inputs, kernel = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    outputs = METHODS[method].plan(spec)(inputs, kernel.movedim(0, -1), None)
    gradient = torch.randn(outputs.shape, generator=generator).to(dtype)
    return [part.detach().double() for part in (outputs, *torch.autograd.grad(outputs, (inputs, kernel), gradient))]


def main() -> None:
    """Measure, show and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=1000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(5)
    ratios: dict[tuple[str, float], list[list[float]]] = {}
    for seed in range(arguments.layers):
        spec = random_layer(rng, is_depthwise=seed % 8 == 7)
        truth = results("direct", spec, torch.float64, seed)
        peer = results("direct", spec, torch.float32, seed)
        for name, method, factor in methods_of(spec):
            ours = results(method, spec, torch.float32, seed)
            found = [
                float((mine - true).abs().max() / (theirs - true).abs().max().clamp(min=1e-7 * float(true.abs().max())))
                for mine, theirs, true in zip(ours, peer, truth, strict=True)
            ]
            ratios.setdefault((name, factor), []).append(found)
    rows = []
    for (name, factor), found in sorted(ratios.items()):
        largest = {of: round(max(row[place] for row in found), 2) for place, of in enumerate(NAMES)}
        median = round(statistics.median(row[0] for row in found), 2)
        row = {"tile": name, "layers": len(found), "amplification": round(factor, 1)}
        rows.append(row | {"median_ratio": median, "largest_ratio": largest})
        print(
            f"{name}, {len(found):4} layers: amplification {factor:6.1f}; the outputs' error is "
            f"{median} times the direct sum's at the median, at most {largest}"
        )
    print("written to", record("numerics", {"layers": arguments.layers, "rows": rows}, ["triarch", "torch", "numba"]))


if __name__ == "__main__":
    main()
