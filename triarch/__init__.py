"""triarch: convolutional, recurrent and residual neural networks.

The Keras 3 API as face, PyTorch as engine: `import triarch as keras` runs a Keras script of this field unchanged.
"""

import importlib
from typing import TYPE_CHECKING, Any

from triarch import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    convolution,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    random,
    regularizers,
    saving,
)
from triarch._version import __version__
from triarch.graph import SymbolicTensor
from triarch.layers import Input, Layer
from triarch.mixed_precision import DTypePolicy
from triarch.models import Model, Sequential
from triarch.variable import Variable

if TYPE_CHECKING:
    from triarch import applications, datasets, utils

KerasTensor = SymbolicTensor

_LAZY = ("applications", "datasets", "utils")

__all__ = [
    "DTypePolicy",
    "Input",
    "KerasTensor",
    "Layer",
    "Model",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "applications",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "convolution",
    "datasets",
    "initializers",
    "kernels",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "saving",
    "utils",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"triarch.{name}")
    raise AttributeError(f"module 'triarch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
