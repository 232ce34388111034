"""A layer for each step of a series."""

from __future__ import annotations

from typing import Any

import torch

from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.layers.masks import carrying, of_first_axes
from triarch.registry import register
from triarch.tensors import kept_mask


@register("keras.layers")
class TimeDistributed(Layer):
    """Applies a layer to every step of series `(batch, steps, ...)`.

    Steps are samples to the layer, all in one call, or one by one where it learns from a batch as such. So are the steps
    of a mask. The mask of the outputs is that which the layer makes, with the axis of steps; otherwise a step counts
    where anything in it does.
    """

    supports_masking = True
    makes_mask = False

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
        if training and any(isinstance(part, BatchNormalization) for part in self.layer.modules()):
            steps = range(inputs.shape[1])
            each = [self.layer(carrying(inputs[:, n], None if mask is None else mask[:, n])) for n in steps]
            masks = [kept_mask(output) for output in each]
            own = None if any(part is None for part in masks) else torch.stack(masks, 1)
            return carrying(torch.stack(each, 1), own)
        outputs = self.layer(carrying(inputs.flatten(0, 1), None if mask is None else mask.flatten(0, 1)))
        own = kept_mask(outputs)
        steps = inputs.shape[:2]
        return carrying(outputs.unflatten(0, steps), None if own is None else own.unflatten(0, steps))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of steps, where the layer makes none of what is inside them."""
        return None if mask is None else of_first_axes(mask, 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's shape with the axis of steps."""
        batch, *rest = self.layer.compute_output_shape(self._step_shape(input_shape))
        return (batch, input_shape[1], *rest)
