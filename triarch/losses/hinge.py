"""Hinge losses: 0 beyond a margin on the right side, growing on the wrong one."""

from __future__ import annotations

from typing import Any

import torch

from triarch.losses.alignment import elementwise, match
from triarch.losses.base import FAMILY, FunctionLoss
from triarch.registry import register


def _signs(y_true: torch.Tensor) -> torch.Tensor:
    """Labels that are all 0 or 1 as -1 or 1; others as they are. Decided on the device, without waiting for it."""
    binary = ((y_true == 0) | (y_true == 1)).all()
    return torch.where(binary, 2.0 * y_true - 1.0, y_true)


@register(FAMILY)
@elementwise
def hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(max(1 - y_true * y_pred, 0))` over the last axis, labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = match(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp(min=0).mean(-1)


@register(FAMILY)
@elementwise
def squared_hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`mean(max(1 - y_true * y_pred, 0)²)` over the last axis, labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = match(y_true, y_pred)
    return (1.0 - _signs(y_true) * y_pred).clamp(min=0).square().mean(-1)


@register(FAMILY)
def categorical_hinge(y_true: Any, y_pred: Any) -> torch.Tensor:
    """`max(1 + highest wrong score - right score, 0)`, labels one-hot along the last axis."""
    y_true, y_pred = match(y_true, y_pred)
    right = (y_true * y_pred).sum(-1)
    wrong = ((1.0 - y_true) * y_pred).amax(-1)
    return (wrong - right + 1.0).clamp(min=0)


@register(FAMILY)
class Hinge(FunctionLoss):
    """The hinge loss for labels -1 and 1 (or 0 and 1)."""

    formula = staticmethod(hinge)


@register(FAMILY)
class SquaredHinge(FunctionLoss):
    """The squared hinge loss for labels -1 and 1 (or 0 and 1)."""

    formula = staticmethod(squared_hinge)


@register(FAMILY)
class CategoricalHinge(FunctionLoss):
    """The hinge loss for one-hot labels."""

    formula = staticmethod(categorical_hinge)
