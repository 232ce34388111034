"""Exponential moving averages of the weights (`use_ema`)."""

from __future__ import annotations

import torch

from triarch.optimizers.plan import Tensors


class Averages:
    """An average `a` for each weight `w`: a ← a + (1 - momentum)(w - a), from a = w after the first step."""

    def __init__(self, weights: Tensors, values: Tensors) -> None:
        self.weights = weights
        self.values = values
        self.are_in_place = False  # whether weights and averages are exchanged at present

    def update(self, updates_done: int, momentum: float, overwrite_frequency: int | None) -> None:
        """Follow the weights after a step; every `overwrite_frequency` steps the weights become their averages."""
        torch._foreach_lerp_(self.values, self.weights, 1 - momentum if updates_done else 1.0)
        if overwrite_frequency and (updates_done + 1) % overwrite_frequency == 0:
            torch._foreach_copy_(self.weights, self.values)

    def swap(self) -> None:
        """Exchange weights and averages; done twice, all is as before."""
        with torch.no_grad():
            weights = [weight.clone() for weight in self.weights]
            torch._foreach_copy_(self.weights, self.values)
            torch._foreach_copy_(self.values, weights)
        self.are_in_place = not self.are_in_place

    def restart(self) -> None:
        """Let the averages be the weights as they are now."""
        with torch.no_grad():
            torch._foreach_copy_(self.values, self.weights)
        self.are_in_place = False

    def finalize(self, places: list[int]) -> None:
        """Let the weights at these places be their averages for good, unless they are so already."""
        if self.are_in_place:
            self.restart()
            return
        with torch.no_grad():
            torch._foreach_copy_([self.weights[place] for place in places], [self.values[place] for place in places])
