"""The entrance of a network for images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triarch import config
from triarch.graph import SymbolicTensor
from triarch.layers import Input


def input_of(tensor: Any, shape: Sequence[int | None] | None, usual: int, least: int) -> SymbolicTensor:
    """The symbolic input: the one that is given, or one of this shape; `usual` by `usual` with 3 channels by default.

    Raises:
        ValueError: The shape is none of an image, or an image is smaller than `least` by `least`.
    """
    is_last = config.image_data_format() == "channels_last"
    if tensor is not None:
        if not isinstance(tensor, SymbolicTensor):
            raise ValueError(f"`input_tensor` is a symbolic tensor, from `Input`. Received: {tensor!r}")
        shape = tensor.shape[1:]
    elif shape is None:
        shape = (usual, usual, 3) if is_last else (3, usual, usual)
    order = "(height, width, channels)" if is_last else "(channels, height, width)"
    if len(shape) != 3 or (shape[-1] if is_last else shape[0]) is None:
        raise ValueError(f"`input_shape` is {order}, with a known number of channels. Received: {tuple(shape)}")
    sizes = shape[:2] if is_last else shape[1:]
    if any(size is not None and size < least for size in sizes):
        raise ValueError(f"Images are at least {least}×{least}. Received: input_shape={tuple(shape)}")
    return Input(shape) if tensor is None else tensor
