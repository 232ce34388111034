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


def random_layer(rng: np.random.Generator) -> ConvSpec:
    """A small layer: of one or two axes, odd sizes, any number of channels."""
    rank, taps = int(rng.choice([1, 2, 2, 2])), int(rng.choice(TAPS))
    sizes = tuple(int(size) for size in rng.integers(taps, 20, rank))
    channels, filters = (int(number) for number in rng.integers(1, 80, 2))
    padding = str(rng.choice(["valid", "same"]))
    window = Window((taps,) * rank, (1,) * rank, (1,) * rank, padding, "channels_last", channels)
    return ConvSpec((int(rng.integers(1, 4)), *sizes, channels), window, 1, filters, torch.Tensor.contiguous)


def results(method: str, spec: ConvSpec, dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
    """Outputs and gradients, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    spec = spec._replace(dtype=dtype)
    shapes = (spec.shape, (spec.filters, *spec.window.sizes, spec.channels))
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
    ratios: dict[tuple[str, int, int], list[list[float]]] = {}
    for seed in range(arguments.layers):
        spec = random_layer(rng)
        truth = results("direct", spec, torch.float64, seed)
        peer = results("direct", spec, torch.float32, seed)
        for tile in (2, 4):
            ours = results(f"winograd_{tile}", spec, torch.float32, seed)
            found = [
                float((mine - true).abs().max() / (theirs - true).abs().max().clamp(min=1e-7 * float(true.abs().max())))
                for mine, theirs, true in zip(ours, peer, truth, strict=True)
            ]
            ratios.setdefault((f"F({tile}, {spec.window.sizes[0]})", spec.rank, tile), []).append(found)
    rows = []
    for (name, rank, tile), found in sorted(ratios.items()):
        taps = int(name[-2])
        factor = amplification(tile, taps) ** rank
        largest = {of: round(max(row[place] for row in found), 2) for place, of in enumerate(NAMES)}
        median = round(statistics.median(row[0] for row in found), 2)
        row = {"tile": name, "axes": rank, "layers": len(found), "amplification": round(factor, 1)}
        rows.append(row | {"median_ratio": median, "largest_ratio": largest})
        print(
            f"{name} in {rank} axes, {len(found):4} layers: amplification {factor:6.1f}; the outputs' error is "
            f"{median} times the direct sum's at the median, at most {largest}"
        )
    print("written to", record("numerics", {"layers": arguments.layers, "rows": rows}, ["triarch", "torch", "numba"]))


if __name__ == "__main__":
    main()
