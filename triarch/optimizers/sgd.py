"""Gradient descent with momentum. Legend: w weights, g gradients, m momentum, lr learning rate."""

from __future__ import annotations

from typing import Any

import torch

from triarch import registry
from triarch.optimizers.base import Optimizer
from triarch.optimizers.plan import Tensors
from triarch.optimizers.schedules import LearningRateSchedule


@registry.register("keras.optimizers", "sgd")
class SGD(Optimizer):
    """Gradient descent: w ← w - lr·g; with momentum m ← momentum·m - lr·g and w ← w + m.

    With `nesterov` the step goes on from where the momentum leads: w ← w + momentum·m - lr·g. `options` are the
    arguments that all optimizers share; see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1]. Received: {momentum!r}")
        self.momentum = momentum
        self.nesterov = nesterov

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum",),) if self.momentum else ()

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        m = slots.get("momentum")
        if m is None:
            torch._foreach_add_(w, g, alpha=-lr)
            return
        torch._foreach_mul_(m, self.momentum)
        torch._foreach_add_(m, g, alpha=-lr)
        if self.nesterov:
            torch._foreach_add_(w, m, alpha=self.momentum)
            torch._foreach_add_(w, g, alpha=-lr)
        else:
            torch._foreach_add_(w, m)
