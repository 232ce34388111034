"""Initializers that give known numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch import config
from triarch.initializers.base import FAMILY, Initializer, Shape, standard_dtype
from triarch.registry import register
from triarch.tensors import native


@register(FAMILY, "zero")
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return torch.zeros(tuple(shape), dtype=standard_dtype(dtype), device=config.device())


@register(FAMILY, "one")
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return torch.ones(tuple(shape), dtype=standard_dtype(dtype), device=config.device())


@register(FAMILY)
class Constant(Initializer):
    """One number everywhere, or an array that broadcasts to the shape."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return _given(self.value, dtype).expand(tuple(shape)).clone()


@register(FAMILY, "IdentityInitializer")
class Identity(Initializer):
    """`gain` times the identity matrix."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if len(shape) != 2:
            raise ValueError(f"An identity matrix has two axes. Received: shape={tuple(shape)}")
        return self.gain * torch.eye(*shape, dtype=standard_dtype(dtype), device=config.device())

    def get_config(self) -> dict[str, Any]:
        """The gain where it is not 1: Keras never writes it, but reads it."""
        return {} if self.gain == 1 else {"gain": self.gain}


@register(FAMILY, "STFTInitializer")
class STFT(Initializer):
    """Kernels `(window, 1, frequencies)` that compute the real or imaginary part of a short-time Fourier transform.

    Args:
        side: `"real"` or `"imag"`.
        window: The name of a window of `scipy.signal.windows` (needs SciPy), its values, or None.
        scaling: `"density"` (the window's L2 norm becomes 1), `"spectrum"` (its L1 norm) or None.
        periodic: Whether a named window is periodic rather than symmetric.
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"side must be 'real' or 'imag'. Received: {side!r}")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(f"scaling must be 'density', 'spectrum' or None. Received: {scaling!r}")
        if isinstance(window, str):
            _named_window(window, 1, periodic)
        self.side = side
        self.window = window
        self.scaling = scaling
        self.periodic = periodic

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        length, _, frequencies = shape
        time = np.arange(length).reshape(-1, 1, 1)
        angle = -2 * np.pi * time * np.arange(frequencies) / (2 * (frequencies - 1))
        kernel = np.cos(angle) if self.side == "real" else np.sin(angle)
        if self.window is not None:
            kernel = kernel * self._scaled_window(length).reshape(-1, 1, 1)
        return torch.as_tensor(kernel, dtype=standard_dtype(dtype), device=config.device())

    def _scaled_window(self, length: int) -> np.ndarray:
        named = isinstance(self.window, str)
        window = _named_window(self.window, length, self.periodic) if named else np.asarray(self.window)
        if window.shape != (length,):
            raise ValueError(f"The window needs {length} values, as the kernel has. Received: shape {window.shape}")
        if self.scaling is None:
            return window
        return window / (np.sqrt(np.sum(window**2)) if self.scaling == "density" else np.sum(np.abs(window)))


def _named_window(name: str, length: int, periodic: bool) -> np.ndarray:
    try:
        from scipy.signal import get_window
    except ImportError as error:
        raise ImportError(
            f"The window {name!r} is SciPy's: install `scipy`, or pass the window's values instead of its name."
        ) from error
    return get_window(name, length, periodic)


class FixedValue:
    """The initializer that gives a stored array."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if tuple(shape) != tuple(self.value.shape):
            raise ValueError(
                f"The array given as initializer has shape {tuple(self.value.shape)}, which the weight must have too. "
                f"Received: shape={tuple(shape)}"
            )
        return _given(self.value, dtype).clone()


def _given(value: Any, dtype: Any) -> torch.Tensor:
    """Numbers of any byte order as a tensor."""
    value = native(value) if isinstance(value, np.ndarray) else value
    return torch.as_tensor(value, dtype=standard_dtype(dtype), device=config.device())
