"""Weights into files and back: all that fits the model, or nothing."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch

from triarch.saving import legacy
from triarch.saving.archive import open_weights
from triarch.saving.hdf5 import WeightsReader, WeightsWriter, open_reader, open_writer, read_array
from triarch.saving.saveables import Groups, Saveable, saveables
from triarch.saving.shards import SHARD_INDEX, ShardsReader, ShardsWriter, open_shards
from triarch.saving.streams import Origin, Place, path_of, written
from triarch.saving.undo import Before
from triarch.tensors import native, value_for

WHOLE = ".weights.h5"


def save_weights(model: Any, filepath: Place, overwrite: bool = True, max_shard_size: float | None = None) -> None:
    """Write the weights, and the optimizer's state if there is one, to a file that ends in `.weights.h5`.

    A process that is killed while it saves leaves an earlier file of this name whole.

    Args:
        filepath: A path, or a stream that is open for writing bytes.
        max_shard_size: In GiB: the weights go into files beside `filepath`, none of which is larger; `filepath` says
            what is in which and ends in `.weights.json`.

    Raises:
        ValueError: another extension, a model that is not built, or a weight that is larger than `max_shard_size`.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written, or there is no room for it.
    """
    path = path_of(filepath)
    if max_shard_size is not None:
        path = _index_path(path, max_shard_size)
    if path is not None:
        _check_name(path, max_shard_size)
        refuse_existing(path, overwrite)
    if not model.built:
        raise ValueError(
            "The model has no weights to save yet, because its input shape is not known. Call it on data or call "
            f"`build(input_shape)` first. Received: {type(model).__name__} {model.name!r}"
        )
    if path is not None and max_shard_size is not None:
        shards = ShardsWriter(path, max_shard_size)
        _write(model, shards)
        shards.finish()
    else:
        with written(filepath) as file:
            write_state(model, file)


def _index_path(path: Path | None, max_shard_size: float) -> Path:
    if not max_shard_size > 0:
        raise ValueError(f"`max_shard_size` is a positive number of GiB. Received: {max_shard_size!r}")
    if path is None:
        raise ValueError("With `max_shard_size`, `filepath` is a path: there is more than one file.")
    if not path.name.endswith(WHOLE):
        return path
    renamed = path.with_name(path.name.removesuffix(WHOLE) + SHARD_INDEX)
    warnings.warn(
        f"With `max_shard_size`, the name ends in {SHARD_INDEX!r}: {str(renamed)!r} is written.", stacklevel=3
    )
    return renamed


def _check_name(path: Path, max_shard_size: float | None) -> None:
    if max_shard_size is not None and not path.name.endswith(SHARD_INDEX):
        raise ValueError(f"With `max_shard_size`, the name must end in {SHARD_INDEX!r}. Received: {str(path)!r}")
    if max_shard_size is None and not path.name.endswith(WHOLE):
        raise ValueError(
            f"The name of a file of weights must end in `{WHOLE}` (or in `{SHARD_INDEX}`, with `max_shard_size`); for "
            f"the whole model use `save_model` and `.keras`. Received: {str(path)!r}"
        )


def load_weights(model: Any, filepath: Place, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read the weights, and the optimizer's state where both have it, from a `.weights.h5` or `.keras` file.

    HDF5 files of Keras 2 (`.h5`), of weights or of whole models, are read, too. The model changes only when everything
    was read and fits.

    Args:
        filepath: A path (also of a `.weights.json`, which names the files that it belongs to), or a stream that is
            open for reading bytes.
        skip_mismatch: Warn for each layer whose weights do not fit, and leave it as it is.
        by_name: Of HDF5 files of Keras 2: read the layers whose names the file has, and leave the others as they are;
            otherwise the model's layers follow in the order of the file's.

    Raises:
        ValueError: not such a file, a damaged one, weights that do not fit, or a model that is not built.
        FileNotFoundError: there is no such file.
    """
    if not model.built:
        raise ValueError(
            "The model has no weights to load into yet, because its input shape is not known. Call it on data or call "
            f"`build(input_shape)` first. Received: {type(model).__name__} {model.name!r}"
        )
    origin = Origin.of(filepath)
    if origin.path is not None and origin.path.name.endswith(SHARD_INDEX):
        _refuse_by_name(by_name, origin)
        with open_shards(origin.path) as shards:
            _read(model, shards, origin.name, skip_mismatch)
        return
    with open_weights(origin) as file:
        if legacy.is_legacy(file):
            legacy.load_weights(model, file, origin.name, skip_mismatch, by_name)
            return
        _refuse_by_name(by_name, origin)
        read_state(model, file, origin.name, skip_mismatch)


