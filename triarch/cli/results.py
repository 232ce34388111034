"""The result folder of a training: what is in it, and how a trained model is opened again."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch import config
from triarch._version import __version__
from triarch.cli.data import DataSet
from triarch.cli.images import in_range
from triarch.cli.output import CommandError, listed
from triarch.cli.parts import Part
from triarch.files import atomic_write
from triarch.models import load_model

MODEL = "model.keras"
REPORT = "report.json"
HISTORY = "history.csv"
_AT_ONCE = 256  # images that a model is asked about


@dataclass(frozen=True)
class Scores:
    """How well probabilities `(images, classes)` agree with class numbers."""

    images: int
    correct: int
    accuracy: float
    loss: float  # mean cross-entropy in nats
    accuracy_of_class: tuple[float | None, ...]  # None for a class without images
    images_of_class: tuple[int, ...]

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> Scores:
        """The scores of a classifier's answers."""
        right = probabilities.argmax(-1) == labels
        likelihoods = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        classes = probabilities.shape[1]
        sizes, rights = np.bincount(labels, minlength=classes), np.bincount(labels[right], minlength=classes)
        return cls(
            images=len(labels),
            correct=int(right.sum()),
            accuracy=float(right.mean()),
            loss=float(-np.log(likelihoods.clip(config.epsilon())).mean()),
            accuracy_of_class=tuple(
                float(own / size) if size else None for own, size in zip(rights, sizes, strict=True)
            ),
            images_of_class=tuple(sizes.tolist()),
        )


@dataclass(frozen=True)
class InputFormat:
    """What a trained model takes and answers: image size, pixel values, and the classes in order."""

    height: int
    width: int
    channels: int
    lowest: float
    highest: float
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, data: DataSet) -> InputFormat:
        """The format of a data set's images."""
        return cls(*data.train.shape, *data.train.value_range, data.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def value_range(self) -> tuple[float, float]:
        """What the darkest and the brightest pixel can be."""
        return self.lowest, self.highest

    def from_bytes(self, image: np.ndarray) -> np.ndarray:
        """Pixel values 0..255 as the values that the model was trained with."""
        return in_range(image.astype(np.float32), (0, 255), self.value_range)

    def labels_of(self, part: Part, class_names: Sequence[str]) -> np.ndarray:
        """The labels of images with other class numbers as the model's own, matched by name."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        unknown = set(class_names) - set(numbers)
        if unknown:
            raise CommandError(
                f"The data must have the model's classes ({listed(self.class_names)}). Received also: "
                f"{listed(sorted(unknown))}"
            )
        return np.array([numbers[name] for name in class_names])[part.labels]


@dataclass(frozen=True)
class Trained:
    """A model with what is needed to use it."""

    model: Any
    path: Path
    format: InputFormat

    def probabilities(self, images: np.ndarray | Part) -> np.ndarray:
        """The model's answers `(images, classes)`."""
        x = images.source(_AT_ONCE)[0] if isinstance(images, Part) else images
        outputs = self.model.predict(x, batch_size=_AT_ONCE, verbose=0)
        if outputs.ndim != 2 or outputs.shape[1] != len(self.format.class_names):
            raise CommandError(
                f"Expected a model with one output for each of {len(self.format.class_names)} classes. Received: "
                f"outputs of shape {outputs.shape}"
            )
        return outputs


def open_trained(argument: str) -> Trained:
    """The model in a result folder, or a .keras file with its report beside it."""
    usable_device()
    path = Path(argument).expanduser()
    if not path.exists():
        raise CommandError(
            f"{argument!r} does not exist. Expected a result folder of `triarch train` or the .keras file in one."
        )
    if path.is_dir():
        path = path / MODEL
        if not path.exists():
            raise CommandError(
                f"The folder {argument!r} holds no {MODEL}. Expected a result folder of `triarch train` or the .keras "
                "file in one."
            )
    report = path.with_name(REPORT)
    try:
        model = load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CommandError(f"The file {str(path)!r} is not a model that can be loaded: {error}") from error
    try:
        entry = json.loads(report.read_text(encoding="utf-8"))["input"]
        if "task" in entry:
            raise CommandError(f"{argument!r} is a model of series or texts; this command is for models of images.")
        return Trained(model, path, InputFormat(**{**entry, "class_names": tuple(entry["class_names"])}))
    except FileNotFoundError as error:
        raise CommandError(
            f"The file {str(report)!r} is missing; it says which image size, pixel values and classes the model has. "
            "Keep it beside the model."
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CommandError(f"The file {str(report)!r} is not a report of `triarch train`: {error!r}") from error


def claim_folder(folder: Path) -> Path:
    """The folder, made where it is missing; one that holds anything is refused, so that no result is written over."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise CommandError(f"The result folder {str(folder)!r} cannot be made: {error.strerror}") from error
    if not is_empty:
        raise CommandError(
            f"--out must name a new or empty folder; results are never overwritten. Received: {str(folder)!r}"
        )
    return folder


def new_run_folder(name: str, now: datetime) -> Path:
    """An empty `runs/<date>-<name>`."""
    base = Path("runs") / f"{now:%Y-%m-%d-%H%M%S}-{name}"
    folder, number = base, 2
    while folder.exists():
        folder = base.with_name(f"{base.name}-{number}")
        number += 1
    return claim_folder(folder)


def write_history(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """A line for each epoch."""
    with atomic_write(folder / HISTORY) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows(rows)


def write_report(folder: Path, input_format: InputFormat | Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Everything about the run that is not a picture, and what `evaluate` and `predict` need."""
    taken = asdict(input_format) if isinstance(input_format, InputFormat) else dict(input_format)
    report = {**content, "input": taken, "versions": versions(), "machine": machine()}
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(folder / REPORT) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # of names that are no UTF-8, as JSON has them


def versions() -> dict[str, str | None]:
    """Versions of what computes; None for what is not installed."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    found = {
        package: installed(package) for package in ("torch", "numpy", "h5py", "rich", "typer", "matplotlib", "pillow")
    }
    return {"triarch": __version__, "python": platform.python_version(), **found}


def usable_device() -> torch.device:
    """The device of the settings, tried."""
    try:
        device = config.device()
    except (RuntimeError, ValueError) as error:
        raise CommandError(str(error)) from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CommandError(f"The device {str(device)!r} of TRIARCH_DEVICE cannot be used: {reason}") from error
    return device


def machine() -> dict[str, Any]:
    """The device and threads that computations use here."""
    device = usable_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": str(device), "processor": name, "threads": torch.get_num_threads()}
