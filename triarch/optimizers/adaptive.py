"""Rules that scale every element by its own past. Legend: w weights, g gradients, lr learning rate, v mean or sum of
g², a mean of g, m momentum, d mean of δ²."""

from __future__ import annotations

from typing import Any

import torch

from triarch import registry
from triarch.optimizers.base import Optimizer
from triarch.optimizers.plan import Tensors
from triarch.optimizers.schedules import LearningRateSchedule


@registry.register("keras.optimizers", "rmsprop")
class RMSprop(Optimizer):
    """Gradients divided by the root of their mean square: v ← ρv + (1-ρ)g², w ← w - lr·g/√(v + ε).

    `centered` divides by the standard deviation, √(v - a² + ε). With `momentum`, m ← momentum·m + lr·g/√(v + ε) and
    w ← w - m.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        momentum = (("momentum",),) if self.momentum > 0 else ()
        return (("velocity",), *momentum, ("average_gradient",)) if self.centered else (("velocity",), *momentum)

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        v, m, a = slots["velocity"], slots.get("momentum"), slots.get("average_gradient")
        torch._foreach_mul_(v, self.rho)
        torch._foreach_addcmul_(v, g, g, value=1 - self.rho)
        denominator = torch._foreach_add(v, self.epsilon)
        if a is not None:
            torch._foreach_lerp_(a, g, 1 - self.rho)
            torch._foreach_addcmul_(denominator, a, a, value=-1)
        torch._foreach_sqrt_(denominator)
        if m is None:
            torch._foreach_addcdiv_(w, g, denominator, value=-lr)
        else:
            torch._foreach_mul_(m, self.momentum)
            torch._foreach_addcdiv_(m, g, denominator, value=lr)
            torch._foreach_sub_(w, m)


@registry.register("keras.optimizers", "adagrad")
class Adagrad(Optimizer):
    """Steps that shrink with the gradients seen so far (Duchi et al., 2011): v ← v + g², w ← w - lr·g/√(v + ε)."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("accumulator",),)

    def initial_value(self, slot: str) -> float:
        return self.initial_accumulator_value

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        v = slots["accumulator"]
        torch._foreach_addcmul_(v, g, g)
        denominator = torch._foreach_add(v, self.epsilon)
        torch._foreach_sqrt_(denominator)
        torch._foreach_addcdiv_(w, g, denominator, value=-lr)


@registry.register("keras.optimizers", "adadelta")
class Adadelta(Optimizer):
    """Steps in proportion to earlier steps (Zeiler, 2012).

    v ← ρv + (1-ρ)g²,  δ = g·√(d + ε)/√(v + ε),  d ← ρd + (1-ρ)δ²,  w ← w - lr·δ.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.rho = rho
        self.epsilon = epsilon

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("accumulated_grad", "accumulated_delta_var"),)

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        v, d = slots["accumulated_grad"], slots["accumulated_delta_var"]
        torch._foreach_mul_(v, self.rho)
        torch._foreach_addcmul_(v, g, g, value=1 - self.rho)
        delta = torch._foreach_add(d, self.epsilon)
        torch._foreach_div_(delta, torch._foreach_add(v, self.epsilon))
        torch._foreach_sqrt_(delta)
        torch._foreach_mul_(delta, g)
        torch._foreach_mul_(d, self.rho)
        torch._foreach_addcmul_(d, delta, delta, value=1 - self.rho)
        torch._foreach_add_(w, delta, alpha=-lr)
