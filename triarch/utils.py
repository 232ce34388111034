"""The names of `keras.utils`, for users; nothing inside the package imports this module."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch import config, files
from triarch.backend import clear_session
from triarch.callbacks import Progbar
from triarch.config import disable_interactive_logging, enable_interactive_logging, is_interactive_logging_enabled
from triarch.exactness import as_type
from triarch.layers.recurrent.exchange import recurrent_from_torch, recurrent_to_torch
from triarch.models.drawing import model_to_dot, plot_model
from triarch.random import set_random_seed
from triarch.registry import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from triarch.serialization import deserialize_keras_object, serialize_keras_object
from triarch.tensors import torch_dtype
from triarch.training.batches import pack_x_y_sample_weight, unpack_x_y_sample_weight
from triarch.training.images.files import array_to_img, img_to_array, load_img, save_img
from triarch.training.images.folders import image_dataset_from_directory
from triarch.training.py_dataset import PyDataset
from triarch.training.series import pad_sequences, timeseries_dataset_from_array
from triarch.training.texts import text_dataset_from_directory

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "recurrent_from_torch",
    "recurrent_to_torch",
    "register_keras_serializable",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]

CustomObjectScope = custom_object_scope
Sequence = PyDataset


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """One-hot rows for class numbers 0..`num_classes` - 1: the shape of `x`, less a last axis of size 1, plus an axis.

    A tensor gives an integer tensor, anything else a float64 array. Without `num_classes`, the largest number decides.
    """
    is_tensor = isinstance(x, torch.Tensor)
    numbers: Any = _whole_tensor(x) if is_tensor else as_type(x, "int64", "x")
    if numbers.ndim > 1 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    if 0 in numbers.shape and not num_classes:
        raise ValueError("An empty `x` tells no number of classes; give `num_classes`. Received: num_classes=None")
    num_classes = num_classes or int(numbers.max()) + 1
    if 0 not in numbers.shape and not 0 <= int(numbers.min()) <= int(numbers.max()) < num_classes:
        raise ValueError(
            f"Expected class numbers from 0 to {num_classes - 1} (num_classes={num_classes}). Received: numbers from "
            f"{int(numbers.min())} to {int(numbers.max())}"
        )
    if is_tensor:
        return (numbers.unsqueeze(-1) == torch.arange(num_classes, device=x.device)).long()
    rows = np.zeros((numbers.size, num_classes))
    rows[np.arange(numbers.size), numbers.reshape(-1)] = 1
    return rows.reshape(*numbers.shape, num_classes)


def _whole_tensor(x: torch.Tensor) -> torch.Tensor:
    numbers = x.long()
    if x.is_floating_point() and bool((numbers != x).any()):
        raise ValueError(f"`x` has class numbers, which are whole. Received: {x[numbers != x][0].item()}")
    return numbers


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """`x` divided by its norm of `order` along `axis`; zeros stay. An array gives an array, anything else a tensor."""
    if isinstance(x, np.ndarray):
        norm = np.linalg.norm(x, order, axis, keepdims=True)
        return x / np.where(norm == 0, 1, norm)
    if not isinstance(x, torch.Tensor):
        x = torch.as_tensor(x, device=config.device())
    if not x.is_floating_point():
        x = x.to(torch_dtype(config.floatx()))
    return x / torch.linalg.vector_norm(x, order, axis, keepdim=True).clamp_min(config.epsilon())


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | list[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """The path of a file from the web, downloaded where it is not in the cache yet.

    An interrupted download goes on at the next call. A file with another checksum is never used: it is kept beside
    under another name. Archives may hold files and folders only, none outside their own folder.

    Args:
        fname: Name in the cache; by default that of `origin`. With `extract`, the name of the folder.
        origin: URL of the file.
        untar: Keras's older spelling of `extract`.
        md5_hash: Keras's older spelling of `file_hash`.
        file_hash: Expected SHA-256 or MD5 in hexadecimal digits.
        cache_subdir: Folder within `cache_dir`.
        hash_algorithm: `"sha256"`, `"md5"` or `"auto"` (by the length of `file_hash`).
        extract: Unpack the archive; the result is the path of the folder.
        archive_format: `"tar"`, `"zip"` or `"auto"`.
        cache_dir: By default the folder of `TRIARCH_HOME`.
        force_download: Download even where the file is in the cache.
    """
    if origin is None:
        raise ValueError("Expected `origin`, the URL of the file. Received: None")
    name = os.fspath(fname) if fname else os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(
            "Expected a plain file name in `fname` or at the end of `origin`; folders go in `cache_dir`. Received: "
            f"fname={fname!r}, origin={origin!r}"
        )
    extract = extract or untar
    folder_name = name
    if extract and fname and "." in name:
        folder_name = f"{name.partition('.')[0]}_extracted"
    elif extract:
        name = f"{name}_archive"
    folder = Path(cache_dir or config.home()).expanduser() / cache_subdir
    target = folder / name
    file_hash = file_hash or md5_hash
    if target.exists() and not files.matches(target, file_hash, hash_algorithm):
        kept = files.set_aside(target)
        print(f"The file {str(target)!r} has not the expected checksum {file_hash}; it is kept as {str(kept)!r}.")
    if force_download or not target.exists():
        files.download(origin, target, file_hash, hash_algorithm)
    if not extract:
        return str(target)
    if not files.extract_archive(target, folder / folder_name, "tar" if untar else archive_format):
        raise ValueError(
            f"The file {str(target)!r} is no archive of this format. Received: origin={origin!r}, "
            f"archive_format={archive_format!r}"
        )
    return str(folder / folder_name)
