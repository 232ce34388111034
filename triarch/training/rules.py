"""Optimizers as the rules of compiled code, where it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from torch import Tensor

from triarch.kernels.perceptron import Learning, Rule
from triarch.optimizers import SGD, Adam, Optimizer
from triarch.watching import is_overridden


def learning_of(optimizer: Optimizer | None, weights: Sequence[Tensor]) -> Learning | None:
    """How these weights learn, where a kernel has the optimizer's rule."""
    rule = None if optimizer is None else _rule_of(optimizer)
    if optimizer is None or rule is None:
        return None
    return Learning(rule, optimizer.slots_of(weights), optimizer._iterations)


def _rule_of(optimizer: Optimizer) -> Rule | None:
    """The kernel's rule that is the optimizer's; None where its own code has to update the weights."""
    is_plain = (
        optimizer.clip is None
        and optimizer.weight_decay is None
        and optimizer.loss_scale_factor is None
        and not optimizer.gradient_accumulation_steps
        and not optimizer.use_ema
        and not is_overridden(optimizer)
    )
    if is_plain and type(optimizer) is Adam and not optimizer.amsgrad:
        return Rule.ADAM
    return Rule.SGD if is_plain and type(optimizer) is SGD else None


def _adam(optimizer: Adam, lr: float, t: int) -> tuple[float, dict[str, float]]:
    beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
    rate = lr * sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return rate, {"beta_1": beta_1, "beta_2": beta_2, "epsilon": optimizer.epsilon}


def _sgd(optimizer: SGD, lr: float, t: int) -> tuple[float, dict[str, float]]:
    return lr, {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}


SETTINGS: dict[Rule, Callable[[Any, float, int], tuple[float, dict[str, float]]]] = {
    Rule.ADAM: _adam,
    Rule.SGD: _sgd,
}
