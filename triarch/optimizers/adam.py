"""The Adam family. Legend: w weights, g gradients, m mean of g, v mean of g² (u its maximum norm), lr learning rate,
t number of the update from 1, ᵗ powers."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch

from triarch import registry
from triarch.optimizers.base import Optimizer
from triarch.optimizers.plan import Group, Step, Tensors
from triarch.optimizers.schedules import LearningRateSchedule
from triarch.variable import Variable


@registry.register("keras.optimizers", "adam")
class Adam(Optimizer):
    """Steps scaled by running means of the gradient and its square (Kingma & Ba, 2014; `amsgrad` Reddi et al., 2018).

    m ← β₁m + (1-β₁)g,  v ← β₂v + (1-β₂)g²,  w ← w - lr·√(1-β₂ᵗ)/(1-β₁ᵗ) · m/(√v + ε); with `amsgrad` the largest v
    so far in place of v.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum", "velocity"), ("velocity_hat",)) if self.amsgrad else (("momentum", "velocity"),)

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        m, v = slots["momentum"], slots["velocity"]
        torch._foreach_lerp_(m, g, 1 - self.beta_1)
        torch._foreach_mul_(v, self.beta_2)
        torch._foreach_addcmul_(v, g, g, value=1 - self.beta_2)
        if self.amsgrad:
            largest = slots["velocity_hat"]
            torch._foreach_maximum_(largest, v)
            v = largest
        denominator = torch._foreach_sqrt(v)
        torch._foreach_add_(denominator, self.epsilon)
        step_size = lr * sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        torch._foreach_addcdiv_(w, m, denominator, value=-step_size)

    def _step_for(self, is_fusible: bool) -> Step:
        own_rule = type(self).rule is Adam.rule and type(self).update_step is Optimizer.update_step
        return Adam._fused_rule if own_rule and is_fusible else super()._step_for(is_fusible)

    def _fused_rule(self, group: Group, g: Tensors, lr: float, t: int) -> None:
        """`rule` in one pass over memory: torch's kernel takes a fifth of the time, and a test holds both equal.

        It divides by √(v / (1-β₂ᵗ)) + ε, hence the other ε.
        """
        group.clocks[0].fill_(t)
        torch._fused_adam_(
            group.weights,
            g,
            group.slots["momentum"],
            group.slots["velocity"],
            group.slots.get("velocity_hat", []),
            group.clocks,
            lr=lr,
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=0.0,
            eps=self.epsilon / sqrt(1 - self.beta_2**t),
            amsgrad=self.amsgrad,
            maximize=False,
        )


@registry.register("keras.optimizers", "adamw")
class AdamW(Adam):
    """Adam with weight decay apart from the gradients (Loshchilov & Hutter, 2019)."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("weight_decay of AdamW must be a number; without it, use Adam. Received: None")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)


@registry.register("keras.optimizers", "adamax")
class Adamax(Optimizer):
    """Adam with the maximum norm: u ← max(β₂u, |g|), w ← w - lr/(1-β₁ᵗ) · m/(u + ε)."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum", "norm"),)

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        m, u = slots["momentum"], slots["norm"]
        torch._foreach_lerp_(m, g, 1 - self.beta_1)
        torch._foreach_mul_(u, self.beta_2)
        torch._foreach_maximum_(u, torch._foreach_abs(g))
        torch._foreach_addcdiv_(w, m, torch._foreach_add(u, self.epsilon), value=-lr / (1 - self.beta_1**t))


@registry.register("keras.optimizers", "nadam")
class Nadam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2015); μᵢ = β₁(1 - 0.96ⁱ/2), Mᵢ = μ₁···μᵢ.

    m̂ = μₜ₊₁m/(1-Mₜ₊₁) + (1-μₜ)g/(1-Mₜ),  w ← w - lr·m̂/(√(v/(1-β₂ᵗ)) + ε).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self._u_product: Variable | None = None

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum", "velocity"),)

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            dtype = self._trainable_variables[0].dtype if self._trainable_variables else torch.float32
            self._u_product = self._track(torch.ones((), dtype=dtype), "u_product")

    def _mu(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**t)

    def advance(self, t: int) -> None:
        self._u_product.mul_(self._mu(t))  # type: ignore[union-attr]

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        m, v = slots["momentum"], slots["velocity"]
        mu, mu_next = self._mu(t), self._mu(t + 1)
        product = self._u_product.item()  # type: ignore[union-attr]
        torch._foreach_lerp_(m, g, 1 - self.beta_1)
        torch._foreach_mul_(v, self.beta_2)
        torch._foreach_addcmul_(v, g, g, value=1 - self.beta_2)
        m_hat = torch._foreach_mul(m, mu_next / (1 - product * mu_next))
        torch._foreach_add_(m_hat, g, alpha=(1 - mu) / (1 - product))
        denominator = torch._foreach_div(v, 1 - self.beta_2**t)
        torch._foreach_sqrt_(denominator)
        torch._foreach_add_(denominator, self.epsilon)
        torch._foreach_addcdiv_(w, m_hat, denominator, value=-lr)
