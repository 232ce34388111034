"""Whole-step execution: the model's call turned into compiled code by `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def compiled_call(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` behind `torch.compile`; the first batch of each new shape waits for the compiler."""
    return torch.compile(call)
