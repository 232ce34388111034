"""torch's own optimizers, with the methods that a training step calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from triarch.optimizers.constrained import apply_constraints
from triarch.optimizers.plan import like


class TorchOptimizer:
    """A `torch.optim` optimizer in the place of an `Optimizer`: constraints of weights hold here too."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.wrapped = optimizer

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss as it is."""
        return loss

    def apply(self, grads: Iterable[Any], weights: Iterable[torch.Tensor]) -> None:
        """Update the weights for their gradients; a weight whose gradient is None stays as it is."""
        weights = list(weights)
        for gradient, weight in zip(grads, weights, strict=True):
            if gradient is not weight.grad:
                weight.grad = None if gradient is None else like(gradient, weight)
        self.wrapped.step()
        apply_constraints(weights)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group; setting it sets that of all groups."""
        return self.wrapped.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in self.wrapped.param_groups:
            group["lr"] = float(value)

    def __getattr__(self, name: str) -> Any:
        """Everything else is torch's: `zero_grad`, `step`, `state_dict`, `param_groups`, ..."""
        if name == "wrapped":  # not there yet while a copy is being made
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def __repr__(self) -> str:
        return f"TorchOptimizer({type(self.wrapped).__name__})"
