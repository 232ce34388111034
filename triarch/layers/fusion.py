"""Batch normalisation as one operation with the layers around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from triarch import activations
from triarch.layers.activation import Activation, ReLU
from triarch.layers.base import Layer
from triarch.layers.batch_normalization import BatchNormalization
from triarch.layers.convolutional import Conv1D, Conv2D, Conv3D, Margins
from triarch.layers.masks import Unmasking
from triarch.layers.resizing import ZeroPadding1D, ZeroPadding2D, ZeroPadding3D
from triarch.tensors import kept_mask


class FusedNormalization:
    """A batch normalisation with its neighbours: margins and a convolution before it, a sum and a rectifier after it.

    Where there is compiled code for the numbers, all are one operation in training: the convolution adds up what the
    normalisation needs while it writes its outputs, normalisation, sum and rectifier are one pass over memory, and the
    convolution's gradients are computed from the normalised outputs'. In inference, the normalisation is folded into
    the convolution. Where a layer has hooks, all are called one by one.

    Args:
        addition: From the residual and what was normalised, in a list, to their sum: a layer or a function.
        rectifier: `max(x, 0)`: a layer or a function.
    """

    def __init__(
        self,
        normalization: BatchNormalization,
        convolution: Any = None,
        addition: Callable[[Any], torch.Tensor] | None = None,
        rectifier: Callable[[torch.Tensor], torch.Tensor] | None = None,
        padding: Any = None,
    ) -> None:
        self.normalization = normalization
        self.convolution = convolution
        self.padding = padding
        self.addition = addition
        self.rectifier = rectifier
        members = (padding, convolution, normalization, addition, rectifier)
        self.layers = [member for member in members if isinstance(member, torch.nn.Module)]

    @property
    def margins(self) -> Margins | None:
        """What the padding adds."""
        return None if self.padding is None else self.padding._margins

    def __call__(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """What the layers give, one after the other."""
        layer = self.normalization
        is_usual = layer.built and _fit(inputs, residual) and not self._has_listeners()
        if self.convolution is not None:
            if is_usual and not layer.training and not torch.is_grad_enabled():
                return self._folded(inputs, residual)
            if is_usual and layer.training:
                outputs = self._as_one(inputs, residual)
                if outputs is not None:
                    return outputs
            inputs = self.convolution(inputs if self.padding is None else self.padding(inputs))
        if is_usual and (residual is None or residual.shape == inputs.shape):
            rectifies = self.rectifier is not None
            outputs = layer.normalize(inputs, residual, rectifies, training=layer.training)
            if outputs is not None:
                return outputs
        return self._finished(layer(inputs), residual)

    def _as_one(self, inputs: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor | None:
        """Convolved and normalised in one operation; None where no kernel does that."""
        convolution = self.convolution.normalizing(inputs, self.margins) if self.convolution.built else None
        if convolution is None or (residual is not None and residual.shape != convolution.plan.output_shape):
            return None
        return self.normalization.normalize(
            inputs, residual, self.rectifier is not None, training=True, convolution=convolution
        )

    def _folded(self, inputs: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        scale, shift = self.normalization.scale_and_shift()
        if residual is None:
            return self.convolution.call_rescaled(inputs, scale, shift, self.rectifier is not None, self.margins)
        outputs = self.convolution.call_rescaled(inputs, scale, shift, False, self.margins)
        if residual.shape != outputs.shape or self.rectifier is None:
            return self._finished(outputs, residual)
        return outputs.add_(residual).relu_()

    def _finished(self, outputs: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        if self.addition is not None:
            outputs = self.addition([residual, outputs])
        return outputs if self.rectifier is None else self.rectifier(outputs)

    def _has_listeners(self) -> bool:
        if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
            return True
        return any(
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
            for part in self.layers
        )


def _fit(inputs: Any, residual: Any) -> bool:
    """Whether these are plain numbers that can be added as they lie in memory."""
    if type(inputs) is not torch.Tensor or kept_mask(inputs) is not None:
        return False
    if residual is None:
        return True
    return residual.dtype is inputs.dtype and residual.is_contiguous() and kept_mask(residual) is None


def fused_stack(stack: Sequence[torch.nn.Module]) -> list[Any]:
    """The layers of a stack, each normalisation put together with a convolution before and a rectifier after it."""
    made: list[Any] = []
    for layer in stack:
        previous = made[-1] if made else None
        if type(layer) is BatchNormalization and folds(previous, layer):
            is_padded = len(made) > 1 and pads(made[-2], previous)
            padding = made.pop(-2) if is_padded else None
            made[-1] = FusedNormalization(layer, convolution=previous, padding=padding)
        elif type(previous) is BatchNormalization and is_rectifier(layer):
            made[-1] = FusedNormalization(previous, rectifier=layer)
        elif type(previous) is FusedNormalization and previous.rectifier is None and is_rectifier(layer):
            made[-1] = FusedNormalization(
                previous.normalization, previous.convolution, rectifier=layer, padding=previous.padding
            )
        else:
            made.append(layer if isinstance(layer, Layer) else Unmasking(layer))
    return made


def folds(convolution: Any, normalization: BatchNormalization) -> bool:
    """Whether a normalisation of its filters can be a part of a convolution."""
    if type(convolution) not in (Conv1D, Conv2D, Conv3D) or convolution.data_format != "channels_last":
        return False
    is_plain = convolution.activation is activations.linear and convolution.activity_regularizer is None
    is_same_type = convolution.compute_dtype == convolution.variable_dtype == normalization.compute_dtype
    return is_plain and is_same_type and normalization.axis in (-1, convolution.rank + 1) and not normalization.renorm


def pads(padding: Any, convolution: Any) -> bool:
    """Whether margins of zeros can be a part of a convolution."""
    is_plain = type(padding) in (ZeroPadding1D, ZeroPadding2D, ZeroPadding3D)
    return is_plain and padding.data_format == convolution.data_format and convolution.padding == "valid"


def is_rectifier(layer: Any) -> bool:
    """Whether a layer is `max(x, 0)` and nothing else."""
    if type(layer) is ReLU:
        is_plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    else:
        is_plain = type(layer) is Activation and layer.activation is activations.relu
    return is_plain and layer.activity_regularizer is None
