"""Images as networks for ImageNet were trained on them, and what their outputs mean."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from triarch.config import standardize_data_format
from triarch.tensors import as_tensor
from triarch.utils import get_file

MEANS = {"caffe": (103.939, 116.779, 123.68), "torch": (0.485, 0.456, 0.406)}  # caffe's: blue, green, red
DEVIATIONS = (0.229, 0.224, 0.225)
_CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
_CLASSES_HASH = "c2c37ea517e94d9795004a39431a14cb"


def preprocess_input(x: Any, data_format: str | None = None, mode: str = "caffe") -> Any:
    """Images with red, green and blue from 0 to 255, as the network wants them; arrays stay arrays.

    Args:
        mode: `"caffe"`, blue, green and red minus their means over ImageNet (ResNet); `"tf"`, from -1 to 1 (ResNetV2);
            `"torch"`, from 0 to 1, minus means, divided by deviations (torchvision's).
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(f"`mode` is 'caffe', 'tf' or 'torch'. Received: mode={mode!r}")
    axis = -1 if standardize_data_format(data_format) == "channels_last" else -3
    images = as_tensor(x)
    images = images if images.is_floating_point() else images.float()
    if images.shape[axis] != 3:
        raise ValueError(f"Images have three channels on axis {axis}. Received: shape {tuple(images.shape)}")
    if mode == "tf":
        made = images / 127.5 - 1
    else:
        shape = (3,) if axis == -1 else (3, 1, 1)
        means = torch.tensor(MEANS[mode], dtype=images.dtype, device=images.device).reshape(shape)
        if mode == "caffe":
            made = images.flip(axis) - means
        else:
            deviations = torch.tensor(DEVIATIONS, dtype=images.dtype, device=images.device).reshape(shape)
            made = (images / 255 - means) / deviations
    return made.numpy() if isinstance(x, np.ndarray) else made


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """The `top` classes of each row of 1000 probabilities: `(WordNet number, name, probability)`.

    The names are fetched once.

    Raises:
        ValueError: The rows do not hold 1000 numbers.
        ConnectionError: The names are not there yet, and cannot be fetched.
    """
    rows = np.asarray(preds)
    if rows.ndim != 2 or rows.shape[1] != 1000:
        raise ValueError(f"Rows of 1000 probabilities can be decoded. Received: shape {rows.shape}")
    path = get_file("imagenet_class_index.json", _CLASSES, cache_subdir="models", file_hash=_CLASSES_HASH)
    with open(path) as file:
        names = json.load(file)
    best = np.argsort(-rows, axis=1)[:, :top]
    return [
        [(*names[str(place)], float(row[place])) for place in places] for row, places in zip(rows, best, strict=True)
    ]
