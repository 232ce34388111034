"""First values of weights. An initializer is called with a shape and gives a tensor on `config.device()`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from triarch import config, random, registry
from triarch.registry import register
from triarch.serialization import Configurable, deserialize_keras_object, resolve, serialize_keras_object
from triarch.variable import torch_dtype

_FAMILY = "keras.initializers"

Shape = Sequence[int]
Axes = Sequence[int] | None


def _dtype(dtype: Any) -> torch.dtype | None:
    return torch_dtype(dtype or config.floatx())


@register(_FAMILY)
class Initializer(Configurable):
    """Base of initializers: a subclass defines `__call__(shape, dtype=None)`."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        """A tensor of this shape and type (`config.floatx()` where none is given)."""
        raise NotImplementedError(f"{type(self).__name__} must define `__call__(self, shape, dtype=None)`.")

    def clone(self) -> Any:
        """An initializer made from this one's config."""
        return type(self).from_config(self.get_config())


@register(_FAMILY, "zero")
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return torch.zeros(tuple(shape), dtype=_dtype(dtype), device=config.device())


@register(_FAMILY, "one")
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return torch.ones(tuple(shape), dtype=_dtype(dtype), device=config.device())


@register(_FAMILY)
class Constant(Initializer):
    """One number everywhere, or an array that broadcasts to the shape."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        value = torch.as_tensor(self.value, dtype=_dtype(dtype), device=config.device())
        return value.expand(tuple(shape)).clone()


@register(_FAMILY, "IdentityInitializer")
class Identity(Initializer):
    """`gain` times the identity matrix."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if len(shape) != 2:
            raise ValueError(f"An identity matrix has two axes. Received: shape={tuple(shape)}")
        return self.gain * torch.eye(*shape, dtype=_dtype(dtype), device=config.device())

    def get_config(self) -> dict[str, Any]:
        """The gain where it is not 1: Keras never writes it, but reads it."""
        return {} if self.gain == 1 else {"gain": self.gain}


@register(_FAMILY, "STFTInitializer")
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
        return torch.as_tensor(kernel, dtype=_dtype(dtype), device=config.device())

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


class RandomInitializer(Initializer):
    """Base of the random initializers.

    With an int as `seed`, and with None (a seed drawn at construction), every call gives the same values; a
    `SeedGenerator` gives new ones.
    """

    def __init__(self, seed: Any = None) -> None:
        if isinstance(seed, dict):
            seed = deserialize_keras_object(seed)
        if seed is not None and not isinstance(seed, (int, random.SeedGenerator)):
            raise ValueError(f"seed must be an integer, a SeedGenerator or None. Received: {seed!r}")
        self._init_seed = seed
        self.seed = random.make_default_seed() if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the seed as it was given, so that a copy of an unseeded one draws its own."""
        return {**super().get_config(), "seed": serialize_keras_object(self._init_seed)}


@register(_FAMILY, "normal")
class RandomNormal(RandomInitializer):
    """Numbers from a normal distribution."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)


@register(_FAMILY)
class TruncatedNormal(RandomInitializer):
    """Numbers from a normal distribution cut off at two standard deviations."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


@register(_FAMILY, "uniform")
class RandomUniform(RandomInitializer):
    """Numbers spread evenly over `[minval, maxval)`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)


def compute_fans(shape: Shape, input_axes: Axes = None, output_axes: Axes = None) -> tuple[int, int]:
    """How many inputs an output of this kernel has, and how many outputs an input.

    Without axes, the last axis is the outputs', the one before it the inputs', and the rest a receptive field.
    """
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


_STDDEV_OF_TRUNCATED_NORMAL = 0.87962566103423978  # of the standard normal cut off at -2 and 2


