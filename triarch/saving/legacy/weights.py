"""Arrays of files from before Keras 3 into the weights of a model's layers: all that fit, or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch

from triarch.saving.hdf5 import File, read_array
from triarch.saving.legacy.cudnn import converted, shapes_after_conversion
from triarch.saving.legacy.layout import Arrays, Layout, open_layout
from triarch.tensors import copy_all, value_for


class _Load(NamedTuple):
    """Weights of a layer, each with its array in the file."""

    title: str
    weights: list[torch.Tensor]
    arrays: list[Any]

    def read(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The weights, each with its value."""
        values = converted(self.weights, [read_array(array) for array in self.arrays])
        for weight, value in zip(self.weights, values, strict=True):
            yield weight, value_for(weight, value, f"{self.title}: weight {getattr(weight, 'path', '')!r}")


class _MisfitError(ValueError):
    """A layer and what the file has for it do not fit."""


def read_layers(filepath: str | PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has any, in their order, by the layer's name.

    Raises:
        ValueError: The file is damaged, or no such file.
    """
    with open_layout(filepath) as layout:
        if not layout.is_known:
            raise ValueError("The file is not of the format before Keras 3: it does not say which layers it holds.")
        return {layer.owner: [read_array(array) for array in layer.arrays] for layer in layout.layers()}


def is_legacy(file: File) -> bool:
    """Whether an HDF5 file is laid out as before Keras 3.

    Raises:
        ValueError: The file is damaged.
    """
    with open_layout(file) as layout:
        return layout.is_known


def load_weights(
    model: Any, file: File, origin: str, skip_mismatch: bool = False, by_name: bool = False, stacklevel: int = 4
) -> None:
    """Overwrite the weights of a model with those in such a file; on an error nothing has changed.

    Args:
        origin: The file's name for messages.
        skip_mismatch: Warn of each layer whose weights do not fit, and leave it as it is.
        by_name: Take the layers whose names the file has, and leave the others; else layers follow in the file's order.

    Raises:
        ValueError: The file is damaged, or does not fit.
    """
    try:
        with open_layout(file) as layout:
            pairs = assigned(model, layout, skip_mismatch, by_name, stacklevel + 1)
    except ValueError as error:
        raise ValueError(f"The weights in {origin!r} were not loaded. {error}") from error
    write(pairs)


def assigned_to_all(model: Any, layout: Layout) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The weights of the model that the same file describes, each with its value: layers have the file's names."""
    names = sorted(layer.name for layer in model.layers if weights_of(layer))
    return assigned(model, layout, by_name=names == sorted(arrays.owner for arrays in layout.layers()))


def assigned(
    model: Any, layout: Layout, skip_mismatch: bool = False, by_name: bool = False, stacklevel: int = 2
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The weights of a model, each with its value; nothing is written yet."""
    placed = _by_name if by_name else _in_order
    loads, problems = [], []
    for place in [*placed(model, layout.layers()), *_of_the_model_itself(model, layout)]:
        try:
            loads.append(place())
        except _MisfitError as misfit:
            problems.append(str(misfit))
    if problems and not skip_mismatch:
        raise ValueError(
            f"{len(problems)} layer{'s' * (len(problems) > 1)} of the model and the file do not fit, so nothing was "
            f"changed. {' '.join(problems)}"
        )
    for problem in problems:
        warnings.warn(f"Left as it is: {problem}", stacklevel=stacklevel)
    return [pair for load in loads for pair in load.read()]


def write(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy the values into the weights."""
    copy_all([weight for weight, _ in pairs], [value for _, value in pairs])


_Place = Callable[[], _Load]


def _in_order(model: Any, found: list[Arrays]) -> Iterator[_Place]:
    layers = [layer for layer in model.layers if weights_of(layer)]
    if len(layers) != len(found):
        names = [layer.name for layer in layers]
        raise ValueError(
            f"The model has {len(layers)} layers with weights, the file {len(found)}; with `by_name=True` those with "
            f"names that the file has are read. Received: {[each.owner for each in found]}, for the model's {names}"
        )
    for layer, arrays in zip(layers, found, strict=True):
        yield _placing(layer, arrays)


def _by_name(model: Any, found: list[Arrays]) -> Iterator[_Place]:
    by_name = {arrays.owner: arrays for arrays in found}
    for layer in model.layers:
        if layer.name in by_name and weights_of(layer):
            yield _placing(layer, by_name[layer.name])


def _placing(layer: Any, arrays: Arrays) -> _Place:
    title = f"Layer {layer.name!r}" + (f" ({arrays.owner!r} in the file)" if arrays.owner != layer.name else "")
    return lambda: _matched(title, layer, arrays)


def _of_the_model_itself(model: Any, layout: Layout) -> Iterator[_Place]:
    arrays = layout.top_level()
    if arrays is None or not arrays.arrays:
        return
    inside = {id(weight) for layer in model.layers for weight in weights_of(layer)}
    own = [weight for weight in weights_of(model) if id(weight) not in inside]
    yield lambda: _fitting("The model itself", [own], arrays)


def weights_of(layer: Any) -> list[torch.Tensor]:
    """The weights in the order of the files: those that are learnt, then the others."""
    if hasattr(layer, "trainable_weights"):
        return [*layer.trainable_weights, *layer.non_trainable_weights]
    return [*layer.parameters(), *layer.buffers()]


def _matched(title: str, layer: Any, arrays: Arrays) -> _Load:
    """Which array is which weight: as the names say; or in an order that depends on what was learnt at that time."""
    weights = weights_of(layer)
    of_path = {getattr(weight, "path", None): weight for weight in weights}
    by_path = [of_path.get(_plain(name)) for name in arrays.names]
    in_layers = list(getattr(layer, "weights", weights))
    learnable_first = sorted(in_layers, key=lambda weight: not getattr(weight, "learnable", True))
    orders = [weights, learnable_first, in_layers]
    if None not in by_path and len({id(weight) for weight in by_path}) == len(weights):
        orders.insert(0, by_path)
    return _fitting(title, orders, arrays)


def _fitting(title: str, orders: list[list[torch.Tensor]], arrays: Arrays) -> _Load:
    """The first order in which names and shapes fit, or else shapes.

    Raises:
        _MisfitError: There is none.
    """
    weights = orders[0]
    if len(weights) != len(arrays.arrays):
        raise _MisfitError(f"{title} has {len(weights)} weights, the file has {len(arrays.arrays)} for it.")
    fitting = [order for order in orders if _misshaped(order, arrays) is None]
    if not fitting:
        weight, shape = _misshaped(weights, arrays)  # type: ignore[misc]
        raise _MisfitError(
            f"{title}: weight {getattr(weight, 'path', '')!r} has shape {tuple(weight.shape)} in the model and {shape} "
            "in the file."
        )
    ends = [_plain(name).rpartition("/")[2] for name in arrays.names]
    named = [order for order in fitting if [getattr(weight, "name", None) for weight in order] == ends]
    return _Load(title, (named or fitting)[0], arrays.arrays)


def _misshaped(weights: Sequence[torch.Tensor], arrays: Arrays) -> tuple[torch.Tensor, tuple[int, ...]] | None:
    """The first weight whose array has another shape, and that shape."""
    shapes = shapes_after_conversion(weights, [array.shape for array in arrays.arrays])
    return next(
        ((weight, shape) for weight, shape in zip(weights, shapes, strict=True) if tuple(weight.shape) != shape), None
    )


def _plain(name: str) -> str:
    """A weight's name without TensorFlow's number of an output."""
    return name.removesuffix(":0")
