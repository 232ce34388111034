"""Between values, arrays and tensors; and the number types of all three."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch

from triarch import config

# What every torch module holds, and so is nothing of the layer's own.
MODULE_ATTRIBUTES = frozenset(vars(torch.nn.Module()))


def holds_floats(value: Any) -> bool:
    """Whether a number or nested list holds floats."""
    return np.asarray(value).dtype.kind == "f"


def whole_number(value: Any, name: str, least: int | None = None, instead: str = "") -> int:
    """A setting that counts something: an integer of Python or NumPy, or such an array or tensor without axes.

    Args:
        name: What the setting is called.
        least: The smallest that is allowed.
        instead: What else is allowed, in words.

    Raises:
        ValueError: `value` is none, or too small.
    """
    try:
        found = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        found = None
    if found is None or (least is not None and found < least):
        kind = {None: "a whole number", 0: "a whole number, 0 or more", 1: "a positive whole number"}[least]
        number = f"{instead} or {kind}" if instead else kind
        advice = f" Write int({name})." if isinstance(value, (float, np.floating)) and float(value).is_integer() else ""
        raise ValueError(f"{name} must be {number}.{advice} Received: {name}={value!r}")
    return found


def plain_array(array: np.ndarray) -> np.ndarray:
    """The numbers of `array` as torch can take them: of a native type, with strides that a tensor can have.

    Longer floats than torch has become double; subclasses become arrays.

    Raises:
        ValueError: it is masked, so that some of its numbers are none.
    """
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise ValueError(
                "A masked array hides some of its numbers, and a tensor cannot: fill them in with "
                f"`array.filled(...)`, or leave these samples out. Received: {np.ma.count_masked(array)} hidden numbers"
            )
        array = array.data
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and array.itemsize > 8:
        array = array.astype(np.float64)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    return array


def as_tensor(value: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> torch.Tensor:
    """`value` as a tensor of type `dtype`; a tensor stays where it is, anything else goes to `device`.

    Without a `dtype`, tensors and arrays keep theirs and Python's floats become `config.floatx()`; without a `device`,
    it is `config.device()`.
    """
    if isinstance(value, torch.Tensor):
        return value if dtype is None or value.dtype is dtype else value.to(dtype)
    if isinstance(value, (np.ndarray, np.generic)):
        value = plain_array(np.asanyarray(value))
    elif dtype is None and holds_floats(value):
        dtype = torch_dtype(config.floatx())
    return torch.as_tensor(value, dtype=dtype, device=device or config.device())


def as_float_tensor(value: Any) -> Any:
    """Tensors, and whatever else torch's functions take, as they are; arrays, lists and numbers as a float tensor."""
    if hasattr(value, "__torch_function__"):
        return value
    tensor = as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch_dtype(config.floatx()))


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array on the host, copied only where that is needed; bfloat16, which NumPy lacks, as float32."""
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).detach().cpu().numpy()


def torch_dtype(dtype: str | torch.dtype | np.dtype | None) -> torch.dtype | None:
    """`"float32"` -> `torch.float32`; torch's and NumPy's types and None pass through."""
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, str(np.dtype(dtype)) if not isinstance(dtype, str) else dtype, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"Expected a number type such as 'float32' or 'int64'. Received: {dtype!r}")
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.float32` -> `"float32"`."""
    return str(dtype).removeprefix("torch.")


def keep_mask(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`outputs`, which carry from now on a `mask`, True where they count, of their shape or that of its first axes."""
    outputs._keras_mask = mask  # type: ignore[attr-defined]
    return outputs


def kept_mask(outputs: Any) -> torch.Tensor | None:
    """The mask that `outputs` carry; None where all of them count."""
    return getattr(outputs, "_keras_mask", None)


def keep_logits(outputs: torch.Tensor, logits: torch.Tensor, activation: str | None) -> torch.Tensor:
    """`outputs`, which carry from now on the `logits` that `activation` turned into them."""
    outputs._logits, outputs._activation = logits, activation  # type: ignore[attr-defined]
    # Tensors of inference mode and of `torch.compile` do not tell how often they were written to.
    if not torch.compiler.is_compiling() and not torch.is_inference_mode_enabled():
        outputs._logits_version = outputs._version  # type: ignore[attr-defined]
    return outputs


def kept_logits(outputs: Any) -> torch.Tensor | None:
    """The logits that `outputs` carry; None where there are none, or `outputs` were written to since."""
    logits = getattr(outputs, "_logits", None)
    if logits is None:
        return None
    version = getattr(outputs, "_logits_version", None)
    return logits if version is None or outputs._version == version else None
