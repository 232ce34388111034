"""`class_weight`: what the classes of labels weigh, as weights of samples or of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import torch

from triarch import config, losses
from triarch.losses import LossFunctionWrapper
from triarch.tensors import torch_dtype
from triarch.training.naming import NAMES_BY_SHAPE
from triarch.training.outputs import sole


class Labels(Enum):
    """How labels name classes."""

    NUMBERS = auto()  # each is the number of a class
    DISTRIBUTIONS = auto()  # along the last axis, one-hot or a probability for each class
    ANY = auto()  # what the shape says


_LABELS_OF_LOSS = {  # class or function
    losses.SparseCategoricalCrossentropy: Labels.NUMBERS,
    losses.sparse_categorical_crossentropy: Labels.NUMBERS,
    losses.CategoricalGeneralizedCrossEntropy: Labels.NUMBERS,
    losses.categorical_generalized_cross_entropy: Labels.NUMBERS,
    losses.CategoricalCrossentropy: Labels.DISTRIBUTIONS,
    losses.categorical_crossentropy: Labels.DISTRIBUTIONS,
    losses.CategoricalFocalCrossentropy: Labels.DISTRIBUTIONS,
    losses.categorical_focal_crossentropy: Labels.DISTRIBUTIONS,
    losses.CategoricalHinge: Labels.DISTRIBUTIONS,
    losses.categorical_hinge: Labels.DISTRIBUTIONS,
    losses.KLDivergence: Labels.DISTRIBUTIONS,
    losses.kl_divergence: Labels.DISTRIBUTIONS,
}
_ONE = 1e-3  # how far the sum of a distribution may be from 1


class ClassWeights:
    """What each class weighs; classes that are not named weigh 1.

    Args:
        class_weight: Class numbers, negative ones too, and their weights.
        loss: The loss of the model, as `compile` takes it.
        output_rank: The number of axes of the model's output, where it is known.
    """

    def __init__(self, class_weight: Mapping[int, float], loss: Any = None, output_rank: int | None = None) -> None:
        table = sorted(_checked(class_weight).items())
        self._classes = torch.tensor([label for label, _ in table], dtype=torch.float64)
        self._weights = torch.tensor([weight for _, weight in table], dtype=torch_dtype(config.floatx()))
        self._labels = _labels_of(loss)
        self._output_rank = output_rank

    def of(self, y: Any, sample_weight: Any = None) -> torch.Tensor:
        """The weights of the classes of `y`, for each sample or for each step; there must be no `sample_weight`."""
        if sample_weight is not None:
            raise ValueError(
                "Give `class_weight` or `sample_weight`, not both; weights of both kinds can be multiplied beforehand. "
                "Received: class_weight, and data with sample_weight"
            )
        y = sole(y)
        if not isinstance(y, torch.Tensor):
            raise ValueError(f"`class_weight` needs a model with one output. Received: y of type {type(y).__name__}")
        numbers = self._numbers(y)
        if not len(self._classes):
            return torch.ones(numbers.shape, dtype=self._weights.dtype, device=numbers.device)
        classes, weights = self._classes.to(numbers.device), self._weights.to(numbers.device)
        numbers = numbers.to(torch.float64).round().contiguous()
        places = torch.searchsorted(classes, numbers).clamp(max=len(classes) - 1)
        return weights[places].masked_fill(classes[places] != numbers, 1.0)

    def _numbers(self, y: torch.Tensor) -> torch.Tensor:
        """The class number of each sample, or of each step."""
        if y.ndim <= 1:
            return y
        if y.shape[-1] == 1:
            return y.squeeze(-1)
        if self._labels is Labels.DISTRIBUTIONS:
            return y.argmax(-1)
        if self._labels is Labels.NUMBERS or y.ndim + 1 == self._output_rank:
            return y
        if _are_distributions(y):
            return y.argmax(-1)
        raise ValueError(
            "`class_weight` needs labels that name one class for each sample: class numbers, or one-hot rows. Several "
            "labels a sample weigh by `sample_weight` in the shape of the labels; labels of steps have a last axis of "
            f"1. Received: y of shape {tuple(y.shape)}, whose rows do not sum to 1"
        )


def _are_distributions(y: torch.Tensor) -> bool:
    return bool((y >= 0).all()) and bool(((y.double().sum(-1) - 1).abs() < _ONE).all())


def _labels_of(loss: Any) -> Labels:
    loss = sole(loss)
    if isinstance(loss, str):
        loss = None if loss.lower() in NAMES_BY_SHAPE else losses.get(loss)
    kind = (
        loss.fn if type(loss) is LossFunctionWrapper else loss if callable(loss) and hasattr(loss, "__name__") else None
    )
    return _LABELS_OF_LOSS.get(type(loss) if kind is None else kind, Labels.ANY)


def _checked(class_weight: Any) -> dict[int, float]:
    """The table as plain numbers.

    Raises:
        ValueError: It is no table of class numbers and finite weights.
    """
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            "`class_weight` must be a dict of class numbers and weights, as `dict(enumerate(weights))`. "
            f"Received: {class_weight!r}"
        )
    table: dict[int, float] = {}
    for label, weight in class_weight.items():
        try:
            number, value = float(label), float(weight)
        except (TypeError, ValueError):
            number = value = math.nan
        if not number.is_integer() or not math.isfinite(value):
            raise ValueError(
                "`class_weight` must have whole class numbers as keys and finite numbers as weights. "
                f"Received: {label!r}: {weight!r}"
            )
        table[int(number)] = value
    return table
