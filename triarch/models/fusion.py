"""Layers in one pass over memory: batch normalisation with the sum and the rectifier that follow it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from triarch import activations
from triarch.graph import Network, Slot, Step, leaves
from triarch.layers import Activation, Add, BatchNormalization, ReLU
from triarch.layers.base import mask_of


class FusedNormalization:
    """A batch normalisation, perhaps a sum with something else, and a rectifier, as one operation.

    Where there is no compiled code for the numbers, or a layer has hooks, the layers are called one by one.
    """

    def __init__(
        self, normalization: BatchNormalization, rectifier: torch.nn.Module, addition: Add | None = None
    ) -> None:
        self.normalization = normalization
        self.rectifier = rectifier
        self.addition = addition
        self.layers = [layer for layer in (normalization, addition, rectifier) if layer is not None]

    def __call__(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """What the layers give, one after the other."""
        layer = self.normalization
        if layer.built and _fit(inputs, residual) and not self._has_listeners():
            outputs = layer.normalize(inputs, residual, rectifies=True, training=layer.training)
            if outputs is not None:
                return outputs
        outputs = layer(inputs)
        if self.addition is not None:
            outputs = self.addition([residual, outputs])
        return self.rectifier(outputs)

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
    is_alike = residual.shape == inputs.shape and residual.dtype is inputs.dtype and residual.is_contiguous()
    return is_alike and mask_of(residual) is None


def fused(network: Network) -> list[Step]:
    """The steps of a graph, with layers put together where nobody else reads what lies between them."""
    readers = Counter(slot for step in network.steps for slot in step.reads)
    readers.update(slot.number for slot in leaves(network.outputs))
    reader_of = {slot: place for place, step in enumerate(network.steps) for slot in step.reads}
    steps: list[Step | None] = list(network.steps)

    def sole_reader(step: Step) -> int | None:
        return reader_of.get(step.outputs[0]) if readers[step.outputs[0]] == 1 else None

    for place, step in enumerate(network.steps):
        if type(step.operation) is not BatchNormalization or not step.is_plain:
            continue
        following = sole_reader(step)
        if following is None:
            continue
        replaced, addition = [place], None
        other: tuple[Slot, ...] = ()
        between = network.steps[following]
        if type(between.operation) is Add and len(between.reads) == 2:
            others = [slot for slot in between.reads if slot != step.outputs[0]]
            last = sole_reader(between)
            if len(others) != 1 or last is None or steps[following] is None:
                continue
            addition, other = between.operation, tuple(map(Slot, others))
            replaced.append(following)
            following = last
        final = network.steps[following]
        if final.is_plain and _rectifies(final.operation) and steps[following] is final:
            operation = FusedNormalization(step.operation, final.operation, addition)
            steps[following] = Step(operation, (step.args[0], *other), {}, final.outputs, ())
            for each in replaced:
                steps[each] = None
    return network.freeing(step for step in steps if step is not None)


def fused_stack(stack: Sequence[torch.nn.Module]) -> list[Any]:
    """The layers of a stack, each normalisation and the rectifier after it as one operation."""
    made: list[Any] = []
    for layer in stack:
        if made and type(made[-1]) is BatchNormalization and _rectifies(layer):
            made[-1] = FusedNormalization(made[-1], layer)
        else:
            made.append(layer)
    return made


def _rectifies(layer: Any) -> bool:
    if type(layer) is ReLU:
        is_plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    else:
        is_plain = type(layer) is Activation and layer.activation is activations.relu
    return is_plain and layer.activity_regularizer is None
