"""The networks that `--model` names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from triarch import applications, layers
from triarch.applications.imagenet import DEVIATIONS, MEANS
from triarch.applications.weights import TORCHVISION, origin_of
from triarch.layers import Layer
from triarch.models import Functional, Model, Sequential

_FIRST_FILTERS = 32
_MOST_FILTERS = 128
_SMALLEST_TRANSFORMED = 4  # pixels, of which the poolings of a localisation leave one
_SLOWER = 0.1  # the learning rate of what has learnt before, or moves the whole image, times that of the rest


_Network = Callable[..., Model]


def cnn(shape: tuple[int, int, int], classes: int, value_range: tuple[float, float]) -> Sequential:
    """Pairs of 3x3 convolutions, each pair before a pooling that halves the image, down to a side below 8 pixels.

    The network takes pixels as they are in the data and scales `value_range` to 0..1 itself.
    """
    return Sequential([layers.Input(shape), _scaled(value_range), *_convolutions(shape, classes)], name="cnn")


def _scaled(value_range: tuple[float, float]) -> Layer:
    """To 0..1."""
    lowest, highest = value_range
    scale = 1 / (highest - lowest)
    return layers.Rescaling(scale, offset=-lowest * scale)


def _convolutions(shape: tuple[int, int, int], classes: int) -> list[Layer]:
    stack: list[Layer] = []
    filters, side = _FIRST_FILTERS, min(shape[:2])
    while side >= 8 and filters <= _MOST_FILTERS:
        stack += [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        stack += [layers.MaxPooling2D()]
        filters, side = 2 * filters, side // 2
    return [
        *stack,
        layers.Conv2D(min(filters, _MOST_FILTERS), 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(classes, activation="softmax"),
    ]


def stn(shape: tuple[int, int, int], classes: int, value_range: tuple[float, float]) -> Sequential:
    """A spatial transformer before two dense layers.

    Raises:
        ValueError: The images are too small for its localisation.
    """
    dense = [layers.Flatten(), *(layers.Dense(128, activation="relu") for _ in range(2)), layers.Dropout(0.5)]
    return _transforming("stn", shape, value_range, [*dense, layers.Dense(classes, activation="softmax")])


def stn_cnn(shape: tuple[int, int, int], classes: int, value_range: tuple[float, float]) -> Sequential:
    """A spatial transformer before the convolutions of `cnn`.

    Raises:
        ValueError: The images are too small for its localisation.
    """
    return _transforming("stn-cnn", shape, value_range, _convolutions(shape, classes))


def _transforming(
    name: str, shape: tuple[int, int, int], value_range: tuple[float, float], behind: list[Layer]
) -> Sequential:
    if min(shape[:2]) < _SMALLEST_TRANSFORMED:
        raise ValueError(f"{name} takes images of at least {_SMALLEST_TRANSFORMED} pixels a side. Received: {shape}")
    transformer = layers.SpatialTransformer("cnn", "affine", learning_rate_factor=_SLOWER)
    return Sequential([layers.Input(shape), _scaled(value_range), transformer, *behind], name=name)


def residual(
    name: str, shape: tuple[int, int, int], classes: int, value_range: tuple[float, float], weights: str | None = None
) -> Model:
    """A network of the residual family, which takes pixels as they are in the data.

    With `weights` (a file, or `"imagenet"`), what is read learns at a tenth of the learning rate below a new top.

    Raises:
        ValueError: The images are too small or have not the three channels of the weights, or the file does not fit.
    """
    lowest, highest = value_range
    inputs = layers.Input(shape)
    if weights is None:
        scale = 2 / (highest - lowest)
        scaled = layers.Rescaling(scale, offset=-lowest * scale - 1)(inputs)
        return Functional(inputs, RESIDUAL[name](weights=None, input_shape=shape, classes=classes)(scaled), name=name)
    if shape[2] != 3:
        raise ValueError(f"{name} has learnt from images of three colours. Received: images of shape {shape}")
    base = RESIDUAL[name](weights=weights, include_top=False, pooling="avg", input_shape=shape)
    base.learning_rate_factor = _SLOWER
    scale = 255 / (highest - lowest)
    prepared = layers.Rescaling(scale, offset=-lowest * scale)(inputs)  # from 0 to 255
    is_torchs = name in ("resnet18", "resnet34") if weights == "imagenet" else origin_of(weights) == TORCHVISION
    if is_torchs:
        factors = [1 / (255 * deviation) for deviation in DEVIATIONS]
        offsets = [-mean / deviation for mean, deviation in zip(MEANS["torch"], DEVIATIONS, strict=True)]
        prepared = layers.Rescaling(factors, offset=offsets)(prepared)
    else:
        prepared = layers.Rescaling(1.0, offset=[-mean for mean in MEANS["caffe"]])(torch.flip(prepared, (-1,)))
    features = layers.Dropout(0.2)(base(prepared))
    return Functional(inputs, layers.Dense(classes, activation="softmax", name="top")(features), name=name)


RESIDUAL = {  # may begin with weights from a file
    name.lower(): getattr(applications, name)
    for name in ("ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet20", "ResNet32", "ResNet44", "ResNet56")
}

NETWORKS: dict[str, _Network] = {
    "cnn": cnn,
    "stn": stn,
    "stn-cnn": stn_cnn,
    **{name: partial(residual, name) for name in RESIDUAL},
}
