"""Rectifiers: the activations that a kernel can apply, and undo, while it writes its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rectifier:
    """`min(max(y, 0), cap) + slope * min(y, 0)`; its gradient can be told from its outputs alone.

    Args:
        slope: Below 0, not negative.
        cap: The largest output.
    """

    slope: float = 0.0
    cap: float = math.inf

    def __call__(self, outputs: Tensor) -> Tensor:
        """Apply it, in place as far as gradients allow."""
        if self.slope:
            outputs = F.leaky_relu_(outputs, self.slope)
            return outputs if self.cap == math.inf else outputs.clamp(max=self.cap)
        return torch.relu_(outputs) if self.cap == math.inf else F.hardtanh_(outputs, 0.0, self.cap)

    def gradient(self, output_gradient: Tensor, outputs: Tensor) -> Tensor:
        """The gradient of what was rectified."""
        if self.slope:
            inside = torch.where(outputs <= 0, output_gradient * self.slope, output_gradient)
        else:
            inside = torch.ops.aten.threshold_backward(output_gradient, outputs, 0)
        return inside if self.cap == math.inf else inside.masked_fill(outputs >= self.cap, 0.0)


def kernel_numbers(rectifier: Rectifier | None) -> tuple[float, float]:
    """Slope and cap as kernels take them: where there is none, slope 1 and, as nothing exceeds it, cap NaN."""
    if rectifier is None:
        return 1.0, math.nan
    return rectifier.slope, math.nan if rectifier.cap == math.inf else rectifier.cap
