"""Whole models in HDF5 files: Keras 2's `model.save("model.h5")`, which Keras 3 still writes and reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch

from triarch import registry
from triarch.saving.hdf5 import File, new_file
from triarch.saving.legacy import layout as h5
from triarch.saving.legacy.compiling import compile_config
from triarch.saving.legacy.configs import has_sole_output, upgraded
from triarch.saving.legacy.layout import Layout, open_layout
from triarch.saving.legacy.optimizer_state import load_state
from triarch.saving.legacy.weights import assigned_to_all, weights_of, write
from triarch.saving.making import make_model
from triarch.serialization import serialize_keras_object
from triarch.tensors import as_array

_MISREAD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # what odd data lead to
_LARGEST_ATTRIBUTE = 64512  # bytes, of what HDF5 keeps beside a group


def load_model(
    file: File, origin: str, custom_objects: Mapping[str, Any] | None, compile: bool, stacklevel: int = 4
) -> Any:
    """The model in such a file, compiled as it was, with the state of its optimizer.

    Args:
        origin: The file's name for messages.

    Raises:
        ValueError: The file is damaged, holds no model, or one that needs code or what has no counterpart.
    """
    with registry.custom_object_scope(custom_objects or {}), open_layout(file) as layout:
        model = _made(layout, origin)
        try:
            write(assigned_to_all(model, layout))
        except ValueError as error:
            raise ValueError(f"The weights in {origin!r} were not loaded. {error}") from error
        if compile:
            _compile(model, layout, origin, stacklevel + 1)
    return model


def upgraded_archive(
    description: dict[str, Any], keras_version: str | None, custom_objects: Mapping[str, Any] | None, origin: str
) -> dict[str, Any]:
    """What a `.keras` file of Keras 2.12 - 2.15 says of a model, as Keras 3 would say it.

    Raises:
        ValueError: Something in it has no counterpart.
    """
    compiled = description.get("compile_config")
    with registry.custom_object_scope(custom_objects or {}):
        try:
            made = upgraded(description, keras_version)
            return {**made, "compile_config": compile_config(compiled, has_sole_output(made)) if compiled else None}
        except _MISREAD as error:
            raise ValueError(f"{error} Received: {origin!r}") from error


def _made(layout: Layout, origin: str) -> Any:
    try:
        if not layout.is_whole:
            raise ValueError("This is an HDF5 file of weights only: make the model and call `model.load_weights(...)`.")
        description = upgraded(layout.description(h5.MODEL), layout.keras_version)
    except _MISREAD as error:
        raise ValueError(f"{error} Received: {origin!r}") from error
    model = make_model(description, None, origin)
    if not model.built and layout.layers():
        raise ValueError(
            f"The file does not say for which shape of inputs the model was made, so its weights cannot be. Make the "
            f"model in code and call `model.load_weights(...)`. Received: {origin!r}"
        )
    return model


def _compile(model: Any, layout: Layout, origin: str, stacklevel: int) -> None:
    training = layout.description(h5.TRAINING)
    if training is None:
        return
    try:
        model.compile_from_config(compile_config(training, len(model.outputs) == 1))
    except _MISREAD as error:
        raise ValueError(
            f"The model in {origin!r} cannot be compiled as it was ({type(error).__name__}): {error} Load it with "
            "`compile=False`."
        ) from error
    state = layout.optimizer()
    if state is not None and state.arrays and getattr(model.optimizer, "built", False):
        load_state(model.optimizer, state, stacklevel)


def save_model(model: Any, file: BinaryIO, keras_version: str, include_optimizer: bool = True) -> None:
    """Write a model to an HDF5 file, as Keras 3 lays it out.

    Raises:
        ValueError: A part of the model is what no file can hold, or the model is none that says what its layers are.
    """
    description = json.loads(json.dumps(serialize_keras_object(model)))
    training = description.pop("compile_config", None)
    described = {
        "class_name": description["registered_name"] or description["class_name"],
        **{name: description[name] for name in ("config", "build_config") if name in description},
    }
    with new_file(file) as opened:
        opened.attrs[h5.VERSION], opened.attrs[h5.BACKEND] = keras_version, "torch"
        opened.attrs[h5.MODEL] = json.dumps(described)
        weights = opened.create_group(h5.WEIGHTS_GROUP)
        weights.attrs[h5.VERSION], weights.attrs[h5.BACKEND] = keras_version, "torch"
        _write_texts(weights, h5.LAYERS, [layer.name for layer in model.layers])
        inside: set[int] = set()
        for layer in sorted(model.layers, key=lambda each: str(each.name)):
            _write_arrays(weights.create_group(layer.name), weights_of(layer))
            inside |= {id(weight) for weight in weights_of(layer)}
        own = [weight for weight in weights_of(model) if id(weight) not in inside]
        _write_arrays(weights.create_group(h5.TOP_LEVEL_GROUP), own)
        if training is not None and include_optimizer:
            written = {
                "optimizer_config": training.pop("optimizer"),
                **training,
                "loss": _by_own_name(training["loss"]),
            }
            opened.attrs[h5.TRAINING] = json.dumps(written)
            if model.optimizer.built:
                _write_arrays(opened.create_group(h5.OPTIMIZER_GROUP), model.optimizer.variables)


def _by_own_name(loss: Any) -> Any:
    """A loss, or nested ones; of other names of functions, Keras reads in such files none."""
    if isinstance(loss, list):
        return [_by_own_name(part) for part in loss]
    if isinstance(loss, dict) and "class_name" not in loss:
        return {name: _by_own_name(part) for name, part in loss.items()}
    home = registry.home_of(registry.find("keras.losses", loss)) if isinstance(loss, str) else None
    return loss if home is None else home[1]


def _write_arrays(group: Any, tensors: list[Any]) -> None:
    """Arrays under the paths of the variables; where two have the same, the second one gets a number."""
    names: list[str] = []
    for tensor in tensors:
        path = str(getattr(tensor, "path", None) or f"weight_{len(names)}")
        names.append(path if path not in names else f"{path}_{len(names)}")
    _write_texts(group, h5.WEIGHTS, names)
    for name, tensor in zip(names, tensors, strict=True):
        value = tensor.detach()
        group.create_dataset(name, data=as_array(value.float() if value.dtype is torch.bfloat16 else value))


def _write_texts(holder: Any, name: str, texts: list[str]) -> None:
    encoded = np.asarray([text.encode() for text in texts])
    parts = -(-encoded.nbytes // _LARGEST_ATTRIBUTE) if texts else 1
    if parts <= 1:
        holder.attrs[name] = encoded if texts else np.zeros(0, "S1")
        return
    for number, part in enumerate(np.array_split(encoded, parts + 1)):
        holder.attrs[f"{name}{number}"] = part
