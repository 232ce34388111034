"""`Normalization`: features brought to mean 0 and variance 1, by numbers found before training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch import config
from triarch.forms import array_of, is_array_like, is_plain_list
from triarch.layers.abstract import Elementwise
from triarch.layers.arguments import describe, is_integer
from triarch.registry import register
from triarch.tensors import as_tensor

_COARSE = 0.1  # deviations between neighbouring inputs
_CONSTANT = 1e-14  # of the mean: what rounding leaves of the deviation of one number
_CHUNK = 2**22  # numbers of an array that are looked at together


@register("keras.layers")
class Normalization(Elementwise):
    """`(inputs - mean) / sqrt(variance)`, with numbers that are given, or found by `adapt` and saved with the layer.

    Args:
        axis: The axis, or axes, each place of which has numbers of its own; None for one mean and variance of all.
        mean: A number, or one for each place of `axis`, in place of what `adapt` would find.
        variance: The same; both are given, or neither.
        invert: Whether normalised inputs become what they were.
    """

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = () if axis is None else (int(axis),) if is_integer(axis) else tuple(axis)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ValueError(
                "`mean` and `variance` are given together and have the same shape. "
                f"Received: mean={mean!r}, variance={variance!r}"
            )
        if mean is not None and np.ndim(mean) > len(self.axis):
            raise ValueError(
                f"`mean` has at most {len(self.axis)} axes, as many as `axis` names. "
                f"Received: shape {np.shape(mean)} for axis={self.axis}"
            )
        self.input_mean, self.input_variance = _as_list(mean), _as_list(variance)
        self.invert = invert
        self.adapt_mean: Any = None
        self.adapt_variance: Any = None
        self.count: Any = None
        self._kept: tuple[int, ...] = ()  # the axes with numbers of their own
        self._shape: tuple[int, ...] = ()  # of mean and variance, as they are broadcast
        self._given: tuple[Tensor, Tensor] | None = None

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from super()._arguments()
        yield from (("mean", self.input_mean), ("variance", self.input_variance))

    def _stored(self, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        return super()._stored(name for name in names if name not in ("mean", "variance"))

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ValueError(
                f"{describe(self)} has no axes {self.axis} in inputs of {rank}. Received: shape {tuple(input_shape)}"
            )
        self._kept = tuple(sorted(axis % rank for axis in self.axis))
        sizes = tuple(input_shape[axis] for axis in self._kept)
        if None in sizes:
            raise ValueError(
                f"{describe(self)} needs to know the sizes of axes {self.axis}. Received: shape {tuple(input_shape)}"
            )
        self._shape = tuple(input_shape[axis] if axis in self._kept else 1 for axis in range(rank))
        if self.input_mean is not None:
            self._given = self._broadcast(self.input_mean), self._broadcast(self.input_variance)
            return
        self.adapt_mean = self.add_weight(sizes, "zeros", trainable=False, autocast=False, name="mean")
        self.adapt_variance = self.add_weight(sizes, "ones", trainable=False, autocast=False, name="variance")
        # Nothing reads it, but Keras's files have it.
        self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")

    def _broadcast(self, value: Any) -> Tensor:
        """A given mean or variance as it is broadcast over the inputs, with its last axis along the last kept one."""
        tensor = torch.tensor(value, dtype=torch.float64)
        sizes = [1] * len(self._shape)
        for axis, size in zip(reversed(self._kept), reversed(tensor.shape), strict=False):
            sizes[axis] = size
        return tensor.reshape(sizes).expand(self._shape)

    @property
    def mean(self) -> Tensor | None:
        """The mean, as it is broadcast over the inputs; None before the layer is built."""
        return self._numbers()[0] if self.built else None

    @property
    def variance(self) -> Tensor | None:
        """The variance, as it is broadcast over the inputs; None before the layer is built."""
        return self._numbers()[1] if self.built else None

    def _numbers(self) -> tuple[Tensor, Tensor]:
        if self._given is not None:
            return self._given
        return self.adapt_mean.detach().reshape(self._shape), self.adapt_variance.detach().reshape(self._shape)

    casts_inputs = False

    def call(self, inputs: Tensor) -> Tensor:
        numbers = inputs.to(torch.promote_types(self._compute_torch_dtype, torch.float32))
        mean, variance = (value.to(numbers) for value in self._numbers())
        deviation = variance.sqrt().clamp_min(config.epsilon())
        outputs = (numbers * deviation).add_(mean) if self.invert else (numbers - mean).div_(deviation)
        return outputs.to(self._compute_torch_dtype)

    def adapt(self, data: Any) -> None:
        """Find mean and variance of data.

        Args:
            data: An array, a tensor, or batches of them: what a data set or a generator gives, of which the inputs are
                the first where it gives several. Sums are exact to double precision however much there is.

        Raises:
            ValueError: There is no data, batches are not of the shape that the layer was built for, or mean and
                variance are no numbers that the layer holds, as where data have NaN.

        Warns:
            UserWarning: The data are so far from zero that the layer's inputs hardly tell them apart.
        """
        if self.input_mean is not None:
            raise ValueError(f"{describe(self)} was given mean and variance, so there is nothing to adapt.")
        count, mean, squares = 0, np.zeros(()), np.zeros(())  # `squares`: of differences from the mean
        for array in _batches(data):
            if not self.built:
                self.build((None, *array.shape[1:]) if 0 not in _positive(self.axis, array.ndim) else array.shape)
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused
                for part in self._parts(array):
                    count, mean, squares = _merged(count, mean, squares, part, self._others(part))
        if not count:
            raise ValueError(f"{describe(self)} found no numbers in the data that it was to adapt to.")
        if not np.isfinite(mean).all():
            raise ValueError(f"{describe(self)} found NaN or infinite numbers in the data that it was to adapt to.")
        variance = squares / count
        largest = torch.finfo(self.adapt_mean.dtype).max
        if not ((abs(mean) <= largest) & (variance <= largest)).all():
            raise ValueError(
                f"{describe(self)} adapts to numbers whose mean and variance {self.adapt_mean.dtype} holds. Received: "
                f"means {np.ravel(mean)[:4]} and variances {np.ravel(variance)[:4]}"
            )
        precision = torch.promote_types(self._compute_torch_dtype, torch.float32)  # as in `call`
        step = abs(mean) * torch.finfo(precision).eps
        deviation = np.sqrt(variance)
        if ((deviation > _CONSTANT * abs(mean)) & (step > _COARSE * deviation)).any():
            warnings.warn(
                f"{describe(self)} adapts to numbers so far from zero that inputs of type {precision} "
                "hardly tell them apart: take their mean from them before, in double precision. Received: means "
                f"{np.ravel(mean)[:4]} and deviations {np.ravel(deviation)[:4]}",
                stacklevel=2,
            )
        with torch.no_grad():
            self.adapt_mean.copy_(torch.as_tensor(mean))
            self.adapt_variance.copy_(torch.as_tensor(variance))

    def _others(self, array: np.ndarray[Any, Any]) -> tuple[int, ...]:
        """The axes that mean and variance are taken along."""
        return tuple(axis for axis in range(array.ndim) if axis not in self._kept)

    def _parts(self, array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
        """The array, some samples at a time."""
        sizes = tuple(array.shape[axis] for axis in self._kept) if array.ndim == len(self._shape) else None
        if sizes != tuple(self._shape[axis] for axis in self._kept):
            raise ValueError(
                f"{describe(self)} was built for {len(self._shape)} axes, of which {self._kept} have the sizes "
                f"{tuple(self._shape[axis] for axis in self._kept)}. Received: data of shape {array.shape}"
            )
        if 0 in self._kept or not array.size:
            return iter([array])
        step = max(_CHUNK * len(array) // array.size, 1)
        return (array[start : start + step] for start in range(0, len(array), step))


def _merged(
    count: int, mean: Any, squares: Any, part: np.ndarray[Any, Any], axes: tuple[int, ...]
) -> tuple[int, Any, Any]:
    """Count, mean and sum of squared differences from it of what was seen, and of a part more (Chan et al., 1979)."""
    numbers = part.astype(np.float64)
    own = int(np.prod([part.shape[axis] for axis in axes], dtype=np.int64))
    if not own or not part.size:
        return count, mean, squares
    own_mean = numbers.mean(axes, keepdims=True)
    own_squares = np.square(numbers - own_mean).sum(axes)
    own_mean = own_mean.squeeze(axes)
    total = count + own
    away = own_mean - mean
    return total, mean + away * (own / total), squares + own_squares + away**2 * (count * own / total)


def _positive(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(axis % rank for axis in axes) if rank else ()


def _batches(data: Any) -> Iterator[np.ndarray[Any, Any]]:
    """What data consists of, as arrays: an array or tensor is one of them."""
    if is_array_like(data) or (isinstance(data, (list, tuple)) and is_plain_list(data)):
        yield array_of(data, "data")
        return
    by_number = hasattr(data, "__getitem__") and getattr(data, "num_batches", None) is not None
    for batch in (data[number] for number in range(data.num_batches)) if by_number else data:
        yield _as_array(batch[0] if isinstance(batch, (tuple, list)) and not is_plain_list(batch) else batch)


def _as_array(values: Any) -> np.ndarray[Any, Any]:
    if not is_array_like(values) and not isinstance(values, list):
        raise ValueError(
            "Data to adapt to is an array or a tensor, or gives batches that are, alone or as the first of a tuple. "
            f"Received: {type(values).__name__}"
        )
    return array_of(values, "data")


def _as_list(value: Any) -> Any:
    """A number or nested lists of them, as configurations hold them."""
    if value is None:
        return None
    return as_tensor(value).tolist() if isinstance(value, torch.Tensor) else np.asarray(value).tolist()
