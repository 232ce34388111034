"""What every layer must do, as functions of a row of a table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from triarch import layers
from triarch.serialization import serialize_keras_object


@dataclass(frozen=True)
class Row:
    """A layer with its arguments, and the shape of a sample it is tried on."""

    layer: str
    shape: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    dtype: str = "float32"  # of the inputs
    same_numbers: bool = True  # as Keras on torch gives; test_kernels.py has the definition where not
    same_config: bool = True  # as Keras writes; it writes functions in a form of its own

    def make(self, **more: Any) -> layers.Layer:
        """Our layer."""
        return getattr(layers, self.layer)(**self.arguments, **more)

    def make_keras(self, keras: Any, **more: Any) -> Any:
        """Keras's layer."""
        return getattr(keras.layers, self.layer)(**self.arguments, **more)

    def inputs(self, rng: np.random.Generator, batch: int = 3) -> np.ndarray:
        """Data of the row's shape."""
        if self.dtype == "uint8":
            return rng.integers(0, 256, size=(batch, *self.shape), dtype=np.uint8)
        if self.dtype == "int32":
            return rng.integers(0, 7, size=(batch, *self.shape), dtype=np.int32)
        return rng.normal(size=(batch, *self.shape)).astype(self.dtype)

    def __str__(self) -> str:
        said = self.note or ",".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.layer}({said})"


def as_json(thing: Any) -> Any:
    """Plain data as it stands after a trip through a file: tuples are lists, and so on."""
    return json.loads(json.dumps(thing))


def file_form(layer: layers.Layer) -> Any:
    """The layer as a file holds it."""
    return as_json(serialize_keras_object(layer))


def random_weights(layer: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Values for all weights of the layer."""
    values = [rng.normal(scale=0.5, size=tuple(weight.shape)).astype(np.float32) for weight in layer.weights]
    names = [getattr(weight, "name", "") for weight in layer.weights]
    spreads = ("variance", "stddev")  # which are not negative
    return [np.abs(v) + 0.1 if name.endswith(spreads) else v for v, name in zip(values, names, strict=True)]


def outputs_and_gradients(layer: Any, inputs: np.ndarray, dtype: str, training: bool = False) -> dict[str, np.ndarray]:
    """Outputs of a layer, ours or Keras's, and the gradients of a weighted sum of them, by name."""
    tensor = torch.from_numpy(inputs)
    if tensor.is_floating_point():
        tensor = tensor.to(getattr(torch, dtype)).requires_grad_()
    outputs = layer(tensor, training=training) if training else layer(tensor)
    weights = np.random.default_rng(11).normal(size=tuple(outputs.shape))
    found = {"outputs": outputs}
    sources = {"for inputs": tensor} if tensor.requires_grad else {}
    for index, weight in enumerate(layer.trainable_weights):
        sources[f"for weight {index}"] = weight if isinstance(weight, torch.Tensor) else weight.value
    if sources:
        loss = (outputs * torch.from_numpy(weights).to(outputs.dtype)).sum()
        gradients = torch.autograd.grad(loss, list(sources.values()))
        found.update({f"gradient {name}": value for name, value in zip(sources, gradients, strict=True)})
    return {name: value.detach().numpy() for name, value in found.items()}