def _refuse_by_name(by_name: bool, origin: Origin) -> None:
    if by_name:
        raise ValueError(
            "`by_name` is for HDF5 files of Keras 2: in others layers have no names but places. "
            f"Received: by_name={by_name!r} for {origin.name!r}"
        )


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise where `path` exists and is to be kept."""
    if not overwrite and path.exists():
        raise FileExistsError(
            f"The file exists and `overwrite` is False, so it was kept. Choose another name. Received: {str(path)!r}"
        )


def write_state(model: Any, file: BinaryIO, include_optimizer: bool = True) -> None:
    """Write all state of `model` to an empty file, as HDF5."""
    with open_writer(file) as writer:
        _write(model, writer, include_optimizer)


def _write(model: Any, writer: WeightsWriter | ShardsWriter, include_optimizer: bool = True) -> None:
    for saveable in saveables(model):
        if not include_optimizer and saveable.owner is getattr(model, "optimizer", None):
            continue
        if not _is_required(saveable) and not getattr(saveable.owner, "built", True):
            continue  # an optimizer that has done nothing yet
        name = getattr(saveable.owner, "name", None)
        writer.write(saveable.path, str(name) if isinstance(name, str) else None, saveable.state())


def read_state(model: Any, file: BinaryIO, origin: str, skip_mismatch: bool = False) -> None:
    """Overwrite the state of `model` with that in an HDF5 file, all of it or, on an error, nothing.

    Args:
        origin: The file's name for messages.
    """
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(open_reader(file))
        except ValueError as error:
            raise _not_loaded(origin, error) from error
        _read(model, reader, origin, skip_mismatch)


def _not_loaded(origin: str, error: ValueError) -> ValueError:
    return ValueError(f"The weights in {origin!r} were not loaded. {error}")


def _read(model: Any, reader: WeightsReader | ShardsReader, origin: str, skip_mismatch: bool) -> None:
    optimizer: Any = getattr(model, "optimizer", None)
    before = [] if optimizer is None or getattr(optimizer, "built", True) else [Before(optimizer)]
    try:
        if before and len(reader.arrays("optimizer", "vars")) > len(optimizer.variables):
            optimizer.build(model.trainable_weights)  # makes its slots, as the file has values for them
        loads = _matched(model, reader, origin, skip_mismatch)
        for load in sorted(loads, key=lambda load: not load.saveable.takes_any_size):
            if load.saveable.takes_any_size:  # its own code may raise; nothing else can by now
                before.append(Before(load.saveable.owner))
                _load_in_own_way(load, before[-1] if skip_mismatch else None, origin)
            else:
                load.saveable.load(load.values)
    except BaseException as error:
        for owner in reversed(before):
            owner.put_back()
        if isinstance(error, _UnfitError):
            raise _not_loaded(origin, error) from error
        raise


def _load_in_own_way(load: _Load, skipping: Before | None, origin: str) -> None:
    try:
        load.saveable.load(load.values)
    except Exception as error:
        if skipping is None:
            raise
        skipping.put_back()
        warnings.warn(f"Left as it is, because {origin!r} does not fit: {load.saveable.title}: {error}", stacklevel=7)


class _UnfitError(ValueError):
    """What the file holds is not what the model needs."""


class _Load(NamedTuple):
    saveable: Saveable
    values: Groups


def _matched(model: Any, reader: WeightsReader | ShardsReader, origin: str, skip_mismatch: bool) -> list[_Load]:
    """What of the file goes where, read and made to fit; nothing is written yet."""
    loads, problems = [], []
    for saveable in saveables(model):
        expected = saveable.state()
        try:
            arrays = {group: reader.arrays(saveable.path, group) for group in expected}
            if hasattr(saveable.owner, "slots_of"):
                arrays["vars"] = legacy.with_learning_rate(saveable.owner, arrays["vars"])
            is_needed = any(expected.values()) and _is_required(saveable) and not saveable.takes_any_size
            if not any(arrays.values()) and not is_needed:
                continue
            problem, values = _fitted(saveable, expected, arrays)
        except ValueError as error:
            raise _UnfitError(str(error)) from error
        if problem is None:
            loads.append(_Load(saveable, values))
        elif skip_mismatch or not _is_required(saveable):
            warnings.warn(f"Left as it is, because {origin!r} does not fit: {problem}", stacklevel=6)
        else:
            problems.append(problem)
    if problems:
        raise _UnfitError(
            f"{len(problems)} object{'s' * (len(problems) > 1)} of the model and the file do not fit, so nothing was "
            f"changed. {' '.join(problems)}"
        )
    return loads


def _is_required(saveable: Saveable) -> bool:
    """Whether the model is not whole without it: layers are, optimizers are not."""
    return isinstance(saveable.owner, torch.nn.Module)


def _fitted(saveable: Saveable, expected: Groups, arrays: Groups) -> tuple[str | None, Groups]:
    """The file's arrays as the state of `saveable`, or why they cannot be that."""
    if saveable.takes_any_size:
        return None, {
            group: {key: native(read_array(array)) for key, array in found.items()} for group, found in arrays.items()
        }
    kind = "Layer" if _is_required(saveable) else "Optimizer"
    values: Groups = {group: {} for group in expected}
    for group, state in expected.items():
        found = arrays[group]
        if set(state) != set(found):
            built = getattr(saveable.owner, "built", True)
            hint = "" if built else " It is not built: let `build` or `__init__` of its owner make its weights."
            return f"{kind} {saveable.title} has {len(state)} weights, the file has {len(found)} for it.{hint}", {}
        for key, value in state.items():
            if tuple(np.shape(value)) != found[key].shape:
                return (
                    f"{kind} {saveable.title}: weight {key} has shape {tuple(np.shape(value))} in the model and "
                    f"{found[key].shape} in the file."
                ), {}
    for group, state in expected.items():
        for key, value in state.items():
            array = read_array(arrays[group][key])
            try:
                values[group][key] = value_for(value, array, f"{kind} {saveable.title}: weight {key}")
            except ValueError as error:
                return f"{error} in the file.", {}
    return None, values
