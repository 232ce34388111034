"""Settings that hold for the whole process: number format, device, cache folder, verbosity.

Each setting has a getter and a `set_` function with Keras's name where Keras has one. Environment variables give the
values at start; `ENVIRONMENT` is the complete list of those that triarch reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

ENVIRONMENT = {
    "TRIARCH_DATASETS": "Folder with original data-set files (`mnist/`, `fashion-mnist/`, `cifar-10/`), used first.",
    "TRIARCH_DEVICE": "Device for new weights and data: `auto` (the default), `cpu`, `cuda`, `cuda:1`, ...",
    "TRIARCH_HOME": "Folder for downloaded files and compiled kernels. Default: `~/.triarch`.",
}

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_DATA_FORMATS = ("channels_last", "channels_first")

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


class DTypePolicy:
    """`"float32"` and the like for everything, or `"mixed_bfloat16"`: compute in bfloat16, keep weights in float32."""

    def __init__(self, name: str) -> None:
        if name not in _MIXED and not isinstance(getattr(torch, name, None), torch.dtype):
            raise ValueError(
                f"Expected a number type such as 'float32' or 'int64', or a policy: {', '.join(_MIXED)}. "
                f"Received: {name!r}"
            )
        self.name = name
        self.compute_dtype = _MIXED.get(name, name)
        self.variable_dtype = "float32" if name in _MIXED else name

    def get_config(self) -> dict[str, str]:
        """The name, from which `from_config` makes an equal policy."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, str]) -> DTypePolicy:
        """Make the policy that `get_config` described."""
        return cls(config["name"])

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"DTypePolicy(name={self.name!r})"


_floatx = "float32"
_epsilon = 1e-7
_image_data_format = "channels_last"
_device = os.environ.get("TRIARCH_DEVICE", "auto")
_interactive_logging = True
_recomputes_gates = False
_dtype_policy: DTypePolicy | None = None


def backend() -> str:
    """The engine under the API: always `"torch"`."""
    return "torch"


def floatx() -> str:
    """The default float type of weights and data, as a string such as `"float32"`."""
    return _floatx


def set_floatx(value: str) -> None:
    """Set the default float type: `"bfloat16"`, `"float16"`, `"float32"` or `"float64"`."""
    global _floatx
    if value not in _FLOATS:
        raise ValueError(f"floatx must be one of {_FLOATS}. Received: {value!r}")
    _floatx = value


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are given none."""
    return _dtype_policy or DTypePolicy(_floatx)


def set_dtype_policy(policy: str | torch.dtype | DTypePolicy | None) -> None:
    """Set the policy of layers that are given none; None goes back to `floatx()`."""
    global _dtype_policy
    is_ready = policy is None or isinstance(policy, DTypePolicy)
    _dtype_policy = policy if is_ready else DTypePolicy(str(policy).removeprefix("torch."))  # type: ignore[assignment]


def epsilon() -> float:
    """The small number that keeps divisions and logarithms finite."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Set the small number that keeps divisions and logarithms finite."""
    global _epsilon
    if not value > 0:
        raise ValueError(f"epsilon must be a positive number. Received: {value!r}")
    _epsilon = float(value)


def image_data_format() -> str:
    """The default axis order of images: `"channels_last"` or `"channels_first"`."""
    return _image_data_format


def set_image_data_format(value: str) -> None:
    """Set the default axis order of images: `"channels_last"` or `"channels_first"`."""
    global _image_data_format
    _image_data_format = standardize_data_format(value)


def standardize_data_format(value: str | None) -> str:
    """`value` checked, or the default axis order where it is None."""
    if value is None:
        return _image_data_format
    if value not in _DATA_FORMATS:
        raise ValueError(f"data_format must be one of {_DATA_FORMATS}. Received: {value!r}")
    return value


def device() -> torch.device:
    """The device of new weights and of data given as arrays."""
    if _device == "auto":
        return numbered("cuda" if torch.cuda.is_available() else "cpu")
    return numbered(_checked_device(_device))


def numbered(device: str | torch.device) -> torch.device:
    """`device` as tensors on it name theirs: `"cuda"` with the number of the present one, `"cpu:0"` without."""
    device = torch.device(device)
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def set_device(value: str | torch.device) -> None:
    """Choose the device: `"auto"` (CUDA where there is one, else the CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, ...

    Models that exist already stay where they are; move them with `model.to(device)`.
    """
    global _device
    if value != "auto":
        _checked_device(value)
    _device = str(value)


@cache
def _checked_device(value: str | torch.device) -> torch.device:
    source = "TRIARCH_DEVICE or `set_device`"
    try:
        chosen = torch.device(value)
    except RuntimeError as error:
        raise ValueError(f"{source} must be 'auto', 'cpu', 'cuda' or 'cuda:<number>'. Received: {value!r}") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{source} asks for CUDA, but PyTorch sees no CUDA device here. Received: {value!r}")
    return chosen


def home() -> Path:
    """The folder for downloaded files and compiled kernels."""
    return Path(os.environ.get("TRIARCH_HOME", "~/.triarch")).expanduser()


def datasets_folder() -> Path | None:
    """The folder of `TRIARCH_DATASETS`, where data sets are looked for first, or None."""
    folder = os.environ.get("TRIARCH_DATASETS")
    return Path(folder).expanduser() if folder else None


def recomputes_gates() -> bool:
    """Whether recurrent layers keep only their outputs for the gradients, and compute their gates again."""
    return _recomputes_gates


def set_recomputes_gates(value: bool) -> None:
    """Set whether recurrent layers compute their gates twice: a third more time, and much less memory for long series.

    It holds for the compiled steps on a CPU; the gradients stay the same to the last bit.
    """
    global _recomputes_gates
    _recomputes_gates = bool(value)


def is_interactive_logging_enabled() -> bool:
    """Whether messages go to standard output (the default) rather than to Python's logging."""
    return _interactive_logging


def enable_interactive_logging() -> None:
    """Write messages to standard output."""
    global _interactive_logging
    _interactive_logging = True


def disable_interactive_logging() -> None:
    """Write messages to the logger `"triarch"`, and make `verbose="auto"` mean 2."""
    global _interactive_logging
    _interactive_logging = False
