"""Batch normalisation as one operation with the layers around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from triarch import activations
from triarch.graph import Network, Slot, Step, leaves
from triarch.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv1D,
    Conv2D,
    Conv3D,
    ReLU,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from triarch.layers.base import mask_of


class FusedNormalization:
    """A batch normalisation with its neighbours: margins and a convolution before it, a sum and a rectifier after it.

    Where there is compiled code for the numbers, all are one operation in training: the convolution adds up what the
    normalisation needs while it writes its outputs, normalisation, sum and rectifier are one pass over memory, and the
    convolution's gradients are computed from the normalised outputs'. In inference, the normalisation is folded into
    the convolution. Where a layer has hooks, all are called one by one.
    """

    def __init__(
        self,
        normalization: BatchNormalization,
        convolution: Any = None,
        addition: Add | None = None,
        rectifier: torch.nn.Module | None = None,
        padding: Any = None,
    ) -> None:
        self.normalization = normalization
        self.convolution = convolution
        self.padding = padding
        self.margins = None if padding is None else padding._margins
        self.addition = addition
        self.rectifier = rectifier
        members = (padding, convolution, normalization, addition, rectifier)
        self.layers = [layer for layer in members if layer is not None]

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
    if type(inputs) is not torch.Tensor or mask_of(inputs) is not None:
        return False
    if residual is None:
        return True
    return residual.dtype is inputs.dtype and residual.is_contiguous() and mask_of(residual) is None


def fused(network: Network) -> list[Step]:
    """The steps of a graph, with layers put together where nobody else reads what lies between them."""
    readers = Counter(slot for step in network.steps for slot in step.reads)
    readers.update(slot.number for slot in leaves(network.outputs))
    reader_of = {slot: place for place, step in enumerate(network.steps) for slot in step.reads}
    maker_of = {step.outputs[0]: place for place, step in enumerate(network.steps) if step.is_plain}
    steps: list[Step | None] = list(network.steps)

    def sole_reader(place: int) -> int | None:
        """The place of the only step that reads what a step gives, unless it is a part of another operation already."""
        slot = network.steps[place].outputs[0]
        following = reader_of.get(slot) if readers[slot] == 1 else None
        return following if following is not None and steps[following] is network.steps[following] else None

    for place, step in enumerate(network.steps):
        if type(step.operation) is not BatchNormalization or not step.is_plain:
            continue
        members, last, source = [place], place, step.args[0]
        convolution, addition, rectifier, padding = None, None, None, None
        other: tuple[Slot, ...] = ()
        before = maker_of.get(source.number)
        if (
            before is not None
            and sole_reader(before) == place
            and _folds(network.steps[before].operation, step.operation)
        ):
            convolution, source = network.steps[before].operation, network.steps[before].args[0]
            members.append(before)
            first = maker_of.get(source.number)
            if (
                first is not None
                and sole_reader(first) == before
                and _pads(network.steps[first].operation, convolution)
            ):
                padding, source = network.steps[first].operation, network.steps[first].args[0]
                members.append(first)
        following = sole_reader(place)
        if following is not None and type(network.steps[following].operation) is Add:
            between, final = network.steps[following], sole_reader(following)
            others = [Slot(slot) for slot in between.reads if slot != step.outputs[0]]
            if len(between.reads) == 2 and len(others) == 1 and final is not None and _rectifies(network.steps[final]):
                addition, rectifier, other = between.operation, network.steps[final].operation, tuple(others)
                members, last = [*members, following, final], final
        elif following is not None and _rectifies(network.steps[following]):
            rectifier, last = network.steps[following].operation, following
            members.append(following)
        if len(members) > 1:
            for each in members:
                steps[each] = None
            operation = FusedNormalization(step.operation, convolution, addition, rectifier, padding)
            steps[last] = Step(operation, (source, *other), {}, network.steps[last].outputs, ())
    return network.freeing(step for step in steps if step is not None)


def fused_stack(stack: Sequence[torch.nn.Module]) -> list[Any]:
    """The layers of a stack, each normalisation put together with a convolution before and a rectifier after it."""
    made: list[Any] = []
    for layer in stack:
        previous = made[-1] if made else None
        if type(layer) is BatchNormalization and _folds(previous, layer):
            is_padded = len(made) > 1 and _pads(made[-2], previous)
            padding = made.pop(-2) if is_padded else None
            made[-1] = FusedNormalization(layer, convolution=previous, padding=padding)
        elif type(previous) is BatchNormalization and _is_rectifier(layer):
            made[-1] = FusedNormalization(previous, rectifier=layer)
        elif type(previous) is FusedNormalization and previous.rectifier is None and _is_rectifier(layer):
            made[-1] = FusedNormalization(
                previous.normalization, previous.convolution, rectifier=layer, padding=previous.padding
            )
        else:
            made.append(layer)
    return made


def _folds(convolution: Any, normalization: BatchNormalization) -> bool:
    """Whether a normalisation of its filters can be a part of a convolution."""
    if type(convolution) not in (Conv1D, Conv2D, Conv3D) or convolution.data_format != "channels_last":
        return False
    is_plain = convolution.activation is activations.linear and convolution.activity_regularizer is None
    is_same_type = convolution.compute_dtype == convolution.variable_dtype == normalization.compute_dtype
    return is_plain and is_same_type and normalization.axis in (-1, convolution.rank + 1) and not normalization.renorm


def _pads(padding: Any, convolution: Any) -> bool:
    """Whether margins of zeros can be a part of a convolution."""
    is_plain = type(padding) in (ZeroPadding1D, ZeroPadding2D, ZeroPadding3D)
    return is_plain and padding.data_format == convolution.data_format and convolution.padding == "valid"


def _rectifies(step: Step) -> bool:
    return step.is_plain and _is_rectifier(step.operation)


def _is_rectifier(layer: Any) -> bool:
    if type(layer) is ReLU:
        is_plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    else:
        is_plain = type(layer) is Activation and layer.activation is activations.relu
    return is_plain and layer.activity_regularizer is None
