"""Images `(batch, height, width, channels)`, or one without its batch axis: sizes, patches, transformations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from triarch.config import standardize_data_format
from triarch.ops.table import as_float, op, tensor

__all__ = [
    "affine_transform",
    "crop_images",
    "extract_patches",
    "pad_images",
    "resize",
    "rgb_to_grayscale",
]

_LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


def _first(images: torch.Tensor, data_format: Any) -> torch.Tensor:
    """As torch has them: (batch, channels, height, width)."""
    if images.ndim not in (3, 4):
        raise ValueError(f"Images have 3 axes, or 4 with the batch's. Received: shape {tuple(images.shape)}")
    batch = images if images.ndim == 4 else images.unsqueeze(0)
    return batch.movedim(-1, 1) if standardize_data_format(data_format) == "channels_last" else batch


def _back(batch: torch.Tensor, like: torch.Tensor, data_format: Any) -> torch.Tensor:
    images = batch.movedim(1, -1) if standardize_data_format(data_format) == "channels_last" else batch
    return images if like.ndim == 4 else images.squeeze(0)


def _checked(value: str, allowed: Sequence[str], name: str) -> str:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {tuple(allowed)}. Received: {value!r}")
    return value


@op("image", config=("data_format",), class_name="RGBToGrayscale")
def rgb_to_grayscale(images: Any, data_format: Any = None) -> Any:
    """The brightness of red, green and blue, as one channel."""
    images = tensor(images)
    axis = -1 if standardize_data_format(data_format) == "channels_last" else -3
    red, green, blue = images.unbind(axis)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(axis).to(images.dtype)


@op(
    "image",
    config=(
        "size",
        "interpolation",
        "antialias",
        "crop_to_aspect_ratio",
        "pad_to_aspect_ratio",
        "fill_mode",
        "fill_value",
        "data_format",
    ),
)
def resize(
    images: Any,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: Any = None,
) -> Any:
    """The images in another (height, width).

    Args:
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: Whether pixels that become fewer are averaged.
        crop_to_aspect_ratio: Whether what does not fit the new shape is cut off at both ends.
        pad_to_aspect_ratio: Whether the images get margins of `fill_value` instead.
        fill_mode: Only `"constant"`.
    """
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("Only one of `crop_to_aspect_ratio` and `pad_to_aspect_ratio` can be True. Received: both")
    _checked(fill_mode, ("constant",), "fill_mode")
    _checked(interpolation, _INTERPOLATIONS, "interpolation")
    images = tensor(images)
    batch = _first(images, data_format)
    height, width = batch.shape[-2:]
    new_height, new_width = size
    if crop_to_aspect_ratio:
        tall, wide = min(height, int(width * new_height / new_width)), min(width, int(height * new_width / new_height))
        top, left = int((height - tall) / 2), int((width - wide) / 2)
        batch = batch[..., top : top + tall, left : left + wide]
    elif pad_to_aspect_ratio:
        tall, wide = max(height, int(width * new_height / new_width)), max(width, int(height * new_width / new_height))
        top, left = int((tall - height) / 2), int((wide - width) / 2)
        batch = F.pad(batch, (left, wide - width - left, top, tall - height - top), value=fill_value)
    numbers = batch if batch.is_floating_point() else batch.float()
    smooth = {} if interpolation == "nearest" else {"antialias": antialias, "align_corners": False}
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    made = F.interpolate(numbers, tuple(size), mode=mode, **smooth)
    if not batch.is_floating_point():
        limits = torch.iinfo(batch.dtype)
        made = made.round().clamp(limits.min, limits.max).to(batch.dtype)
    return _back(made, images, data_format)


@op("image", config=("size", "strides", "dilation_rate", "padding", "data_format"))
def extract_patches(
    images: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
) -> Any:
    """The patches as channels: `(batch, rows, columns, height * width * channels)`.

    Args:
        strides: How far patches are from each other; default: as far as they are large.
    """
    images = tensor(images)
    batch = _first(images, data_format)
    size, strides, dilation = (
        (part, part) if hasattr(part, "__index__") else tuple(part)
        for part in (size, size if strides is None else strides, dilation_rate)
    )
    if _checked(padding.lower(), ("valid", "same"), "padding") == "same":
        totals = [
            max((-(-whole // step) - 1) * step + (part - 1) * rate + 1 - whole, 0)
            for whole, step, part, rate in zip(batch.shape[-2:], strides, size, dilation, strict=True)
        ]
        batch = F.pad(batch, (totals[1] // 2, -(-totals[1] // 2), totals[0] // 2, -(-totals[0] // 2)))
    rows, columns = (
        (whole - (part - 1) * rate - 1) // step + 1
        for whole, step, part, rate in zip(batch.shape[-2:], strides, size, dilation, strict=True)
    )
    channels = batch.shape[1]
    patches = F.unfold(batch, size, dilation, 0, strides).reshape(
        len(batch), channels, size[0] * size[1], rows, columns
    )
    return _back(patches.transpose(1, 2).flatten(1, 2), images, data_format)


@op(
    "image",
    config=("interpolation", "fill_mode", "fill_value", "data_format"),
)
def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: Any = None,
) -> Any:
    """Each output place (x, y) takes what stands at `(a0 x + a1 y + a2, b0 x + b1 y + b2) / (c0 x + c1 y + 1)`.

    Args:
        transform: `a0, a1, a2, b0, b1, b2, c0, c1` for each image; x counts columns, y rows.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: What stands outside: `"constant"` (`fill_value`), `"nearest"`, `"wrap"`, `"mirror"` (without the edge
            twice) or `"reflect"` (with it).
    """
    _checked(interpolation, ("nearest", "bilinear"), "interpolation")
    _checked(fill_mode, _FILL_MODES, "fill_mode")
    images = tensor(images)
    batch = _first(images, data_format)
    transform = as_float(transform).to(batch.device)
    if transform.shape[-1:] != (8,) or transform.ndim != images.ndim - 2:
        raise ValueError(
            f"`transform` holds 8 numbers for each image. Received: shapes {tuple(transform.shape)} and "
            f"{tuple(images.shape)}"
        )
    height, width = batch.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=transform.dtype, device=batch.device),
        torch.arange(width, dtype=transform.dtype, device=batch.device),
        indexing="ij",
    )
    a0, a1, a2, b0, b1, b2, c0, c1 = transform.reshape(-1, 8).T[..., None, None]
    scale = c0 * x + c1 * y + 1
    columns, rows = (a0 * x + a1 * y + a2) / scale, (b0 * x + b1 * y + b2) / scale
    return _back(_sampled(batch, [rows, columns], interpolation, fill_mode, fill_value), images, data_format)


def _sampled(
    batch: torch.Tensor, places: list[torch.Tensor], interpolation: str, fill_mode: str, fill_value: float
) -> torch.Tensor:
    """What stands at fractional (rows, columns) of each image."""
    corners: list[list[tuple[torch.Tensor, torch.Tensor]]] = []  # for each axis: (place, weight)
    for position in places:
        if interpolation == "nearest":
            corners.append([(position.round(), torch.ones_like(position))])
        else:
            low = position.floor()
            corners.append([(low, low + 1 - position), (low + 1, position - low)])
    numbers = batch if batch.is_floating_point() else batch.float()
    total: Any = 0.0
    for row, row_weight in corners[0]:
        for column, column_weight in corners[1]:
            found = _at(numbers, row, column, fill_mode, fill_value)
            total = total + found * (row_weight * column_weight).unsqueeze(1)
    return total if batch.is_floating_point() else total.round().to(batch.dtype)


def _at(
    batch: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, fill_mode: str, fill_value: float
) -> torch.Tensor:
    height, width = batch.shape[-2:]
    row, column = (_inside(place.long(), size, fill_mode) for place, size in ((rows, height), (columns, width)))
    flat = (row * width + column).flatten(1).unsqueeze(1).expand(-1, batch.shape[1], -1)
    found = torch.gather(batch.flatten(2), 2, flat).unflatten(2, rows.shape[1:])
    if fill_mode != "constant":
        return found
    is_inside = ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)).unsqueeze(1)
    return torch.where(is_inside, found, torch.as_tensor(fill_value, dtype=found.dtype, device=found.device))


def _inside(place: torch.Tensor, size: int, fill_mode: str) -> torch.Tensor:
    """Which place of the axis stands at a place that may lie outside."""
    if fill_mode in ("constant", "nearest"):
        return place.clamp(0, size - 1)
    if fill_mode == "wrap":
        return place % size
    period = max(2 * size - 2, 1) if fill_mode == "mirror" else 2 * size
    place = place % period
    return torch.where(place < size, place, period - place - int(fill_mode == "reflect"))


def _margins(total: int, first: int | None, last: int | None, goal: int | None, names: str) -> tuple[int, int]:
    """What is added or cut at both ends, from two of: the first, the last, the new size."""
    if [first, last, goal].count(None) != 1:
        raise ValueError(f"Give exactly two of {names}. Received: {first}, {last}, {goal}")
    if first is None:
        return total - last, last  # type: ignore[operator, return-value]
    return (first, total - first) if last is None else (first, last)


_PADDINGS = ("top_padding", "left_padding", "bottom_padding", "right_padding", "target_height", "target_width")


@op("image", config=(*_PADDINGS, "data_format"))
def pad_images(
    images: Any,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: Any = None,
) -> Any:
    """Zeros around the images: for each axis, two of both margins and the new size."""
    images = tensor(images)
    batch = _first(images, data_format)
    height, width = batch.shape[-2:]
    rows = _margins((target_height or 0) - height, top_padding, bottom_padding, target_height, "the heights")
    columns = _margins((target_width or 0) - width, left_padding, right_padding, target_width, "the widths")
    if min(*rows, *columns) < 0:
        raise ValueError(f"Margins are not negative. Received: {rows} above and below, {columns} left and right")
    return _back(F.pad(batch, (*columns, *rows)), images, data_format)


_CROPPINGS = ("top_cropping", "left_cropping", "bottom_cropping", "right_cropping", "target_height", "target_width")


@op("image", config=(*_CROPPINGS, "data_format"))
def crop_images(
    images: Any,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: Any = None,
) -> Any:
    """The images without their margins: for each axis, two of both margins and the new size."""
    images = tensor(images)
    batch = _first(images, data_format)
    height, width = batch.shape[-2:]
    rows = _margins(height - (target_height or 0), top_cropping, bottom_cropping, target_height, "the heights")
    columns = _margins(width - (target_width or 0), left_cropping, right_cropping, target_width, "the widths")
    if min(*rows, *columns) < 0 or sum(rows) >= height or sum(columns) >= width:
        raise ValueError(f"Nothing would be left. Received: {rows} above and below, {columns} left and right")
    return _back(batch[..., rows[0] : height - rows[1], columns[0] : width - columns[1]], images, data_format)
