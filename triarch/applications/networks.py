"""The networks of the table as functions with Keras's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triarch import activations
from triarch.applications.architectures import ARCHITECTURES, Architecture, build
from triarch.applications.weights import VARIANTS, imagenet_file, origin_of, read_weights
from triarch.models import Functional

_PAPERS = {False: "https://arxiv.org/abs/1512.03385", True: "https://arxiv.org/abs/1603.05027"}


def _network(row: Architecture) -> Callable[..., Functional]:
    """The function of a row."""
    usual_classes = 10 if row.is_for_small else 1000

    def network(
        include_top: bool = True,
        weights: Any = None if row.is_for_small or (row.preactivates and not row.is_in_keras) else "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = usual_classes,
        classifier_activation: Any = "softmax",
        name: str | None = row.name.lower(),
    ) -> Functional:
        file = None if weights is None else weights
        if weights == "imagenet":
            if include_top and classes != 1000:
                raise ValueError(f"With weights='imagenet' and the top there are 1000 classes. Received: {classes}")
            file = imagenet_file(row, include_top)
        if (
            file is not None
            and include_top
            and activations.get(classifier_activation)
            not in (
                activations.linear,
                activations.softmax,
            )
        ):
            raise ValueError(
                "Weights that are read were learnt with softmax: `classifier_activation` is 'softmax' or None. "
                f"Received: {classifier_activation!r}"
            )
        variant = VARIANTS["keras" if file is None else origin_of(file)]
        model = build(
            row, include_top, input_tensor, input_shape, pooling, classes, classifier_activation, name, variant
        )
        if file is not None:
            read_weights(model, file)
        return model

    network.__name__ = network.__qualname__ = row.name
    kind = "plain network" if not row.has_shortcuts else "residual network"
    network.__doc__ = f"""The {kind} {row.name} ({_PAPERS[row.preactivates]}), with Keras's arguments.

    Args:
        include_top: Whether it ends in averages of the channels and a dense layer of `classes`.
        weights: None for fresh ones, `"imagenet"`, or the path of a file: Keras's or torchvision's.
        input_tensor: A symbolic tensor for the images; default: a new one of `input_shape`.
        pooling: Without the top: None, `"avg"` or `"max"`.

    Raises:
        ValueError: An argument does not fit, or the file's weights do not.
        ConnectionError: `"imagenet"`, and the file cannot be fetched.
    """
    return network


NETWORKS = {name: _network(row) for name, row in ARCHITECTURES.items()}
