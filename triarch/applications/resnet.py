"""Under the name of Keras's module: the networks, and how images are prepared for them."""

from __future__ import annotations

from typing import Any

from triarch.applications.imagenet import decode_predictions
from triarch.applications.imagenet import preprocess_input as _preprocess
from triarch.applications.networks import NETWORKS

ResNet18 = NETWORKS["ResNet18"]
ResNet34 = NETWORKS["ResNet34"]
ResNet50 = NETWORKS["ResNet50"]
ResNet101 = NETWORKS["ResNet101"]
ResNet152 = NETWORKS["ResNet152"]


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Images with red, green and blue from 0 to 255 as these networks want them: blue, green and red minus means."""
    return _preprocess(x, data_format, mode="caffe")


__all__ = [
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "decode_predictions",
    "preprocess_input",
]
