"""A layer for each step of a series."""

from __future__ import annotations

from typing import Any

import torch

from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.registry import register


@register("keras.layers")
class TimeDistributed(Layer):
    """Applies a layer to every step of series `(batch, steps, ...)`.

    Steps are samples to the layer, all in one call; one by one where it takes masks, or learns from a batch as such.
    """

    supports_masking = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise ValueError(f"`layer` is a layer. Received: layer={layer!r}")
        self.layer = layer

    def _step_shape(self, shape: Any) -> tuple[Any, ...]:
        if len(shape) < 3:
            raise ValueError(f"{describe(self)} takes series (batch, steps, ...). Received: shape {tuple(shape)}")
        return (shape[0], *shape[2:])

    def build(self, input_shape: Any) -> None:
        step_shape = self._step_shape(input_shape)
        if not self.layer.built:
            self.layer.build(step_shape)

    def call(self, inputs: torch.Tensor, training: bool = False, mask: Any = None) -> torch.Tensor:
        self._step_shape(inputs.shape)
        if mask is not None and tuple(mask.shape[:2]) != tuple(inputs.shape[:2]):
            raise ValueError(
                f"{describe(self)} takes a mask of shape (batch, steps), here {tuple(inputs.shape[:2])}. "
                f"Received: shape {tuple(mask.shape)}"
            )
        has_masks = mask is not None and "mask" in self.layer._call_parameters
        learns_of_batches = training and any(isinstance(part, BatchNormalization) for part in self.layer.modules())
        if has_masks or learns_of_batches:
            steps = range(inputs.shape[1])
            masks: Any = [{"mask": mask[:, number]} if has_masks else {} for number in steps]
            return torch.stack([self.layer(inputs[:, number], **masks[number]) for number in steps], 1)
        outputs = self.layer(inputs.flatten(0, 1))
        return outputs.unflatten(0, inputs.shape[:2])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's shape with the axis of steps."""
        batch, *rest = self.layer.compute_output_shape(self._step_shape(input_shape))
        return (batch, input_shape[1], *rest)
