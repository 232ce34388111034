"""Lion. Legend: w weights, g gradients, m momentum, lr learning rate."""

from __future__ import annotations

from typing import Any

import torch

from triarch import registry
from triarch.optimizers.base import Optimizer
from triarch.optimizers.plan import Tensors
from triarch.optimizers.schedules import LearningRateSchedule


@registry.register("keras.optimizers", "lion")
class Lion(Optimizer):
    """Steps of one size, in the direction of a sign (Chen et al., 2023).

    w ← w - lr·sign(β₁m + (1-β₁)g),  m ← β₂m + (1-β₂)g.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"beta_1 must lie in (0, 1]; with 0 Lion would be sign descent. Received: {beta_1!r}")
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum",),)

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        m = slots["momentum"]
        direction = torch._foreach_lerp(m, g, 1 - self.beta_1)
        torch._foreach_sign_(direction)
        torch._foreach_add_(w, direction, alpha=-lr)
        torch._foreach_lerp_(m, g, 1 - self.beta_2)