@register(_FAMILY)
class VarianceScaling(RandomInitializer):
    """Numbers with variance `scale / fan`, so that signals keep their size from layer to layer.

    Args:
        scale: A positive number.
        mode: The fan: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"` (also `"normal"`), `"untruncated_normal"` or `"uniform"`.
        seed: See `RandomInitializer`.
        input_axes: The axes of the kernel that count for `fan_in`, where they are not the usual ones.
        output_axes: The same for `fan_out`.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed)
        if scale <= 0:
            raise ValueError(f"scale must be a positive number. Received: {scale!r}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg'. Received: {mode!r}")
        distribution = "truncated_normal" if distribution.lower() == "normal" else distribution.lower()
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                "distribution must be 'uniform', 'truncated_normal' (or 'normal') or 'untruncated_normal'. "
                f"Received: {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, stddev, dtype, self.seed)
        return random.truncated_normal(shape, 0.0, stddev / _STDDEV_OF_TRUNCATED_NORMAL, dtype, self.seed)


class _NamedScaling(VarianceScaling):
    """A `VarianceScaling` whose scale, mode and distribution are the class's `rule`."""

    rule: ClassVar[tuple[float, str, str]]

    def __init__(self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None) -> None:
        super().__init__(*self.rule, seed, input_axes, output_axes)


@register(_FAMILY)
class GlorotUniform(_NamedScaling):
    """Uniform in ±√(6 / (fan_in + fan_out)) (Glorot & Bengio, 2010)."""

    rule = (1.0, "fan_avg", "uniform")


@register(_FAMILY)
class GlorotNormal(_NamedScaling):
    """Truncated normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio, 2010)."""

    rule = (1.0, "fan_avg", "truncated_normal")


@register(_FAMILY)
class LecunUniform(_NamedScaling):
    """Uniform in ±√(3 / fan_in) (LeCun et al., 1998)."""

    rule = (1.0, "fan_in", "uniform")


@register(_FAMILY)
class LecunNormal(_NamedScaling):
    """Truncated normal, variance 1 / fan_in (LeCun et al., 1998)."""

    rule = (1.0, "fan_in", "truncated_normal")


@register(_FAMILY)
class HeUniform(_NamedScaling):
    """Uniform in ±√(6 / fan_in) (https://arxiv.org/abs/1502.01852)."""

    rule = (2.0, "fan_in", "uniform")


@register(_FAMILY)
class HeNormal(_NamedScaling):
    """Truncated normal, variance 2 / fan_in (https://arxiv.org/abs/1502.01852)."""

    rule = (2.0, "fan_in", "truncated_normal")


@register(_FAMILY, "OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """`gain` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).

    Axes before the last are taken together as the rows.
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if len(shape) < 2:
            raise ValueError(f"An orthogonal matrix has at least two axes. Received: shape={tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = torch.linalg.qr(random.normal((max(rows, columns), min(rows, columns)), dtype=dtype, seed=self.seed))
        q = q * r.diagonal().sign()  # makes the distribution uniform over the orthogonal matrices
        return self.gain * (q.T if rows < columns else q).reshape(tuple(shape))


class _FixedValue:
    """The initializer that gives a stored array."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        if tuple(shape) != tuple(self.value.shape):
            raise ValueError(
                f"The array given as initializer has shape {tuple(self.value.shape)}, which the weight must have too. "
                f"Received: shape={tuple(shape)}"
            )
        return torch.as_tensor(self.value, dtype=_dtype(dtype), device=config.device()).clone()


def get(identifier: Any) -> Any:
    """The initializer that a name, class, config, function `(shape, dtype)` or array stands for; None for None."""
    if isinstance(identifier, (np.ndarray, np.generic, torch.Tensor)):
        return _FixedValue(identifier)
    return resolve(_FAMILY, identifier)


def serialize(initializer: Any) -> Any:
    """The initializer as plain data."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described."""
    with registry.custom_object_scope(custom_objects or {}):
        return resolve(_FAMILY, config)


constant, identity, ones, stft, zeros = Constant, Identity, Ones, STFT, Zeros
IdentityInitializer, STFTInitializer, OrthogonalInitializer = Identity, STFT, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform, lecun_normal, lecun_uniform = HeNormal, HeUniform, LecunNormal, LecunUniform
