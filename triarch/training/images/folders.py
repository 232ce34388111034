"""The images in folders of classes, as batches for the training loops."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from triarch import config
from triarch.training.directories import check_labels, check_parts, encoded, indexed, parts_of, require
from triarch.training.images.batches import ImageFolder, ImageReader, default_workers
from triarch.training.images.files import MODES, pillow, size_of
from triarch.training.images.kept import KeptImages, default_cache_size
from triarch.training.images.plain import decoders
from triarch.training.images.resizing import INTERPOLATIONS, resize, resize_cropped, resize_padded

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_PORTION = 64  # files that a thread tries at a time


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: int | tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    verbose: bool = True,
    unreadable: str = "refuse",
    workers: int | None = None,
    cache_size: int | None = None,
) -> Any:
    """Batches `(images, labels)` of the image files in a folder, with labels by their class folders.

    Images are float32 tensors `(batch, height, width, channels)`, values 0..255, or with channels first. They stand
    upright, as their files' orientation says; transparent parts are white, unless they are kept. Grey pixels of 16 bits
    keep their fractions, of such colours the highest 8 bits are read. Sizes change as `tf.image.resize` changes them,
    without averaging what becomes smaller. What is hidden or a system's own is neither a class nor an image.

    Args:
        directory: A folder with a folder for each class; or of images, without labels or with a list of them.
        labels: `"inferred"`, None, or a label for each file in the order of their paths.
        label_mode: `"int"` (int32, or float32 from fractions), `"categorical"` (one-hot), `"binary"` (`(batch, 1)`,
            two classes), or None, for images alone.
        class_names: The folders that are used, in the order of their labels; None for all in alphabetical order.
        color_mode: `"rgb"`, `"grayscale"` or `"rgba"`.
        batch_size: None for single images.
        image_size: Height and width, or one number for both.
        shuffle: Whether the files are mixed, anew in each epoch.
        seed: For mixing, and for what is kept for validation; None draws one of NumPy's.
        validation_split: The part of the files that is kept for validation: as with Keras, the last of them after they
            were mixed with `seed`.
        subset: `"training"`, `"validation"` or `"both"` (a list of the two), with `validation_split`.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"area"`, `"lanczos3"`, `"lanczos5"`, `"gaussian"` or
            `"mitchellcubic"`.
        follow_links: Whether links to folders within class folders are followed.
        crop_to_aspect_ratio: Cut what does not fit the shape of `image_size` off, rather than distort.
        pad_to_aspect_ratio: Lay zeros around what does not fill the shape, rather than distort.
        verbose: Whether to say how many files there are, and how many are left out: of other kinds, hidden ones, and
            what systems leave behind.
        unreadable: `"refuse"` raises at the first file that is no image; `"skip"` reads every file once at the start,
            leaves those out that cannot be read, and names them in a warning.
        workers: How many threads read images; None for the processors of this process, up to 8, or 1 for tiny files.
        cache_size: Bytes of memory in which images stay from one epoch to the next, as they are decoded, or resized
            where that is smaller; a file that changed is read again. 0 keeps none; None takes up to a quarter of the
            memory that is free now. `"both"` parts share it. Keras has no such argument, nor the two before it.

    Raises:
        ValueError: There are no images, arguments do not go together, or (while batches are made) a file is no image.
        OSError: The folder cannot be read.
    """
    names = list(class_names) if class_names is not None else None
    labels, label_mode = check_labels(labels, label_mode, names)
    require("color_mode", color_mode, tuple(MODES))
    interpolation = str(interpolation).lower()
    require("interpolation", interpolation, INTERPOLATIONS)
    require("unreadable", unreadable, ("refuse", "skip"))
    check_parts(validation_split, subset, shuffle, seed)
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise ValueError(f"`{name}` is a positive number. Received: {name}={number}")
    if cache_size is not None and cache_size < 0:
        raise ValueError(f"`cache_size` is a number of bytes, or 0. Received: {cache_size=}")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("One of `crop_to_aspect_ratio` and `pad_to_aspect_ratio` can be True. Received: both")
    fit = resize_cropped if crop_to_aspect_ratio else resize_padded if pad_to_aspect_ratio else resize
    reader = ImageReader(color_mode, size_of(image_size, "image_size"), interpolation, fit)
    data_format = config.standardize_data_format(data_format)
    seed = int(np.random.randint(10**6)) if seed is None else seed
    images = KeptImages(default_cache_size() if cache_size is None else cache_size)
    for load in (pillow, decoders):  # a fork while threads load them would leave a lock behind
        load()

    root = os.fspath(directory)
    files, numbers, names = indexed(root, FORMATS, labels, names, follow_links, verbose)
    workers = workers or default_workers(files)
    rows = None if numbers is None or label_mode is None else encoded(numbers, label_mode, names or [])
    kept = _readable(files, workers, reader, images) if unreadable == "skip" else list(range(len(files)))
    if not kept:
        raise ValueError(f"There are no images, files {', '.join(FORMATS)}, in {root!r}. Received: {len(files)} files")

    def part(chosen: list[int], is_mixed: bool) -> ImageFolder:
        if not chosen:
            raise ValueError(f"There are no images for this part of {root!r}. Received: {validation_split=}, {subset=}")
        own = None if rows is None else rows[chosen]
        paths = [files[number] for number in chosen]
        return ImageFolder(paths, own, names, reader, batch_size, is_mixed, seed, data_format, workers, images)

    chosen = parts_of(kept, validation_split, subset, seed if shuffle else None, verbose)
    if subset == "both":
        return [part(chosen[0], shuffle), part(chosen[1], False)]
    return part(chosen[0], shuffle)


def _readable(files: list[str], workers: int, reader: ImageReader, kept: KeptImages) -> list[int]:
    """Numbers of the files that can be read; a warning names the others."""
    portions = (files[first : first + _PORTION] for first in range(0, len(files), _PORTION))
    with ThreadPoolExecutor(workers, "triarch-images") as pool:
        found = pool.map(lambda portion: _problems(portion, reader, kept), portions)
        problems = [problem for portion in found for problem in portion]
    if named := [problem for problem in problems if problem is not None]:
        warnings.warn(f"Left out {len(named)} of {len(files)} files. {' '.join(named)}", stacklevel=3)
    return [number for number, problem in enumerate(problems) if problem is None]


def _problems(paths: list[str], reader: ImageReader, kept: KeptImages) -> list[str | None]:
    """Why each file cannot be read, or None."""
    found: list[str | None] = []
    for path in paths:
        try:
            reader.check(path, kept)
            found.append(None)
        except ValueError as error:
            found.append(str(error))
    return found
