"""`triarch doctor`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from typing import Annotated

import torch
import typer

from triarch import config, layers
from triarch.cli.output import CommandError, say, say_table
from triarch.cli.results import machine, usable_device, versions
from triarch.convolution import Explanation
from triarch.datasets import originals
from triarch.kernels.native.loader import folder, is_kept
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.sources import kernel_sources

Rows = Iterator[tuple[str, str]]


# Layers as networks have them: input, filters, window, stride and groups.
_LAYERS = (
    ((128, 28, 28, 1), 64, 3, 1, 1),
    ((128, 26, 26, 64), 64, 3, 1, 1),
    ((128, 10, 10, 128), 128, 3, 1, 1),
    ((128, 32, 32, 16), 32, 3, 2, 1),
    ((64, 14, 14, 256), 64, 1, 1, 1),
    ((32, 28, 28, 64), 64, 5, 1, 1),
    ((16, 64, 64, 32), 32, 31, 1, 32),
)


def doctor(
    warm: Annotated[bool, typer.Option("--warm", help="First compile all kernels that are not kept on disk.")] = False,
) -> None:
    """Show versions, device, threads, operations and data sets."""
    if warm:
        _warm()
    say_table("Versions", ((name, found or "not installed") for name, found in versions().items()))
    say()
    say_table("Machine", _machine())
    say()
    say_table("Operations", _operations())
    say()
    say_table("Convolutional layers, trained, and how they are computed", _layers())
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


def _warm() -> None:
    missing = [source for source in kernel_sources() if not is_kept(source)]
    say(f"{len(missing)} kernels to compile" if missing else "all kernels are compiled")
    for number, source in enumerate(missing, 1):
        start = time.perf_counter()
        compiled(source)
        say(f"  {number:>3} of {len(missing)}  {source}  {time.perf_counter() - start:.1f} s")
    say()


def _layers() -> Rows:
    try:
        usable_device()
    except CommandError:
        yield "none", "the device cannot be used"
        return
    for shape, filters, size, stride, groups in _LAYERS:
        layer = layers.Conv2D(filters, size, strides=stride, groups=groups, padding="same", activation="relu")
        explanation = layer.explain_convolution(shape, is_first=shape[-1] <= 3)
        kind = f" by {stride}" * (stride > 1) + f" in {groups} groups" * (groups > 1)
        name = f"{'×'.join(map(str, shape))} -> {filters}, {size}×{size}{kind}"
        yield name, _choice(explanation)
    kept = sum(is_kept(source) for source in kernel_sources())
    yield (
        "compiled kernels",
        f"{kept} of {len(kernel_sources())} kept in {folder()}; the others when first used, or by --warm",
    )


def _choice(explanation: Explanation) -> str:
    chosen, *others = explanation.candidates
    if chosen.seconds is None:
        return chosen.method
    direct = next((row.seconds for row in others if row.method == "direct"), None)
    beside = "" if direct is None else f", {direct / chosen.seconds:.1f} times as fast as the vendor's"
    return f"{chosen.method}, about {1e3 * chosen.seconds:.3g} ms{beside}"


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
