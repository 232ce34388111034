"""Logs: the named values that a step or a pass reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from triarch.callbacks.base import flattened


def as_floats(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs sorted by name, their scalars as Python floats: the one place where training waits for the device."""
    floats: dict[str, Any] = {}
    for name, value in flattened(logs):
        if isinstance(value, torch.Tensor):
            value = value.detach().float().cpu().numpy()
        floats[name] = float(value) if np.ndim(value) == 0 else value
    return floats
