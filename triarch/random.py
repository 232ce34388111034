"""Random numbers with Keras's names: stateless draws from a seed, and `SeedGenerator` for draws that differ.

`seed` is an int (the same numbers at every call), a `SeedGenerator` (new numbers at every call, reproducible as a
series) or None (new numbers, from the process-wide series that `utils.set_random_seed` starts).
"""

from __future__ import annotations

import random as _python_random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from triarch import config, registry
from triarch.serialization import Configurable
from triarch.tensors import torch_dtype

Shape = Sequence[int]


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and torch, so that a run on the CPU repeats bit for bit."""
    if not hasattr(seed, "__index__") or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1. Received: {seed!r}")
    seed = int(seed)
    _python_random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    _shared_series.cache_clear()


def make_default_seed() -> int:
    """A fresh seed from the process-wide series."""
    return _python_random.randrange(2**31)


@registry.register("keras.random")
class SeedGenerator(Configurable):
    """A reproducible series of random numbers: one `torch.Generator` a device, all started from `seed`."""

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        if seed is not None and not hasattr(seed, "__index__"):
            raise ValueError(f"seed must be an integer or None. Received: {seed!r}")
        self.seed = None if seed is None else int(seed)
        self.name = name or registry.unique_name("seed_generator")
        self._start = make_default_seed() if self.seed is None else self.seed
        self._generators: dict[str, torch.Generator] = {}

    def on(self, device: torch.device | str) -> torch.Generator:
        """The series on `device`, at its present place."""
        device = config.numbered(device)
        key = str(device)
        if key not in self._generators:
            self._generators[key] = torch.Generator(device=device).manual_seed(self._start)
        return self._generators[key]

    def next(self) -> int:
        """An integer seed for one stateless draw."""
        return int(torch.randint(0, 2**31 - 1, (), generator=self.on("cpu")))

    def get_state(self) -> dict[str, Any]:
        """Where the series stands on every device used so far."""
        return {key: generator.get_state() for key, generator in self._generators.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where `get_state` stood."""
        for key, value in state.items():
            self.on(key).set_state(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> SeedGenerator:
        copy = SeedGenerator(self.seed, self.name)
        copy._start = self._start
        copy.set_state(self.get_state())
        memo[id(self)] = copy
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generators": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        series = state.pop("_generators")
        self.__dict__.update(state, _generators={})
        self.set_state(series)


@cache
def _shared_series() -> SeedGenerator:
    return SeedGenerator(make_default_seed(), name="global_seed_generator")


def generator_for(seed: int | SeedGenerator | None, device: torch.device | str | None = None) -> torch.Generator:
    """The torch generator that `seed` stands for (see the module's first lines)."""
    device = device or config.device()
    if isinstance(seed, SeedGenerator):
        return seed.on(device)
    if seed is None:
        return _shared_series().on(device)
    return torch.Generator(device=device).manual_seed(int(seed))


def _dtype(dtype: str | None) -> torch.dtype | None:
    return torch_dtype(dtype or config.floatx())


def normal(
    shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: str | None = None, seed: Any = None
) -> torch.Tensor:
    """Numbers from a normal distribution."""
    out = torch.empty(tuple(shape), dtype=_dtype(dtype), device=config.device())
    return out.normal_(mean, stddev, generator=generator_for(seed))


def uniform(
    shape: Shape, minval: float = 0.0, maxval: float = 1.0, dtype: str | None = None, seed: Any = None
) -> torch.Tensor:
    """Numbers spread evenly over `[minval, maxval)`."""
    out = torch.empty(tuple(shape), dtype=_dtype(dtype), device=config.device())
    return out.uniform_(minval, maxval, generator=generator_for(seed))


def truncated_normal(
    shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: str | None = None, seed: Any = None
) -> torch.Tensor:
    """Numbers from a normal distribution cut off at two standard deviations."""
    out = torch.empty(tuple(shape), dtype=_dtype(dtype), device=config.device())
    lowest, highest = mean - 2 * stddev, mean + 2 * stddev
    return torch.nn.init.trunc_normal_(out, mean, stddev, lowest, highest, generator=generator_for(seed))


def randint(shape: Shape, minval: int, maxval: int, dtype: str = "int32", seed: Any = None) -> torch.Tensor:
    """Integers from `minval` up to, not including, `maxval`."""
    return torch.randint(
        minval, maxval, tuple(shape), dtype=torch_dtype(dtype), device=config.device(), generator=generator_for(seed)
    )


def categorical(logits: torch.Tensor, num_samples: int, dtype: str = "int32", seed: Any = None) -> torch.Tensor:
    """Class numbers `(batch, num_samples)`, drawn with probabilities `softmax(logits)` from `(batch, classes)`."""
    logits = torch.as_tensor(logits, device=config.device())
    drawn = torch.multinomial(
        torch.softmax(logits, -1), num_samples, True, generator=generator_for(seed, logits.device)
    )
    return drawn.to(torch_dtype(dtype))


def bernoulli_mask(
    shape: Shape, keep: float, dtype: torch.dtype, device: torch.device, seed: int | SeedGenerator | None
) -> torch.Tensor:
    """A tensor that is `1 / keep` with probability `keep` and 0 elsewhere: what dropout multiplies with."""
    mask = torch.empty(tuple(shape), dtype=dtype, device=device)
    return mask.bernoulli_(keep, generator=generator_for(seed, device)).div_(keep)


def dropout(inputs: torch.Tensor, rate: float, noise_shape: Shape | None = None, seed: Any = None) -> torch.Tensor:
    """Zero each element with probability `rate` and scale the rest by `1 / (1 - rate)`.

    `noise_shape` is the shape in which elements are dropped together, broadcast over `inputs`; None entries and a
    missing shape take the size from `inputs`.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1]. Received: {rate!r}")
    if rate == 0:
        return inputs
    if rate == 1:
        return torch.zeros_like(inputs)
    wanted = noise_shape or inputs.shape
    shape = [size if size is not None else inputs.shape[axis] for axis, size in enumerate(wanted)]
    return inputs * bernoulli_mask(shape, 1 - rate, inputs.dtype, inputs.device, seed)


def shuffle(x: torch.Tensor, axis: int = 0, seed: Any = None) -> torch.Tensor:
    """The slices of `x` along `axis`, in random order."""
    x = torch.as_tensor(x, device=config.device())
    order = torch.randperm(x.shape[axis], generator=generator_for(seed, x.device), device=x.device)
    return x.index_select(axis, order)


def _spread(value: Any, shape: Shape, dtype: torch.dtype | None) -> torch.Tensor:
    """A number or array of parameters, one for each place of `shape`."""
    return torch.as_tensor(value, dtype=dtype, device=config.device()).expand(tuple(shape))


def gamma(shape: Shape, alpha: Any, dtype: str | None = None, seed: Any = None) -> torch.Tensor:
    """Numbers from the gamma distribution of scale 1; its shape `alpha` is a number, or an array that broadcasts."""
    return torch._standard_gamma(_spread(alpha, shape, _dtype(dtype)), generator=generator_for(seed))


def beta(shape: Shape, alpha: Any, beta: Any, dtype: str | None = None, seed: Any = None) -> torch.Tensor:
    """Numbers in (0, 1) from the beta distribution; arrays `alpha` and `beta` broadcast to `shape`."""
    first_seed, second_seed = (seed, seed) if isinstance(seed, SeedGenerator) or seed is None else (seed, seed + 1)
    first = gamma(shape, alpha, dtype, first_seed)
    return first / (first + gamma(shape, beta, dtype, second_seed))


def binomial(shape: Shape, counts: Any, probabilities: Any, dtype: str | None = None, seed: Any = None) -> torch.Tensor:
    """How many of `counts` trials succeed, each with probability `probabilities`; arrays broadcast to `shape`."""
    trials, chances = (_spread(value, shape, torch.float32) for value in (counts, probabilities))
    return torch.binomial(trials, chances, generator=generator_for(seed)).to(_dtype(dtype))
