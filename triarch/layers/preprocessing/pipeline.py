"""Layers one after the other, as one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triarch.layers.base import Layer
from triarch.layers.preprocessing.images.base import Augmentation
from triarch.registry import register


@register("keras.layers")
class Pipeline(Augmentation):
    """Layers of preprocessing, one after the other; it is no model, and works in training."""

    def __init__(self, layers: Sequence[Layer], name: str | None = None) -> None:
        super().__init__(name=name)
        if not isinstance(layers, (list, tuple)) or not layers or not all(isinstance(own, Layer) for own in layers):
            raise ValueError(f"`layers` is a list of layers, at least one. Received: layers={layers!r}")
        self._pipeline_layers = list(layers)  # the name under which Keras's files keep them

    @property
    def layers(self) -> list[Layer]:
        """The layers, in their order."""
        return self._pipeline_layers

    def build(self, input_shape: Any) -> None:
        for layer in self._pipeline_layers:
            if not layer.built:
                layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool = True) -> Any:
        for layer in self._pipeline_layers:
            inputs = layer(inputs, training=training)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape behind the last layer."""
        for layer in self._pipeline_layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """The symbolic outputs of the last layer."""
        for layer in self._pipeline_layers:
            inputs = layer.compute_output_spec(inputs)
        return inputs
