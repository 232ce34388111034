"""Whole models into `.keras` files and back."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from datetime import datetime
from os import fspath
from pathlib import Path
from typing import Any

from triarch._version import __version__
from triarch.files import atomic_write
from triarch.saving import legacy
from triarch.saving.archive import CONFIG, METADATA, WEIGHTS, is_hdf5, keras_version, read_archive
from triarch.saving.making import make_model
from triarch.saving.weight_files import FilePath, read_state, refuse_existing, write_state
from triarch.serialization import serialize_keras_object

FORMAT = "3.15.1"  # the version of Keras whose format this is
HDF5_ENDINGS = (".h5", ".hdf5")  # of whole models in the format before `.keras`


def save_model(
    model: Any, filepath: FilePath, overwrite: bool = True, zipped: bool = True, include_optimizer: bool = True
) -> None:
    """Write architecture, weights, compile settings and the optimizer's state to a file that ends in `.keras`.

    The file opens in Keras 3 and the reverse. A process that is killed while it saves leaves an earlier file of this
    name whole. A name that ends in `.h5` or `.hdf5` gives an HDF5 file in the format before `.keras`, as in Keras 3.

    Args:
        zipped: False writes the parts into a folder of this name instead; an earlier one is moved aside meanwhile.
        include_optimizer: Whether the file holds how the model was compiled, with the optimizer's state.

    Raises:
        ValueError: a wrong extension, or a part of the model that no file can hold, such as a lambda.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.
    """
    path = Path(fspath(filepath))
    _check_name(path, zipped)
    refuse_existing(path, overwrite)
    if not model.built:
        warnings.warn(
            f"The model {model.name!r} is saved without weights, because it has none yet: its input shape is not "
            "known. Call it on data or call `build(input_shape)` first.",
            stacklevel=3,
        )
    if path.name.endswith(HDF5_ENDINGS):
        with atomic_write(path) as temporary:
            legacy.save_model(model, temporary, FORMAT, include_optimizer)
        return
    description = serialize_keras_object(model)
    if not include_optimizer:
        description.pop("compile_config", None)
    parts = {METADATA: _metadata(), CONFIG: json.dumps(description)}
    if not zipped:
        _write_folder(model, parts, path, include_optimizer)
        return
    with atomic_write(path) as temporary:
        weights = io.BytesIO()
        write_state(model, weights, include_optimizer)
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
            archive.writestr(WEIGHTS, weights.getbuffer())


def load_model(
    filepath: FilePath, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model in a file, compiled as it was, with the state of its optimizer.

    Files are `.keras` of triarch and of Keras from 2.12 on, and HDF5 files of whole models (`.h5`) of Keras 2 and 3.

    Args:
        custom_objects: Classes and functions that the file may name, besides those registered with
            `register_keras_serializable`.
        compile: Whether to compile it.
        safe_mode: Must be True: no code in a file is ever run.

    Raises:
        ValueError: not such a file, a damaged one, or one that needs code or a class that is not registered.
        FileNotFoundError: there is no such file.
    """
    if not safe_mode:
        raise ValueError(
            "triarch never runs code from files, so there is no `safe_mode=False`. Save the model with registered "
            "functions or layers in place of lambdas."
        )
    path = Path(fspath(filepath))
    if is_hdf5(path):
        return legacy.load_model(path, str(path), custom_objects, compile)
    config, weights = read_archive(path)
    model = _model(config, custom_objects, compile, path)
    read_state(model, weights, str(path))
    return model


def _check_name(path: Path, zipped: bool) -> None:
    if zipped == (path.suffix == ".keras") or (
        zipped and path.name.endswith(HDF5_ENDINGS) and not path.name.endswith(".weights.h5")
    ):
        return
    if not zipped:
        raise ValueError(f"With `zipped=False`, the name must not end in `.keras`. Received: {str(path)!r}")
    advice = "use `save_weights` for weights alone" if path.name.endswith(".weights.h5") else "add it"
    raise ValueError(f"The name of a model's file must end in `.keras` or `.h5`; {advice}. Received: {str(path)!r}")


def _metadata() -> str:
    now = datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    return json.dumps({"keras_version": FORMAT, "date_saved": now, "triarch_version": __version__})


def _write_folder(model: Any, parts: dict[str, str], path: Path, include_optimizer: bool) -> None:
    if path.exists() and not (path / CONFIG).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(
            f"A model's folder would replace what is there, and that is no model. Choose another name. "
            f"Received: {str(path)!r}"
        )
    mark = secrets.token_hex(4)
    fresh, old = path.with_name(f".{mark}-{path.name}"), path.with_name(f".{mark}-old-{path.name}")
    fresh.mkdir()
    try:
        for name, text in parts.items():
            with atomic_write(fresh / name) as temporary:
                temporary.write_text(text)
        with atomic_write(fresh / WEIGHTS) as temporary:
            write_state(model, temporary, include_optimizer)
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _model(config: bytes, custom_objects: Mapping[str, Any] | None, compile: bool, path: Path) -> Any:
    """The model as its config describes it, with fresh weights."""
    try:
        description = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The file's {CONFIG!r} is damaged: {error}. Received: {str(path)!r}") from error
    if not isinstance(description, dict) or "class_name" not in description:
        raise ValueError(f"The file's {CONFIG!r} does not describe a model. Received: {str(path)!r}")
    if not compile:
        description["compile_config"] = None
    version = keras_version(path)
    if (version or "3").startswith("2."):
        description = legacy.upgraded_archive(description, version, custom_objects, str(path))
    return make_model(description, custom_objects, str(path))
