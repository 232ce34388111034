"""Losses between distributions and counts."""

from __future__ import annotations

from typing import Any

import torch

from triarch import config
from triarch.losses.alignment import elementwise, match
from triarch.losses.base import FAMILY, FunctionLoss
from triarch.registry import register


@register(FAMILY, "kld", "KLD", "kullback_leibler_divergence")
def kl_divergence(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`sum(y_true * log(y_true / y_pred))` over the last axis, probabilities cut to `[epsilon, 1]`."""
    y_true, y_pred = match(y_true, y_pred)
    y_true, y_pred = y_true.clamp(config.epsilon(), 1), y_pred.clamp(config.epsilon(), 1)
    return (y_true * (y_true / y_pred).log()).sum(-1)


@register(FAMILY)
@elementwise
def poisson(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(y_pred - y_true * log(y_pred))` over the last axis: counts against expected counts."""
    y_true, y_pred = match(y_true, y_pred)
    return (y_pred - y_true * (y_pred + config.epsilon()).log()).mean(-1)


@register(FAMILY)
class KLDivergence(FunctionLoss):
    """The Kullback-Leibler divergence of the predicted distribution from the label's."""

    formula = staticmethod(kl_divergence)


@register(FAMILY)
class Poisson(FunctionLoss):
    """The negative log likelihood of counts under a Poisson distribution, but for a constant."""

    formula = staticmethod(poisson)
