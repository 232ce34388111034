"""A layer for each step of a series."""

from __future__ import annotations

from typing import Any

import torch

from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.layers.masks import carrying, of_first_axes, of_steps
from triarch.registry import register
from triarch.tensors import kept_mask


@register("keras.layers")
class TimeDistributed(Layer):
    """Applies a layer to every step of series `(batch, steps, ...)`.

    Steps, and those of a mask, are samples to the layer, all in one call, or one by one where it learns from a batch as
    such. The mask of the outputs is that which the layer makes, with the axis of steps; where it makes none, a step
    counts where anything in it does.
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
        sizes = inputs.shape[:2]
        if mask is not None:
            mask = of_steps(mask, sizes, describe(self))
        if not self.layer.supports_masking and self.layer._mask_place is None:
            mask = None  # which the layer would lose, but whose steps stay
        if training and any(isinstance(part, BatchNormalization) for part in self.layer.modules()):
            masks = [None] * sizes[1] if mask is None else mask.unbind(1)
            each = [self.layer(carrying(*step)) for step in zip(inputs.unbind(1), masks, strict=True)]
            found = [own for own in map(kept_mask, each) if own is not None]
            return carrying(torch.stack(each, 1), torch.stack(found, 1) if len(found) == len(each) else None)
        outputs = self.layer(carrying(inputs.flatten(0, 1), None if mask is None else mask.flatten(0, 1)))
        own = kept_mask(outputs)
        return carrying(outputs.unflatten(0, sizes), None if own is None else own.unflatten(0, sizes))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of steps, where the layer makes none of what is inside them."""
        return None if mask is None else of_first_axes(mask, 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's shape with the axis of steps."""
        batch, *rest = self.layer.compute_output_shape(self._step_shape(input_shape))
        return (batch, input_shape[1], *rest)
