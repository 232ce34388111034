"""Images: sampling at places of a grid, augmentation, and folders of files, as `scripts/bench train` compares.

`inference` of a sampler is its way forward, `training` also the way back to images and places. Keras has no sampler,
and torch without other packages no augmentation: such sides are left out.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import train
from benchmarks.networks import TASKS

_FILES, _CLASSES, _BATCH, _EPOCHS = 2_000, 10, 32, 3
_STEPS = -(-_FILES // _BATCH)


@dataclass(frozen=True)
class Images:
    """What is done with images of a shape.

    Args:
        kind: `"sampler"`, `"augmentation"`, or how files are read: `"once"`, in some `"epochs"`, or `"again"`.
        steps: Batches in a run.
    """

    kind: str
    shape: tuple[int, int, int]
    batch_size: int
    steps: int
    tasks: tuple[str, ...] = ("inference",)


CASES = {
    "sampler-28x28x1": Images("sampler", (28, 28, 1), 128, 1000, TASKS),
    "sampler-42x42x1": Images("sampler", (42, 42, 1), 64, 1000, TASKS),
    "sampler-32x32x3": Images("sampler", (32, 32, 3), 128, 500, TASKS),
    "sampler-64x64x16": Images("sampler", (64, 64, 16), 32, 100, TASKS),
    "sampler-64x64x64": Images("sampler", (64, 64, 64), 16, 50, TASKS),
    "augmentation-32x32x3": Images("augmentation", (32, 32, 3), 128, 50),
    "augmentation-224x224x3": Images("augmentation", (224, 224, 3), 32, 10),
    "folder-28x28": Images("once", (28, 28, 1), _BATCH, _STEPS),
    "folder-28x28-epochs": Images("epochs", (28, 28, 1), _BATCH, _EPOCHS * _STEPS),
    "folder-28x28-again": Images("again", (28, 28, 1), _BATCH, _STEPS),
    "folder-200x260": Images("once", (200, 260, 3), _BATCH, _STEPS),
    "folder-200x260-epochs": Images("epochs", (200, 260, 3), _BATCH, _EPOCHS * _STEPS),
    "folder-200x260-again": Images("again", (200, 260, 3), _BATCH, _STEPS),
}


def _sampling(side: str, case: Images, task: str) -> Callable[[], Any]:
    """Each side has its own order of channels, in which images lie one number after the other."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    if side not in ("triarch", "torch"):
        raise SystemExit(f"{side} has no sampler")
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(case.batch_size, *case.shape, generator=generator)
    theta = torch.eye(2, 3) + 0.2 * torch.randn(case.batch_size, 2, 3, generator=generator)
    grid = affine_grid(theta, [case.batch_size, 1, *case.shape[:2]], align_corners=False)
    kernels = importlib.import_module("triarch.kernels") if side == "triarch" else None
    if kernels is None:
        images = images.permute(0, 3, 1, 2).contiguous()
    weights = torch.rand(images.shape, generator=generator)

    def sample() -> torch.Tensor:
        if kernels is not None:
            return kernels.grid_sample(images, grid)
        return grid_sample(images, grid, align_corners=False)

    def run() -> None:
        with kernels.expecting(100_000) if kernels else nullcontext():
            for _ in range(case.steps):
                if task == "training":
                    torch.autograd.grad(sample(), (images, grid), weights)
                else:
                    sample()

    if task == "training":
        images.requires_grad_()
        grid.requires_grad_()
    return run


def _augmentation(side: str, case: Images, task: str) -> Callable[[], Any]:
    if side.startswith("torch"):
        raise SystemExit(f"{side} has no layers of augmentation")
    keras = importlib.import_module("triarch" if side == "triarch" else "keras")
    layers = keras.layers
    parts = [
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.2),
    ]
    images = np.random.default_rng(0).random((case.batch_size, *case.shape), dtype=np.float32)
    given = keras.ops.convert_to_tensor(images)

    def augment(batch: Any) -> Any:
        for part in parts:
            batch = part(batch, training=True)
        return batch

    if side == "keras-tensorflow":
        augment = importlib.import_module("tensorflow").function(augment)

    def run() -> None:
        with keras.kernels.expecting(100_000) if side == "triarch" else nullcontext():
            for _ in range(case.steps):
                np.asarray(augment(given))

    return run


def _write_files(folder: Path, case: Images) -> None:
    """Class folders of smooth random images: PNG where they are small, JPEG where they are large."""
    from PIL import Image

    rng = np.random.default_rng(0)
    height, width, channels = case.shape
    for number in range(_FILES):
        own = folder / f"class-{number % _CLASSES}"
        own.mkdir(exist_ok=True)
        coarse = rng.integers(0, 256, (height // 4, width // 4, channels), dtype=np.uint8).squeeze()
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(own / f"{number:05}.{'png' if channels == 1 else 'jpg'}")


def _folder(side: str, case: Images, task: str) -> Callable[[], Any]:
    """Through all files, from looking for them on.

    `once`: no side keeps anything. `epochs`: as a script for each side stands, and triarch keeps decoded images.
    `again`: an epoch later, where Keras was told to keep the batches, which are the first epoch's ever after.
    """
    temporary = tempfile.TemporaryDirectory()
    folder, mode = Path(temporary.name), "grayscale" if case.shape[2] == 1 else "rgb"
    _write_files(folder, case)
    make: Callable[[], Any]
    if side == "torch":
        make = partial(_torch_batches, folder, mode, case)
    elif side in ("triarch", "keras-tensorflow"):
        keras = importlib.import_module("triarch" if side == "triarch" else "keras")
        options = {"image_size": case.shape[:2], "color_mode": mode, "batch_size": case.batch_size, "verbose": False}
        kept = {"cache_size": 0} if side == "triarch" and case.kind == "once" else {}
        make = partial(keras.utils.image_dataset_from_directory, folder, **options, **kept)
    else:
        raise SystemExit(f"{side} reads no folders, or as another side does")

    batches = make() if case.kind == "again" else None
    if batches is not None and side == "keras-tensorflow":
        batches = batches.cache()
    time.sleep(2.5)  # triarch keeps no file that was written to just now

    def run(_kept: Any = temporary) -> int:
        data = make() if batches is None else batches
        epochs = _EPOCHS if case.kind == "epochs" else 1
        return sum(len(np.asarray(labels)) for _ in range(epochs) for _, labels in data)

    return run


def _torch_batches(folder: Path, mode: str, case: Images) -> Any:
    """What a user of PyTorch writes."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset[Any]):
        def __init__(self) -> None:
            self.paths = sorted(folder.glob("*/*"))
            self.names = sorted({path.parent.name for path in self.paths})

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, number: int) -> Any:
            path = self.paths[number]
            picture = Image.open(path).convert("L" if mode == "grayscale" else "RGB")
            if picture.size != case.shape[1::-1]:
                picture = picture.resize(case.shape[1::-1])
            pixels = torch.from_numpy(np.array(picture)).reshape(case.shape).float()
            return pixels, self.names.index(path.parent.name)

    return DataLoader(Files(), case.batch_size, shuffle=True, num_workers=2)


_KINDS = {"sampler": _sampling, "augmentation": _augmentation} | dict.fromkeys(("once", "epochs", "again"), _folder)


def run_of(side: str, case: Images, task: str) -> Callable[[], Any]:
    """A function that goes through `case.steps` batches."""
    return _KINDS[case.kind](side, case, task)


if __name__ == "__main__":
    train.main("images", CASES, run_of, __doc__)
