"""Learning rates as functions of the step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, cos, floor, log, pi
from typing import Any

import numpy as np
import torch

from triarch import registry
from triarch.serialization import Configurable, Lookup

FAMILY = "keras.optimizers.schedules"


@registry.register(FAMILY)
class LearningRateSchedule(Configurable):
    """Base class: one of your own overrides `__call__`, which is given the optimizer's step count (a 0-d tensor)."""

    def __call__(self, step: Any) -> Any:
        """The learning rate of step `step`, counted from 0."""
        raise NotImplementedError(f"Learning rate schedule {type(self).__name__} must override `__call__(self, step)`.")

    def value_at(self, iterations: torch.Tensor) -> float:
        """The learning rate as a Python number."""
        return float(self(iterations))


class _Formula(LearningRateSchedule):
    """A schedule written as a formula in Python numbers; tensors and arrays of steps are mapped element by element."""

    def rate(self, step: float) -> float:
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        if isinstance(step, (torch.Tensor, np.ndarray)):
            rates = [self.rate(value) for value in step.reshape(-1).tolist()]
            return torch.tensor(rates).reshape(tuple(step.shape))
        return self.rate(step)

    def value_at(self, iterations: torch.Tensor) -> float:
        return self.rate(int(iterations))


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0. Received: {value!r}")


@registry.register(FAMILY)
class ExponentialDecay(_Formula):
    """initial · decay_rate ^ (step / decay_steps); the exponent rounded down where `staircase` is set."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def rate(self, step: float) -> float:
        periods = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (floor(periods) if self.staircase else periods)


@registry.register(FAMILY)
class PiecewiseConstantDecay(_Formula):
    """`values[0]` up to and including step `boundaries[0]`, then `values[1]` up to `boundaries[1]`, and so on."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1 or not boundaries:
            raise ValueError(
                "There must be at least one boundary, and one value more than boundaries. Received: "
                f"boundaries={boundaries} and values={values}"
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def rate(self, step: float) -> float:
        return float(self.values[bisect_left(self.boundaries, step)])


@registry.register(FAMILY)
class PolynomialDecay(_Formula):
    """end + (initial - end) · (1 - step / decay_steps) ^ power, then `end_learning_rate`.

    With `cycle` the decay goes on to the first multiple of `decay_steps` that is not below the step.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def rate(self, step: float) -> float:
        periods = max(ceil(step / self.decay_steps), 1) if self.cycle else 1
        remaining = 1 - min(step / (self.decay_steps * periods), 1.0)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * remaining**self.power + self.end_learning_rate


@registry.register(FAMILY)
class InverseTimeDecay(_Formula):
    """initial / (1 + decay_rate · step / decay_steps); the quotient rounded down where `staircase` is set."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def rate(self, step: float) -> float:
        periods = step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (floor(periods) if self.staircase else periods))


@registry.register(FAMILY)
class CosineDecay(_Formula):
    """Half a cosine wave down to `alpha` times the start (Loshchilov & Hutter, 2017), after an optional warm-up.

    With `warmup_target`, the rate first rises in a line from `initial_learning_rate` to the target, in `warmup_steps`
    steps, and decays from there.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        _check_positive("decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def rate(self, step: float) -> float:
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start, step = self.warmup_target, step - self.warmup_steps
        wave = 0.5 * (1 + cos(pi * min(step / self.decay_steps, 1.0)))
        return start * ((1 - self.alpha) * wave + self.alpha)


@registry.register(FAMILY)
class CosineDecayRestarts(_Formula):
    """Cosine decays one after another (SGDR; Loshchilov & Hutter, 2017).

    The first takes `first_decay_steps` steps, each next one `t_mul` times as long, from a start `m_mul` times as high.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        _check_positive("first_decay_steps", first_decay_steps)
        if t_mul < 1:
            raise ValueError(
                f"t_mul must be at least 1: shorter and shorter periods come to an end. Received: {t_mul!r}"
            )
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def rate(self, step: float) -> float:
        position = step / self.first_decay_steps
        if self.t_mul == 1:
            restarts = floor(position)
            position -= restarts
        else:
            # The logarithm of an exact power may fall just short of the integer it stands for.
            restarts = floor(log(1 + position * (self.t_mul - 1)) / log(self.t_mul) + 1e-9)
            position = (position - (self.t_mul**restarts - 1) / (self.t_mul - 1)) / self.t_mul**restarts
        wave = 0.5 * self.m_mul**restarts * (1 + cos(pi * position))
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)


_lookup = Lookup(FAMILY)
get, serialize, deserialize = _lookup.get, _lookup.serialize, _lookup.deserialize
