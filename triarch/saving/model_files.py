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
from triarch.files import atomic_write, notes
from triarch.saving.archive import CONFIG, METADATA, WEIGHTS, read_archive
from triarch.saving.weight_files import FilePath, read_state, refuse_existing, write_state
from triarch.serialization import deserialize_keras_object, serialize_keras_object

FORMAT = "3.15.1"  # the version of Keras whose format this is


def save_model(model: Any, filepath: FilePath, overwrite: bool = True, zipped: bool = True) -> None:
    """Write architecture, weights, compile settings and the optimizer's state to a file that ends in `.keras`.

    The file opens in Keras 3 and the reverse. A process that is killed while it saves leaves an earlier file of this
    name whole.

    Args:
        zipped: False writes the parts into a folder of this name instead; an earlier one is moved aside meanwhile.

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
    parts = {METADATA: _metadata(), CONFIG: json.dumps(serialize_keras_object(model))}
    if not zipped:
        _write_folder(model, parts, path)
        return
    with atomic_write(path) as temporary:
        weights = io.BytesIO()
        write_state(model, weights)
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
            archive.writestr(WEIGHTS, weights.getbuffer())


def load_model(
    filepath: FilePath, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model in a `.keras` file of triarch or Keras 3, compiled as it was, with the state of its optimizer.

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
    config, weights = read_archive(path)
    model = _model(config, custom_objects, compile, path)
    read_state(model, weights, str(path))
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


def _write_folder(model: Any, parts: dict[str, str], path: Path) -> None:
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
            write_state(model, temporary)
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
    try:
        model = deserialize_keras_object(description, custom_objects)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The model in {str(path)!r} cannot be made from its config ({type(error).__name__}): {error}"
        ) from error
    if not hasattr(model, "load_own_variables"):
        raise ValueError(
            f"The file describes a {description['class_name']!r}, which is no model. Received: {str(path)!r}"
        )
    return model
