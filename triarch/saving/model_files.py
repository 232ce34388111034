"""Whole models into `.keras` files and back."""

from __future__ import annotations

import io
import json
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from triarch._version import __version__
from triarch.files import atomic_folder
from triarch.saving import legacy
from triarch.saving.archive import ASSETS, CONFIG, METADATA, WEIGHTS, Archive, is_hdf5, open_archive
from triarch.saving.assets import collected_assets, files_in, read_assets
from triarch.saving.making import make_model
from triarch.saving.streams import Origin, Place, path_of, written
from triarch.saving.weight_files import read_state, refuse_existing, write_state
from triarch.serialization import serialize_keras_object

FORMAT = "3.15.1"  # the version of Keras whose format this is
HDF5_ENDINGS = (".h5", ".hdf5")  # of whole models in the format before `.keras`


def save_model(
    model: Any, filepath: Place, overwrite: bool = True, zipped: bool = True, include_optimizer: bool = True
) -> None:
    """Write architecture, weights, compile settings and the optimizer's state to a file that ends in `.keras`.

    The file opens in Keras 3 and the reverse. A process that is killed while it saves leaves an earlier file of this
    name whole. A name that ends in `.h5` or `.hdf5` gives an HDF5 file in the format before `.keras`, as in Keras 3.

    Args:
        filepath: A path, or a stream that is open for writing bytes: it is written to from its present place on.
        zipped: False writes the parts into a folder of this name instead, in place of an earlier one.
        include_optimizer: Whether the file holds how the model was compiled, with the optimizer's state.

    Raises:
        ValueError: a wrong extension, or a part of the model that no file can hold, such as a lambda.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written, or there is no room for it.
    """
    path = path_of(filepath)
    if path is not None:
        _check_name(path, zipped)
        refuse_existing(path, overwrite)
    elif not zipped:
        raise ValueError(f"With `zipped=False`, `filepath` is the path of a folder. Received: {filepath!r}")
    if not model.built:
        warnings.warn(
            f"The model {model.name!r} is saved without weights, because it has none yet: its input shape is not "
            "known. Call it on data or call `build(input_shape)` first.",
            stacklevel=3,
        )
    if path is not None and path.name.endswith(HDF5_ENDINGS):
        with written(path) as file:
            legacy.save_model(model, file, FORMAT, include_optimizer)
        return
    description = serialize_keras_object(model)
    if not include_optimizer:
        description.pop("compile_config", None)
    parts = {METADATA: _metadata(), CONFIG: json.dumps(description)}
    if path is not None and not zipped:
        _write_folder(model, parts, path, include_optimizer)
        return
    with written(filepath) as file:
        _write_zip(model, parts, file, include_optimizer)


def load_model(
    filepath: Place, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model in a file, compiled as it was, with the state of its optimizer.

    Files are `.keras` of triarch and of Keras from 2.12 on, and HDF5 files of whole models (`.h5`) of Keras 2 and 3.

    Args:
        filepath: A path, or a stream that is open for reading bytes: it is read from its present place to its end, or
            from its start where it stands at its end.
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
    origin = Origin.of(filepath)
    if is_hdf5(origin):
        with origin.opened() as file:
            return legacy.load_model(file, origin.name, custom_objects, compile)
    with open_archive(origin) as archive:
        model = _model(archive, custom_objects, compile)
        with archive.opened(WEIGHTS) as weights:
            read_state(model, weights, origin.name)
        read_assets(model, archive)
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


def _write_zip(model: Any, parts: dict[str, str], file: BinaryIO, include_optimizer: bool) -> None:
    weights = io.BytesIO()
    write_state(model, weights, include_optimizer)
    with collected_assets(model) as assets, zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        archive.writestr(WEIGHTS, weights.getbuffer())
        for source, name in files_in(assets):
            archive.write(source, name)


def _write_folder(model: Any, parts: dict[str, str], path: Path, include_optimizer: bool) -> None:
    if path.exists() and not (path / CONFIG).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(
            f"A model's folder would replace what is there, and that is no model. Choose another name. "
            f"Received: {str(path)!r}"
        )
    with atomic_folder(path) as fresh:
        for name, text in parts.items():
            (fresh / name).write_text(text)
        with open(fresh / WEIGHTS, "w+b") as file:
            write_state(model, file, include_optimizer)
        with collected_assets(model) as assets:
            if files_in(assets):
                shutil.copytree(assets, fresh / ASSETS)


def _model(archive: Archive, custom_objects: Mapping[str, Any] | None, compile: bool) -> Any:
    """The model as its config describes it, with fresh weights."""
    origin = archive.origin.name
    try:
        description = json.loads(archive.read(CONFIG))
    except (UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"The file's {CONFIG!r} is damaged: {error}. Received: {origin!r}") from error
    if not isinstance(description, dict) or "class_name" not in description:
        raise ValueError(f"The file's {CONFIG!r} does not describe a model. Received: {origin!r}")
    if not compile:
        description["compile_config"] = None
    version = archive.keras_version
    if (version or "3").startswith("2."):
        description = legacy.upgraded_archive(description, version, custom_objects, origin)
    return make_model(description, custom_objects, origin)
