"""What layers of images share: axes, single images, dicts with labels, and draws that differ from image to image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from triarch.config import standardize_data_format
from triarch.graph import SymbolicTensor, leaves
from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.random import SeedGenerator, generator_for
from triarch.tensors import as_tensor, dtype_name, torch_dtype

Size = tuple[int, int]
Transformation = Any  # what was drawn for a batch: a dict of tensors, mostly

_REFUSED = ("bounding_boxes", "segmentation_masks")


@dataclass(frozen=True)
class Draws:
    """Random numbers for a batch: where they come from, where they are needed, and their type."""

    generator: torch.Generator
    device: torch.device
    dtype: torch.dtype

    def empty(self, *shape: int) -> Tensor:
        """Memory for numbers."""
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers spread evenly over `[low, high)`; `low`, where they are equal."""
        return self.empty(*shape).uniform_(low, high, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of mean 0 and standard deviation 1."""
        return self.empty(*shape).normal_(generator=self.generator)

    def order(self, count: int) -> Tensor:
        """The numbers below `count`, in random order."""
        return torch.randperm(count, generator=self.generator, device=self.device)


class Augmentation(Layer):
    """A layer that works in training; an interface, never made by itself.

    In a model it follows the model. Called by itself it works unless it is told `training=False`, as in Keras.
    """

    def _call_outermost(self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> Any:
        if training is None and not any(isinstance(leaf, SymbolicTensor) for leaf in leaves((args, kwargs))):
            training = True
        return super()._call_outermost(args, kwargs, training)

    def _prepare_and_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> Any:
        # As an argument, not by the layer's flag: threads that make batches may share a layer with a model.
        told = kwargs if training is None else {**kwargs, "training": bool(training)}
        return super()._prepare_and_call(args, told, None)


class ImageLayer(Augmentation):
    """A layer of images; an interface, never made by itself.

    Images have the shape `(batch, height, width, channels)`, or `(height, width, channels)` where there is one; with
    `data_format="channels_first"` the channels come before the height. They are given by themselves, or in a dict as
    `"images"`, perhaps with their `"labels"`; what else is in the dict is handed on. The outputs have the compute type.

    A subclass says what to draw (`_draw`) and what to do with it (`_transform`), or what it does without a draw
    (`_fixed`), for batches whose channels are the last axis.
    """

    generator: SeedGenerator | None = None
    casts_inputs = False

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)

    def _draw(self, shape: Sequence[int], draws: Draws) -> Transformation:
        """What is drawn for a batch of this shape; None where nothing is to be."""
        return None

    def _transform(self, images: Tensor, transformation: Transformation) -> Tensor:
        """The images of a batch in training."""
        raise NotImplementedError(f"{type(self).__name__} does not define `_transform(self, images, transformation)`.")

    def _fixed(self, images: Tensor) -> Tensor:
        """The images of a batch in inference."""
        return images

    def _output_size(self, height: int | None, width: int | None) -> tuple[int | None, int | None]:
        return height, width

    def _output_type(self, dtype: torch.dtype) -> torch.dtype:
        """The type of the outputs for images of this type."""
        return self._compute_torch_dtype

    @property
    def _real_type(self) -> torch.dtype:
        """The type of what is drawn, of places and of sums: half precision cannot tell neighbouring pixels apart."""
        return torch.float64 if self._compute_torch_dtype is torch.float64 else torch.float32

    def call(self, inputs: Any, training: bool = True) -> Any:
        transformation = self.get_random_transformation(inputs, training)
        if not isinstance(inputs, Mapping):
            return self.transform_images(inputs, transformation, training)
        outputs = {**inputs, "images": self.transform_images(inputs["images"], transformation, training)}
        if "labels" in inputs:
            outputs["labels"] = self.transform_labels(inputs["labels"], transformation, training)
        return outputs

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Transformation:
        """What is drawn for these images, or for a dict with them; None in inference.

        Args:
            seed: An integer or a `SeedGenerator`, in place of the layer's own.
        """
        images = as_tensor(self._images_in(data))
        if not training or self.generator is None:
            return None
        generator = generator_for(self.generator if seed is None else seed, images.device)
        return self._draw(self._as_batch(images).shape, Draws(generator, images.device, self._real_type))

    def transform_images(self, images: Any, transformation: Transformation = None, training: bool = True) -> Tensor:
        """The images, changed as `get_random_transformation` said; in inference as they are."""
        images = as_tensor(images)
        dtype = self._output_type(images.dtype)
        batch = self._as_batch(images.to(dtype))
        is_random = training and transformation is not None
        outputs = self._transform(batch, transformation) if is_random else self._fixed(batch)
        outputs = saturated(outputs, dtype)
        if self.data_format == "channels_first":
            outputs = outputs.movedim(-1, 1)
        return outputs if images.ndim == 4 else outputs.squeeze(0)

    def transform_labels(self, labels: Any, transformation: Transformation = None, training: bool = True) -> Any:
        """The labels of the changed images."""
        return labels

    def _as_batch(self, images: Tensor) -> Tensor:
        """`(batch, height, width, channels)`, without a copy."""
        self._check_axes(images.shape)
        batch = images if images.ndim == 4 else images.unsqueeze(0)
        return batch.movedim(1, -1) if self.data_format == "channels_first" else batch

    def _check_axes(self, shape: Sequence[int | None]) -> None:
        if len(shape) not in (3, 4):
            raise ValueError(
                f"{describe(self)} takes images of 3 axes, or of 4 with that of the batch. "
                f"Received: shape {tuple(shape)}"
            )

    def _images_in(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if "images" not in data or any(name in data for name in _REFUSED):
            raise ValueError(
                f"{describe(self)} takes a dict with 'images' and perhaps 'labels', and knows no "
                f"{' or '.join(map(repr, _REFUSED))}. Received: {sorted(data)}"
            )
        return data["images"]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape with another height and width, where the layer changes them; of a dict, its images'."""
        shape = self._images_in(input_shape)
        self._check_axes(shape)
        first = len(shape) - (3 if self.data_format == "channels_last" else 2)
        size = self._output_size(*shape[first : first + 2])
        changed = (*shape[:first], *size, *shape[first + 2 :])
        return {**input_shape, "images": changed} if isinstance(input_shape, Mapping) else changed

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Symbolic outputs for symbolic images, or a dict with them."""
        images = self._images_in(inputs)
        dtype = dtype_name(self._output_type(torch_dtype(images.dtype)))  # type: ignore[arg-type]
        outputs = SymbolicTensor(self.compute_output_shape(images.shape), dtype)
        if not isinstance(inputs, Mapping):
            return outputs
        beside = {name: part for name, part in inputs.items() if name != "images"}
        return {
            "images": outputs,
            **{name: SymbolicTensor(part.shape, self._type_beside(name, part.dtype)) for name, part in beside.items()},
        }

    def _type_beside(self, name: str, dtype: str) -> str:
        """The type of what stands beside the images in a dict."""
        return dtype


class RandomImageLayer(ImageLayer):
    """A layer that changes images at random; an interface, never made by itself.

    Args:
        seed: Where the series of draws begins; by default each layer's begins elsewhere.
    """

    def __init__(self, seed: int | None = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.seed = seed
        self.generator = SeedGenerator(seed)


def saturated(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers in another type; as integers rounded, and the nearest that there is."""
    if values.dtype is dtype or dtype.is_floating_point:
        return values.to(dtype)
    if dtype is torch.bool:
        return values >= 0.5
    limits = torch.iinfo(dtype)
    return values.round().clamp(limits.min, limits.max).to(dtype)


def as_range(value: Any, name: str, low: float, high: float, strict: bool = True) -> tuple[float, float]:
    """The lowest and the highest number that an argument stands for: `-f` and `f` for a number `f`.

    Args:
        low: What the lowest number is at least, where a number stands for both.
        strict: Whether both numbers lie between `low` and `high`, rather than some between them.

    Raises:
        ValueError: It is no number between `low` and `high`, and no pair of such numbers.
    """
    is_pair = isinstance(value, (list, tuple))
    numbers = tuple(value) if is_pair else (value, value)
    is_known = len(numbers) == 2 and all(isinstance(number, (int, float)) for number in numbers)
    if is_known:
        least, most = min(numbers), max(numbers)
        is_known = low <= least and most <= high if strict else least <= high and most >= low
    if not is_known:
        raise ValueError(
            f"`{name}` is a number from {low} to {high}, or a pair of them, the lowest and the highest. "
            f"Received: {name}={value!r}"
        )
    return (least, most) if is_pair else (max(-abs(value), low), abs(value))


def require(layer: Layer, name: str, value: Any, known: Sequence[Any]) -> Any:
    """`value`, if it is one of `known`."""
    if value not in known:
        raise ValueError(f"{describe(layer)}: `{name}` is one of {', '.join(map(repr, known))}. Received: {value!r}")
    return value


def checked_value_range(value: Any) -> tuple[float, float]:
    """The lowest and the highest value that pixels have."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"`value_range` is a pair: the lowest and the highest value. Received: value_range={value!r}")
    return min(value), max(value)
