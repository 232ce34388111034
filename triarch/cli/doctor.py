"""`triarch doctor`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import torch

from triarch import config
from triarch.cli.output import CommandError, say, say_table
from triarch.cli.results import machine, usable_device, versions
from triarch.datasets import originals

Rows = Iterator[tuple[str, str]]


def doctor() -> None:
    """Show versions, device, threads, operations and data sets."""
    say_table("Versions", ((name, found or "not installed") for name, found in versions().items()))
    say()
    say_table("Machine", _machine())
    say()
    say_table("Operations", _operations())
    say()
    say_table("Data sets", _data_sets())
    say()
    say_table("Environment", ((name, os.environ.get(name, "not set")) for name in config.ENVIRONMENT))


def _machine() -> Rows:
    yield "system", platform.platform()
    try:
        here = machine()
        yield "device", f"{here['device']} ({here['processor']})"
    except CommandError as error:
        yield "device", str(error)
    yield "threads", f"{torch.get_num_threads()} for one operation, {os.cpu_count()} processors"
    yield "vector unit", torch.backends.cpu.get_cpu_capability()
    cuda = f"{torch.cuda.device_count()} devices, CUDA {torch.version.cuda}" if torch.cuda.is_available() else "none"
    yield "CUDA", cuda
    yield "float type", config.floatx()


def _operations() -> Rows:
    try:
        device = usable_device()
    except CommandError:
        yield "none", "the device cannot be used"
        return
    if device.type == "cuda":
        version = torch.backends.cudnn.version()
        yield "convolution", f"cuDNN {version}, channels last" if version else "PyTorch, without cuDNN"
        yield "matrix product", "cuBLAS, TF32 allowed" if torch.backends.cuda.matmul.allow_tf32 else "cuBLAS"
    else:
        mkldnn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        yield "convolution", "oneDNN, channels last" if mkldnn else "PyTorch, without oneDNN"
        yield (
            "matrix product",
            "Intel MKL" if torch.backends.mkl.is_available() else "the BLAS that PyTorch was built with",
        )
    yield "pooling, activations, losses", f"PyTorch on {device.type}"
    yield "random numbers", f"PyTorch's generator on {device.type}"


def _data_sets() -> Rows:
    yield "digits", "in the package"
    for name, source in originals.SOURCES.items():
        try:
            places = [originals.find(name, row) for row in source.originals]
        except OSError as error:
            yield name, str(error)
            continue
        if None in places:
            yield name, f"{places.count(None)} of {len(places)} files missing; downloaded when first used"
        else:
            yield name, str(places[0].parent)  # type: ignore[union-attr]
