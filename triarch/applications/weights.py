"""Weights of other libraries' files into the networks of the table, with a report of what matched."""

from __future__ import annotations

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch.applications.architectures import Architecture, Variant
from triarch.saving import load_weights
from triarch.saving.legacy import read_layers
from triarch.tensors import copy_all, value_for
from triarch.utils import get_file

KERAS, TORCHVISION, KERAS_3 = "keras", "torchvision", "keras 3"
VARIANTS = {KERAS: Variant(), KERAS_3: Variant(), TORCHVISION: Variant(strides_in_middle=True, epsilon=1e-5)}

_KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
_TORCH_FILES = "https://download.pytorch.org/models/"
# name -> MD5 sums of Keras's files with and without the top
_KERAS_HASHES = {
    "ResNet50": ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    "ResNet101": ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    "ResNet152": ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "ResNet50V2": ("3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
    "ResNet101V2": ("6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
    "ResNet152V2": ("a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
}
# name -> torchvision's file, which begins with its SHA-256 sum
_TORCH_NAMES = {"ResNet18": "resnet18-f37072fd.pth", "ResNet34": "resnet34-b627a593.pth"}

_TORCH_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d+)$")
_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass
class WeightReport:
    """What came of reading a file of weights; printed, in words.

    Args:
        matched: Weights that were read, by their paths.
        unused: What the file holds and the network does not.
        kept: Weights of the network for which the file holds nothing.
    """

    origin: str
    matched: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.origin}: {len(self.matched)} weights read"]
        for what, names in (("not in the network", self.unused), ("not in the file, left as they are", self.kept)):
            if names:
                shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                lines.append(f"  {len(names)} {what}: {shown}")
        return "\n".join(lines)


def origin_of(path: str | PathLike[str]) -> str:
    """Whose file it is.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of no known kind.
    """
    file = Path(fspath(path))
    if not file.exists():
        raise FileNotFoundError(f"`weights` is None, 'imagenet' or the path of a file. Received: {str(path)!r}")
    if file.name.endswith((".keras", ".weights.h5")):
        return KERAS_3
    with open(file, "rb") as opened:
        head = opened.read(8)
    if head == b"\x89HDF\r\n\x1a\n":
        return KERAS
    if zipfile.is_zipfile(file) or file.suffix in (".pth", ".pt"):
        return TORCHVISION
    raise ValueError(
        "Files of weights are Keras's (`.keras`, `.weights.h5`, `.h5`) or torchvision's (`.pth`). "
        f"Received: {str(path)!r}"
    )


def imagenet_file(row: Architecture, include_top: bool) -> Path:
    """The file of weights that were learnt on ImageNet, fetched where it is not there yet.

    Raises:
        ValueError: There are none for this network.
        ConnectionError: It cannot be fetched.
    """
    if row.name in _KERAS_HASHES:
        ending = "" if include_top else "_notop"
        name = f"{row.name.lower()}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
        return Path(
            get_file(
                name, _KERAS_FILES + name, cache_subdir="models", file_hash=_KERAS_HASHES[row.name][not include_top]
            )
        )
    if row.name in _TORCH_NAMES:
        name = _TORCH_NAMES[row.name]
        return Path(get_file(name, _TORCH_FILES + name, cache_subdir="models"))
    raise ValueError(f"There are no weights from ImageNet for {row.name}: `weights` is None or the path of a file.")


def read_weights(model: Any, path: str | PathLike[str]) -> WeightReport:
    """Overwrite the weights of a network of the table with those in a file, all that fit.

    Raises:
        ValueError: The file is damaged, or a weight has another shape than the network's; nothing is changed then.
        FileNotFoundError: There is none.
    """
    origin = origin_of(path)
    report = WeightReport(str(path))
    if origin == KERAS_3:
        load_weights(model, path)
        report.matched = [weight.path for weight in model.weights]
        return report
    weights = _weights_by_name(model)
    found: dict[str, Any] = dict(_torch_arrays(path) if origin == TORCHVISION else _keras_arrays(path, weights))
    values: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, weight in weights.items():
        value = found.pop(name, None)
        if value is None:
            report.kept.append(name)
            if origin == TORCHVISION and weight.name == "bias":
                values.append((weight, torch.zeros_like(weight)))
            continue
        if tuple(np.shape(value)) != tuple(weight.shape):
            raise ValueError(
                f"The weights in {str(path)!r} were not read: {name} has shape {tuple(weight.shape)} in the "
                f"network and {tuple(np.shape(value))} in the file. Other classes need `include_top=False`."
            )
        try:
            values.append((weight, value_for(weight, value, name)))
        except ValueError as error:
            raise ValueError(f"The weights in {str(path)!r} were not read: {error}") from error
        report.matched.append(name)
    report.unused = sorted(found)
    if not report.matched:
        raise ValueError(f"Nothing in {str(path)!r} belongs to {model.name!r}. The file holds {report.unused[:5]}, ...")
    copy_all(*zip(*values, strict=True))
    return report


def _weights_by_name(model: Any) -> dict[str, Any]:
    """The weights as `layer/weight`, in the order of Keras's older files: a layer's learnt ones first.

    Of several of one name in a layer, the second is called `name_1` and so on.

    Raises:
        ValueError: Layers that have weights share a name.
    """
    found: dict[str, Any] = {}
    for layer in model.layers:
        counts: Counter[str] = Counter()
        for weight in sorted(layer.weights, key=lambda weight: not getattr(weight, "learnable", weight.requires_grad)):
            label = getattr(weight, "name", "") or "weight"
            name = f"{layer.name}/{label}" + (f"_{counts[label]}" if counts[label] else "")
            counts[label] += 1
            if name in found:
                raise ValueError(
                    f"Weights are read by the names of layers, of which each has its own. Received: a model with "
                    f"several layers {layer.name!r}"
                )
            found[name] = weight
    return found


def _keras_arrays(path: str | PathLike[str], weights: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in weights:
        names[name.rpartition("/")[0]].append(name)
    for layer, arrays in read_layers(path).items():
        known = names[layer]
        for place, array in enumerate(arrays):
            yield known[place] if place < len(known) else f"{layer}/{place}", array


def _torch_arrays(path: str | PathLike[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """torchvision's tensors under the names, and with the axes, that they have here."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"The file holds no weights by name. Received: {str(path)!r}")
    for key, value in state.items():
        module, _, part = key.rpartition(".")
        if part == "num_batches_tracked":
            continue
        layer = _layer_of(module)
        if layer is None or part not in _PARTS:
            yield key, value
        elif layer.endswith("_bn"):
            yield (
                f"{layer}/{dict(zip(_PARTS, ('gamma', 'beta', 'moving_mean', 'moving_variance'), strict=True))[part]}",
                value,
            )
        else:
            arranged = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.t() if value.ndim == 2 else value
            yield f"{layer}/{'kernel' if part == 'weight' else 'bias'}", arranged


def _layer_of(module: str) -> str | None:
    """What a module of torchvision is called here."""
    if module in ("conv1", "bn1"):
        return f"conv1_{module[:-1]}"
    if module == "fc":
        return "predictions"
    found = _TORCH_BLOCK.match(module)
    if found is None:
        return None
    stage, block, kind, number = found.groups()
    place = f"conv{int(stage) + 1}_block{int(block) + 1}"
    if kind == "downsample.":
        return f"{place}_0_{'conv' if number == '0' else 'bn'}"
    return f"{place}_{number}_{kind}"
