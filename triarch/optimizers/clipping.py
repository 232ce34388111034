"""Gradient clipping over lists of tensors; the lists given stay as they are."""

from __future__ import annotations

import torch

from triarch.optimizers.plan import Tensors


def clip_by_norm(grads: Tensors, norm: float) -> Tensors:
    """Each gradient scaled down to a norm of at most `norm`."""
    norms = torch._foreach_norm(grads)
    torch._foreach_clamp_min_(norms, norm)
    clipped = torch._foreach_mul(grads, norm)
    torch._foreach_div_(clipped, norms)
    return list(clipped)


def clip_by_global_norm(grads: Tensors, norm: float) -> Tensors:
    """All gradients scaled down together, so that the norm of the whole is at most `norm`."""
    scale = norm / torch.nn.utils.get_total_norm(grads).clamp_min(norm)
    return list(torch._foreach_mul(grads, scale))


def clip_by_value(grads: Tensors, value: float) -> Tensors:
    """Each element brought into `[-value, value]`."""
    clipped = torch._foreach_clamp_max(grads, value)
    torch._foreach_clamp_min_(clipped, -value)
    return list(clipped)
