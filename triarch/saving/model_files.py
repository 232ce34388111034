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
from triarch.files import atomic_folder, notes
from triarch.saving.archive import ASSETS, CONFIG, METADATA, WEIGHTS, open_archive
from triarch.saving.assets import collected_assets, files_in, read_assets
from triarch.saving.streams import Origin, Place, path_of, written
from triarch.saving.weight_files import read_state, refuse_existing, write_state
from triarch.serialization import deserialize_keras_object, serialize_keras_object

FORMAT = "3.15.1"  # the version of Keras whose format this is


def save_model(model: Any, filepath: Place, overwrite: bool = True, zipped: bool = True) -> None:
    """Write architecture, weights, compile settings and the optimizer's state to a file that ends in `.keras`.

    The file opens in Keras 3 and the reverse. A process that is killed while it saves leaves an earlier file of this
    name whole.

    Args:
        filepath: A path, or a stream that is open for writing bytes: it is written to from its present place on.
        zipped: False writes the parts into a folder of this name instead, in place of an earlier one.

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
    parts = {METADATA: _metadata(), CONFIG: json.dumps(serialize_keras_object(model))}
    if path is not None and not zipped:
        _write_folder(model, parts, path)
        return
    with written(filepath) as file:
        _write_zip(model, parts, file)


def load_model(
    filepath: Place, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model in a `.keras` file of triarch or Keras 3, compiled as it was, with the state of its optimizer.

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
    with open_archive(origin) as archive:
        config = archive.read(CONFIG)
        with archive.opened(WEIGHTS) as weights:
            model = _model(config, custom_objects, compile, origin.name)
            read_state(model, weights, origin.name)
        read_assets(model, archive)
    return model


def _check_name(path: Path, zipped: bool) -> None:
    if zipped == (path.suffix == ".keras"):
        return
    if not zipped:
        raise ValueError(f"With `zipped=False`, the name must not end in `.keras`. Received: {str(path)!r}")
    advice = "use `save_weights` for weights alone" if path.name.endswith(".weights.h5") else "add it"
    raise ValueError(f"The name of a model's file must end in `.keras`; {advice}. Received: {str(path)!r}")


def _metadata() -> str:
    now = datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {"keras_version": FORMAT, "date_saved": now, "triarch_version": __version__}
    note = notes.current_note()
    return json.dumps(metadata if note is None else {**metadata, notes.KEY: note})


def _write_zip(model: Any, parts: dict[str, str], file: BinaryIO) -> None:
    weights = io.BytesIO()
    write_state(model, weights)
    with collected_assets(model) as assets, zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
        archive.writestr(WEIGHTS, weights.getbuffer())
        for source, name in files_in(assets):
            archive.write(source, name)


def _write_folder(model: Any, parts: dict[str, str], path: Path) -> None:
    if path.exists() and not (path / CONFIG).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(
            f"A model's folder would replace what is there, and that is no model. Choose another name. "
            f"Received: {str(path)!r}"
        )
    with atomic_folder(path) as fresh:
        for name, text in parts.items():
            (fresh / name).write_text(text)
        with open(fresh / WEIGHTS, "w+b") as file:
            write_state(model, file)
        with collected_assets(model) as assets:
            if files_in(assets):
                shutil.copytree(assets, fresh / ASSETS)


def _model(config: bytes, custom_objects: Mapping[str, Any] | None, compile: bool, origin: str) -> Any:
    """The model as its config describes it, with fresh weights."""
    try:
        description = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The file's {CONFIG!r} is damaged: {error}. Received: {origin!r}") from error
    if not isinstance(description, dict) or "class_name" not in description:
        raise ValueError(f"The file's {CONFIG!r} does not describe a model. Received: {origin!r}")
    if not compile:
        description["compile_config"] = None
    try:
        model = deserialize_keras_object(description, custom_objects)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The model in {origin!r} cannot be made from its config ({type(error).__name__}): {error}"
        ) from error
    if not hasattr(model, "load_own_variables"):
        raise ValueError(f"The file describes a {description['class_name']!r}, which is no model. Received: {origin!r}")
    return model
