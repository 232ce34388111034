"""What all initializers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import config, random
from triarch.registry import register
from triarch.serialization import Configurable, deserialize_keras_object, serialize_keras_object
from triarch.tensors import torch_dtype

FAMILY = "keras.initializers"

Shape = Sequence[int]


def standard_dtype(dtype: Any) -> torch.dtype | None:
    """The type meant by `dtype`, `config.floatx()` where it is None."""
    return torch_dtype(dtype or config.floatx())


@register(FAMILY)
class Initializer(Configurable):
    """Base of initializers: a subclass defines `__call__(shape, dtype=None)`."""

    def __call__(self, shape: Shape, dtype: Any = None) -> torch.Tensor:
        """A tensor of this shape and type (`config.floatx()` where none is given)."""
        raise NotImplementedError(f"{type(self).__name__} must define `__call__(self, shape, dtype=None)`.")

    def clone(self) -> Any:
        """An initializer made from this one's config."""
        return type(self).from_config(self.get_config())


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
