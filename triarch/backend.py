"""Keras's `backend` names: what the engine is, and starting afresh."""

from __future__ import annotations

from triarch import registry
from triarch.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]


def clear_session(free_memory: bool = True) -> None:
    """Start automatic names anew; objects that nothing refers to are freed by Python itself."""
    registry.reset_names()
