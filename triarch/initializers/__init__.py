"""First values of weights. An initializer is called with a shape and gives a tensor on `config.device()`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch.initializers.base import FAMILY, Initializer, RandomInitializer
from triarch.initializers.constant import STFT, Constant, FixedValue, Identity, Ones, Zeros
from triarch.initializers.distributions import Orthogonal, RandomNormal, RandomUniform, TruncatedNormal
from triarch.initializers.scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    compute_fans,
)
from triarch.serialization import Lookup

constant, identity, ones, stft, zeros = Constant, Identity, Ones, STFT, Zeros
IdentityInitializer, STFTInitializer, OrthogonalInitializer = Identity, STFT, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform, lecun_normal, lecun_uniform = HeNormal, HeUniform, LecunNormal, LecunUniform

_lookup = Lookup(FAMILY)
serialize, deserialize = _lookup.serialize, _lookup.deserialize


def get(identifier: Any) -> Any:
    """The initializer that a name, class, config, function `(shape, dtype)` or array stands for; None for None."""
    if isinstance(identifier, (np.ndarray, np.generic, torch.Tensor)):
        return FixedValue(identifier)
    return _lookup.get(identifier)


__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "compute_fans",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]
