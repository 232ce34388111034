"""The one bound on rounding errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def assert_as_exact_as(
    peer: Any, ours: Any, truth: Any, name: str, floor: float = 1e-6, amplification: float = 1.0
) -> None:
    """Our error against a float64 truth is at most twice that of a float32 peer, plus `floor` times the truth's size.

    The floor stands for a different order of the same additions; `amplification`, which multiplies all, is a method's
    own, derived in `docs/numerics.md`.
    """
    ours, peer, truth = (_as_array(value) for value in (ours, peer, truth))
    assert ours.shape == truth.shape, f"{name}: shape {ours.shape}, expected {truth.shape}"
    if not truth.size:
        return
    assert np.isfinite(truth).all(), f"{name}: the truth is not finite"
    size = max(float(np.abs(truth).max()), 1.0)
    error, peer_error = float(np.abs(ours - truth).max()), float(np.abs(peer - truth).max())
    bound = amplification * (2 * peer_error + floor * size)
    assert error <= bound, f"{name}: error {error:.3g}, the peer's {peer_error:.3g}, bound {bound:.3g}"


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, np.float64)
