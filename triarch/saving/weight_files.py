"""Weights into files and back: all that fits the model, or nothing."""

from __future__ import annotations

import warnings
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from triarch.files import atomic_write
from triarch.saving import legacy
from triarch.saving.archive import open_weights
from triarch.saving.hdf5 import File, WeightsReader, open_reader, open_writer, read_array
from triarch.saving.saveables import Saveable, saveables

FilePath = str | PathLike[str]
Groups = dict[str, dict[str, Any]]


def save_weights(model: Any, filepath: FilePath, overwrite: bool = True) -> None:
    """Write the weights, and the optimizer's state if there is one, to a file that ends in `.weights.h5`.

    A process that is killed while it saves leaves an earlier file of this name whole.

    Raises:
        ValueError: another extension, or a model that is not built.
        FileExistsError: the file exists and `overwrite` is False.
    """
    path = Path(fspath(filepath))
    if not path.name.endswith(".weights.h5"):
        raise ValueError(
            f"The name of a file of weights must end in `.weights.h5`; for the whole model use `save_model` and "
            f"`.keras`. Received: {str(path)!r}"
        )
    refuse_existing(path, overwrite)
    if not model.built:
        raise ValueError(
            "The model has no weights to save yet, because its input shape is not known. Call it on data or call "
            f"`build(input_shape)` first. Received: {type(model).__name__} {model.name!r}"
        )
    with atomic_write(path) as temporary:
        write_state(model, temporary)


def load_weights(model: Any, filepath: FilePath, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read the weights, and the optimizer's state where both have it, from a `.weights.h5` or `.keras` file.

    HDF5 files of Keras 2 (`.h5`), of weights or of whole models, are read, too. The model changes only when everything
    was read and fits.

    Args:
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
    path = Path(fspath(filepath))
    with open_weights(path) as file:
        if legacy.is_legacy(file):
            legacy.load_weights(model, file, str(path), skip_mismatch, by_name)
            return
        if by_name:
            raise ValueError(
                "`by_name` is for HDF5 files of Keras 2: in others layers have no names but places. "
                f"Received: by_name={by_name!r} for {str(path)!r}"
            )
        read_state(model, file, str(path), skip_mismatch)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise where `path` exists and is to be kept."""
    if not overwrite and path.exists():
        raise FileExistsError(
            f"The file exists and `overwrite` is False, so it was kept. Choose another name. Received: {str(path)!r}"
        )


def write_state(model: Any, file: File, include_optimizer: bool = True) -> None:
    """Write all state of `model` to an HDF5 file."""
    with open_writer(file) as writer:
        for saveable in saveables(model):
            if not include_optimizer and saveable.owner is getattr(model, "optimizer", None):
                continue
            if not _is_required(saveable) and not getattr(saveable.owner, "built", True):
                continue  # an optimizer that has done nothing yet
            name = getattr(saveable.owner, "name", None)
            writer.write(saveable.path, name if isinstance(name, str) else None, saveable.state())


def read_state(model: Any, file: File, origin: str, skip_mismatch: bool = False) -> None:
    """Overwrite the state of `model` with that in an HDF5 file, all of it or, on an error, nothing.

    Args:
        origin: The file's name for messages.
    """
    try:
        with open_reader(file) as reader:
            _build_optimizer(model, reader)
            loads = _matched(model, reader, origin, skip_mismatch)
            values = [(load.saveable, load.read()) for load in loads]
    except ValueError as error:
        raise ValueError(f"The weights in {origin!r} were not loaded. {error}") from error
    _load_all(values)


class _Load(NamedTuple):
    saveable: Saveable
    arrays: Groups

    def read(self) -> Groups:
        return {
            group: {key: read_array(array) for key, array in arrays.items()} for group, arrays in self.arrays.items()
        }


def _build_optimizer(model: Any, reader: WeightsReader) -> None:
    """Make the optimizer's slots where the file has values for them."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or getattr(optimizer, "built", True):
        return
    if len(reader.arrays("optimizer", "vars")) > len(optimizer.variables):
        optimizer.build(model.trainable_weights)


def _matched(model: Any, reader: WeightsReader, origin: str, skip_mismatch: bool) -> list[_Load]:
    """What of the file goes where; nothing is read or written yet."""
    loads, problems = [], []
    for saveable in saveables(model):
        expected = saveable.state()
        arrays = {group: reader.arrays(saveable.path, group) for group in expected}
        if hasattr(saveable.owner, "slots_of"):
            arrays["vars"] = legacy.with_learning_rate(saveable.owner, arrays["vars"])
        if not any(arrays.values()) and not (any(expected.values()) and _is_required(saveable)):
            continue
        problem = _mismatch(saveable, expected, arrays)
        if problem is None:
            loads.append(_Load(saveable, arrays))
        elif skip_mismatch or not _is_required(saveable):
            warnings.warn(f"Left as it is, because {origin!r} does not fit: {problem}", stacklevel=5)
        else:
            problems.append(problem)
    if problems:
        raise ValueError(
            f"{len(problems)} object{'s' * (len(problems) > 1)} of the model and the file do not fit, so nothing was "
            f"changed. {' '.join(problems)}"
        )
    return loads


def _is_required(saveable: Saveable) -> bool:
    """Whether the model is not whole without it: layers are, optimizers are not."""
    return isinstance(saveable.owner, torch.nn.Module)


def _mismatch(saveable: Saveable, expected: Groups, arrays: Groups) -> str | None:
    """Why the arrays of the file cannot be the state of `saveable`."""
    if _loads_in_own_way(saveable):
        return None
    kind = "Layer" if _is_required(saveable) else "Optimizer"
    for group, values in expected.items():
        found = arrays[group]
        if set(values) != set(found):
            built = getattr(saveable.owner, "built", True)
            hint = "" if built else " It is not built: let `build` or `__init__` of its owner make its weights."
            return f"{kind} {saveable.title} has {len(values)} weights, the file has {len(found)} for it.{hint}"
        for key, value in values.items():
            if tuple(np.shape(value)) != found[key].shape:
                return (
                    f"{kind} {saveable.title}: weight {key} has shape {tuple(np.shape(value))} in the model and "
                    f"{found[key].shape} in the file."
                )
    return None


def _loads_in_own_way(saveable: Saveable) -> bool:
    """Whether a user's class reads its state itself, so that its size may differ from the present one."""
    method = getattr(type(saveable.owner), "load_own_variables", None)
    return method is not None and not method.__module__.startswith("triarch.")


def _load_all(values: list[tuple[Saveable, Groups]]) -> None:
    """Write; should a user's `load_own_variables` raise, everything goes back to what it was."""
    before = []
    if any(_loads_in_own_way(saveable) for saveable, _ in values):
        before = [(saveable, _copies(saveable.state())) for saveable, _ in values]
    try:
        for saveable, groups in values:
            saveable.load(groups)
    except BaseException:
        for saveable, groups in before:
            saveable.load(groups)
        raise


def _copies(groups: Groups) -> Groups:
    return {
        group: {
            key: value.detach().clone() if isinstance(value, torch.Tensor) else np.array(value)
            for key, value in values.items()
        }
        for group, values in groups.items()
    }
