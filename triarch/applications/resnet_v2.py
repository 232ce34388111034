"""Under the name of Keras's module: the networks of version 2, and how images are prepared for them."""

from __future__ import annotations

from typing import Any

from triarch.applications.imagenet import decode_predictions
from triarch.applications.imagenet import preprocess_input as _preprocess
from triarch.applications.networks import NETWORKS

ResNet18V2 = NETWORKS["ResNet18V2"]
ResNet34V2 = NETWORKS["ResNet34V2"]
ResNet50V2 = NETWORKS["ResNet50V2"]
ResNet101V2 = NETWORKS["ResNet101V2"]
ResNet152V2 = NETWORKS["ResNet152V2"]


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Images with red, green and blue from 0 to 255 as these networks want them: from -1 to 1."""
    return _preprocess(x, data_format, mode="tf")


__all__ = [
    "ResNet18V2",
    "ResNet34V2",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "decode_predictions",
    "preprocess_input",
]
