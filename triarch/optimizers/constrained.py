"""What constraints ask of weights after a step, whichever optimizer made it."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def apply_constraints(weights: Iterable[torch.Tensor]) -> None:
    """Bring every weight that has a `constraint` to the nearest value that this allows."""
    with torch.no_grad():
        for weight in weights:
            constraint = getattr(weight, "constraint", None)
            if constraint is not None:
                weight.copy_(constraint(weight))
