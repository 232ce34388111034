"""The entrance of a model: the shape and number type of its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from triarch import config
from triarch.graph import SymbolicTensor, record, standardize_shape
from triarch.layers.base import Layer
from triarch.registry import register
from triarch.tensors import as_tensor, dtype_name


@register("keras.layers")
class InputLayer(Layer):
    """The place where data enters a model; `Input` makes one and gives its symbolic tensor.

    Args:
        shape: Of one sample; None entries stand for any size.
        batch_shape: Of a batch, in place of `shape` and `batch_size`.
        sparse: Only False; so are `ragged` and `optional`.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        optional: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype or config.floatx(), name=name)
        for argument, value in (("sparse", sparse), ("ragged", ragged), ("optional", optional)):
            if value:
                raise ValueError(f"An input is a dense tensor that is always there. Received: {argument}={value!r}")
        if (shape is None) == (batch_shape is None) or (batch_size is not None and batch_shape is not None):
            raise ValueError(
                "An input needs either `shape` (and perhaps `batch_size`) or `batch_shape`. Received: "
                f"shape={shape!r}, batch_size={batch_size!r}, batch_shape={batch_shape!r}"
            )
        self.sparse = False
        self.ragged = False
        self.optional = False
        self.batch_shape = standardize_shape(batch_shape) if shape is None else (batch_size, *standardize_shape(shape))
        self.built = True
        self._fitting: set[torch.Size] = set()  # shapes without the batch axis that have been found to fit
        self._record_entrance()

    def _record_entrance(self) -> None:
        record(self, (), {}, SymbolicTensor(self.batch_shape, self.dtype, name=self.name))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._record_entrance()

    def call(self, inputs: Any) -> Any:
        """The inputs, checked and cast."""
        return self.standardize(inputs, self)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that was declared."""
        return self.batch_shape

    def standardize(self, inputs: Any, owner: Layer) -> torch.Tensor:
        """`inputs` as a tensor of the declared type; one axis of size 1 at the end is added or removed as needed.

        Raises:
            ValueError: the shape is not the declared one; the message names `owner`.
        """
        if not isinstance(inputs, torch.Tensor) or inputs.dtype is not self._compute_torch_dtype:
            inputs = self._of_own_type(inputs, owner)
        received = inputs.shape
        if inputs.shape[1:] in self._fitting:
            return inputs
        if inputs.ndim == len(self.batch_shape) - 1 and self.batch_shape[-1] == 1:
            inputs = inputs.unsqueeze(-1)
        elif inputs.ndim == len(self.batch_shape) + 1 and inputs.shape[-1] == 1:
            inputs = inputs.squeeze(-1)
        if not _fits(inputs.shape, self.batch_shape):
            raise ValueError(
                f"{type(owner).__name__} {owner.name!r} expects inputs of shape {(None, *self.batch_shape[1:])}. "
                f"Received: shape {tuple(received)}"
            )
        self._fitting.add(inputs.shape[1:])
        return inputs

    def _of_own_type(self, inputs: Any, owner: Layer) -> torch.Tensor:
        """The numbers in the declared type, if it can hold them; those on other devices are not looked at."""
        given, dtype = as_tensor(inputs), self._compute_torch_dtype
        cast = given if given.is_complex() and not dtype.is_complex else given.to(dtype)
        is_kept = cast.dtype is dtype
        if is_kept and not (dtype.is_floating_point or dtype.is_complex) and given.device.type == "cpu":
            is_kept = torch.equal(cast.to(given.dtype), given)
        if not is_kept:
            raise ValueError(
                f"{type(owner).__name__} {owner.name!r} has an input {self.name!r} of type {self.dtype}, which cannot "
                f"hold these numbers. Received: {dtype_name(given.dtype)}, {_extent(given)}"
            )
        return cast

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield "batch_shape", self.batch_shape
        yield "dtype", self.dtype
        for name in ("sparse", "ragged", "name", "optional"):
            yield name, getattr(self, name)


def _extent(tensor: torch.Tensor) -> str:
    """From where to where the numbers lie, for messages."""
    kind, numbers = ("absolute values", tensor.abs()) if tensor.is_complex() else ("numbers", tensor)
    return f"{kind} from {numbers.double().min().item():g} to {numbers.double().max().item():g}"


def _fits(shape: torch.Size, declared: tuple[int | None, ...]) -> bool:
    if len(shape) != len(declared):
        return False
    return all(size in (None, found) for size, found in zip(declared[1:], shape[1:], strict=True))


def Input(  # noqa: N802 - Keras's name
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    optional: bool = False,
) -> SymbolicTensor:
    """A symbolic tensor for the inputs of a model; see `InputLayer` for the arguments."""
    return InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, optional, name).output
