"""Normalisation of weights by their largest singular value."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from triarch import initializers
from triarch.layers.arguments import describe, is_integer
from triarch.layers.base import Layer
from triarch.layers.running import reading_as_kept
from triarch.registry import register


@register("keras.layers")
class SpectralNormalization(Layer):
    """A layer whose kernel is divided by its largest singular value before each training step.

    The value is found by power iteration (https://arxiv.org/abs/1802.05957).

    Args:
        layer: With a `kernel` or `embeddings`.
        power_iterations: For each step.
    """

    supports_masking = True
    makes_mask = False

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the layer leaves its mask on the outputs."""

    def symbolic_masks(self, *args: Any, **kwargs: Any) -> Any:
        """Those of the layer."""
        return self.layer.symbolic_masks(*args, **kwargs)

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise ValueError(f"`layer` is a layer. Received: layer={layer!r}")
        if not is_integer(power_iterations) or power_iterations <= 0:
            raise ValueError(f"`power_iterations` is a positive integer. Received: {power_iterations!r}")
        self.layer = layer
        self.power_iterations = power_iterations

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        initializer = initializers.TruncatedNormal(stddev=0.02)
        size = self._kernel.shape[-1]
        self.vector_u = self.add_weight((1, size), initializer, trainable=False, name="vector_u")

    @property
    def _kernel(self) -> torch.Tensor:
        for name in ("kernel", "embeddings"):
            if isinstance(getattr(self.layer, name, None), torch.Tensor):
                return getattr(self.layer, name)
        raise ValueError(f"{describe(self)} wraps layers with a `kernel` or `embeddings`. Received: {self.layer!r}")

    def call(self, inputs: torch.Tensor, training: bool = False) -> torch.Tensor:
        if training:
            with torch.no_grad(), reading_as_kept():
                self._normalize()
        return self.layer(inputs)

    def _normalize(self) -> None:
        rows = self._kernel.reshape(-1, self._kernel.shape[-1]).to(self.vector_u.dtype)
        u: torch.Tensor = self.vector_u
        for _ in range(self.power_iterations):
            v = F.normalize(u @ rows.T, dim=-1)
            u = F.normalize(v @ rows, dim=-1)
        largest = (v @ rows @ u.T).squeeze()
        is_some = rows.any()  # a kernel of zeros has no direction
        self.vector_u.copy_(torch.where(is_some, u, self.vector_u))
        self._kernel.div_(torch.where(is_some, largest, 1.0).to(self._kernel.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the layer."""
        return self.layer.compute_output_shape(input_shape)
