"""Models as stacks of dense layers, behind recurrent ones or not: what they, losses and metrics are to the kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from triarch import activations, losses, metrics
from triarch.kernels import Rectifier
from triarch.kernels.perceptron import Affine, Target, refuse
from triarch.kernels.recurrent import Direction, Weights
from triarch.layers import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    ReLU,
    SimpleRNN,
    Softmax,
)
from triarch.layers.activation import in_two_steps
from triarch.watching import is_overridden

_TARGET_OF_LOSS = {  # class or function
    losses.SparseCategoricalCrossentropy: Target.CLASSES,
    losses.sparse_categorical_crossentropy: Target.CLASSES,
    losses.CategoricalCrossentropy: Target.DISTRIBUTIONS,
    losses.categorical_crossentropy: Target.DISTRIBUTIONS,
    losses.BinaryCrossentropy: Target.DECISIONS,
    losses.binary_crossentropy: Target.DECISIONS,
    losses.MeanSquaredError: Target.VALUES,
    losses.mean_squared_error: Target.VALUES,
}
_TARGET_OF_METRIC = {
    metrics.SparseCategoricalAccuracy: Target.CLASSES,
    metrics.sparse_categorical_accuracy: Target.CLASSES,
    metrics.CategoricalAccuracy: Target.DISTRIBUTIONS,
    metrics.categorical_accuracy: Target.DISTRIBUTIONS,
    metrics.BinaryAccuracy: Target.DECISIONS,
    metrics.binary_accuracy: Target.DECISIONS,
}
_RECURRENT = (SimpleRNN, LSTM, GRU)
_ENDS = {  # the function behind the last layer -> the targets that it serves
    activations.softmax: (Target.CLASSES, Target.DISTRIBUTIONS),
    activations.sigmoid: (Target.DECISIONS,),
    activations.linear: (Target.VALUES,),
}
_MEANS = ("mean", "sum_over_batch_size", "mean_with_sample_weight")  # all the same without weights


class RefusalError(Exception):
    """Why a step cannot be one call; the message goes on after "layer by layer, because "."""


class Stack(NamedTuple):
    """Dense layers one after the other, and the function behind the last of them.

    Args:
        products: Multiplications for each row.
        recurrent: The recurrent layers before them, each with its ways through the series.
    """

    layers: list[Affine]
    end: Any
    products: int
    recurrent: list[list[Any]]

    @property
    def ways(self) -> list[Any]:
        """All ways of recurrent layers."""
        return [way for ways in self.recurrent for way in ways]

    @property
    def weights(self) -> list[torch.Tensor]:
        """Of the dense layers."""
        return [weight for layer in self.layers for weight in layer[:2] if weight is not None]


def read_stack(layers: Sequence[torch.nn.Module], learns: bool) -> Stack:
    """The layers of a model as a stack.

    Raises:
        RefusalError: They are no stack of dense layers.
    """
    layers = list(layers)
    recurrent: list[list[Any]] = []
    while layers and isinstance(layers[0], (*_RECURRENT, Bidirectional)):
        recurrent.append(_ways(layers.pop(0), learns))
    if any(way.return_sequences != (ways is not recurrent[-1]) for ways in recurrent for way in ways):
        raise RefusalError("the last recurrent layer gives the outputs of all steps, or another one only the last")
    found: list[Affine] = []
    end: Any = activations.linear
    for layer in layers:
        kind, name = type(layer), getattr(layer, "name", type(layer).__name__)
        if (kind is Flatten and not (found or recurrent) and layer.data_format == "channels_last") or (
            kind is Dropout and not (learns and layer.rate)
        ):
            continue
        if kind not in (Dense, Activation, ReLU, LeakyReLU, Softmax) or (kind is not Dense and not found):
            raise RefusalError(f"layer {name!r} is no dense layer")
        if end is not activations.linear:
            raise RefusalError(f"layer {name!r} comes after a {end.__name__}")
        if layer.compute_dtype != layer.variable_dtype or layer.activity_regularizer is not None:
            raise RefusalError(f"layer {name!r} has a precision or a regularizer of its own")
        if kind is Dense:
            _check_weights(layer, name)
            found.append(Affine(layer.kernel, layer.bias, None))
        activation = _activation_of(layer)
        if isinstance(activation, Rectifier):
            if found[-1].rectifier is not None:
                raise RefusalError(f"layer {name!r} rectifies what is rectified already")
            found[-1] = found[-1]._replace(rectifier=activation)
        elif activation in _ENDS:
            end = activation
        else:
            raise RefusalError(f"layer {name!r} has another activation than rectifiers, softmax and sigmoid")
    if not found:
        raise RefusalError("the model has no dense layer")
    if (reason := refuse(found)) is not None:
        raise RefusalError(reason)
    if end is not activations.linear and found[-1].rectifier is not None:
        raise RefusalError(f"a rectifier comes before the {end.__name__}")
    if any(weight.dtype != found[0].kernel.dtype for ways in recurrent for way in ways for weight in way.weights):
        raise RefusalError("its layers have weights of several types")
    return Stack(found, end, sum(math.prod(affine.kernel.shape) for affine in found), recurrent)


def _ways(layer: Any, learns: bool) -> list[Any]:
    """The ways of a recurrent layer through its series: itself, or the two layers of a bidirectional one.

    Raises:
        RefusalError: It does more than that.
    """
    if isinstance(layer, Bidirectional):
        ways = [layer.forward_layer, layer.backward_layer]
        plain = type(layer) is Bidirectional and layer.merge_mode == "concat" and not ways[0].go_backwards
    else:
        ways, plain = [layer], not (layer.go_backwards and layer.return_sequences)
    for way in ways:
        cell = way.cell if type(way) in _RECURRENT else None
        has_dropout = cell is not None and learns and (cell.dropout or cell.recurrent_dropout)
        if cell is None or cell.compiled is None or way.return_state or has_dropout or not plain:
            raise RefusalError(f"layer {layer.name!r} is no plain recurrent layer")
        own = (layer, way, cell)
        if any(each.compute_dtype != each.variable_dtype or each.activity_regularizer is not None for each in own):
            raise RefusalError(f"layer {layer.name!r} has a precision or a regularizer of its own")
        _check_weights(cell, layer.name)
        if any(weight.device.type != "cpu" or not weight.is_contiguous() for weight in cell.weights):
            raise RefusalError(f"the weights of layer {layer.name!r} lie elsewhere, or not one number after the other")
    return ways


def direction_of(way: Any) -> Direction:
    """A recurrent layer as the kernels know it."""
    cell = way.cell
    return Direction(cell.compiled, Weights(cell.kernel, cell.recurrent_kernel, cell.bias), way.go_backwards)


def _check_weights(layer: Any, name: str) -> None:
    if not layer.built:
        raise RefusalError(f"layer {name!r} is not built")
    for weight in layer.weights:
        if getattr(weight, "regularizer", None) or getattr(weight, "constraint", None):
            raise RefusalError(f"layer {name!r} has a regularizer or a constraint")
        if getattr(weight, "learning_rate_factor", 1.0) != 1.0:
            raise RefusalError(f"layer {name!r} has a learning rate of its own")


def _activation_of(layer: Any) -> Any:
    """The rectifier or the function of a layer; None where it is no function of this package."""
    if type(layer) is ReLU:
        cap = math.inf if layer.max_value is None else float(layer.max_value)
        return Rectifier(float(layer.negative_slope), cap) if layer.threshold == 0 else None
    if type(layer) is LeakyReLU:
        return Rectifier(float(layer.negative_slope))
    if type(layer) is Softmax:
        return activations.softmax if layer.axis == -1 else None
    in_place, after = in_two_steps(layer.activation)
    if after is activations.linear:
        return in_place if isinstance(in_place, Rectifier) or in_place is activations.linear else None
    return next((end for end in _ENDS if after is end), None)


def target_for_prediction(end: Any) -> Target:
    """Targets of a stack of which only the outputs are wanted."""
    return _ENDS[end][0]


def target_of_loss(loss: Any, end: Any, dtype: str) -> Target:
    """What the labels are.

    Raises:
        RefusalError: The loss is none of the kernel's, or does not belong to the function behind the last layer.
    """
    kind = loss.fn if type(loss) is losses.LossFunctionWrapper and not loss._fn_kwargs else type(loss)
    target = _TARGET_OF_LOSS.get(kind)
    if target is None or is_overridden(loss) or loss.reduction not in _MEANS or loss.dtype != dtype:
        raise RefusalError(f"loss {loss.name!r} is not one of the kernel's")
    settings = {"label_smoothing": (0,), "ignore_class": (None,), "axis": (-1, 1)}
    if any(getattr(loss, name, accepted[0]) not in accepted for name, accepted in settings.items()):
        raise RefusalError(f"loss {loss.name!r} smooths labels, leaves some out, or has another axis")
    is_of_logits = getattr(loss, "from_logits", False)
    fits = end is activations.linear and target is not Target.VALUES if is_of_logits else target in _ENDS[end]
    if not fits:
        raise RefusalError(f"loss {loss.name!r} is not of what a {end.__name__} gives")
    return target


def threshold_of_metric(metric: Any, target: Target, end: Any, dtype: str) -> float:
    """Above which output a decision is 1, where the metric counts the hits of the kernel.

    Raises:
        RefusalError: It counts something else.
    """
    kind = metric.fn if type(metric) is metrics.MeanMetricWrapper and not metric._fn_kwargs else type(metric)
    fits = _TARGET_OF_METRIC.get(kind) == target and not (target is Target.DECISIONS and end is activations.linear)
    if not fits or is_overridden(metric) or metric.dtype != dtype or metric.total.device.type != "cpu":
        raise RefusalError(f"metric {metric.name!r} is not one of the kernel's")
    return float(getattr(metric, "threshold", 0.5))
