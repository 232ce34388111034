"""Between values, arrays and tensors; and the number types of all three."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
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


def whole_part(size: int, share: float, accuracy: float = 2.0**-52) -> int:
    """How many of `size` a share of them is, rounded down, but for what its float's `accuracy` leaves open.

    `1 - 0.9` of 10 is 1, as in decimals, though it falls short of 1 in binary.
    """
    exact = size * share
    nearest = round(exact)
    return nearest if abs(exact - nearest) <= accuracy * size else math.floor(exact)


def as_tensor(value: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> torch.Tensor:
    """`value` as a tensor of type `dtype`; a tensor stays where it is, anything else goes to `device`.

    Without a `dtype`, tensors and arrays keep theirs and Python's floats become `config.floatx()`; without a `device`,
    it is `config.device()`.
    """
    if isinstance(value, torch.Tensor):
        return value if dtype is None or value.dtype is dtype else value.to(dtype)
    if isinstance(value, (np.ndarray, np.generic)):
        try:
            value = native(value)
        except ValueError as error:
            raise ValueError(f"What is to be a tensor {error}") from None
        if not value.flags.writeable:  # a tensor may be written to
            value = value.copy()
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


def native(values: Any) -> np.ndarray:
    """Numbers of any byte order, stride and width as an array that `torch.as_tensor` takes, in a type that holds them.

    Raises:
        ValueError: These are no numbers, rows are of unequal length, or a masked array hides some.
    """
    try:
        array = np.asanyarray(values)
    except ValueError as error:
        raise ValueError(f"is no array of numbers: {error}") from error
    if np.ma.is_masked(array):
        raise ValueError("is a masked array that hides numbers; fill them, as with `array.filled(0)`")
    array = np.asarray(array)
    kind = array.dtype.kind
    if array.dtype.type.__module__ == "ml_dtypes":  # bfloat16 and its like, which NumPy itself does not know
        return array.astype(np.float32)
    if kind not in "biufc":
        raise ValueError(f"holds no numbers. Received: dtype {array.dtype}")
    if kind == "u" and array.dtype.itemsize > 1:  # torch hardly computes with them
        fits = array.dtype.itemsize < 8 or not array.size or array.max() <= np.iinfo(np.int64).max
        return array.astype(np.int64 if fits else np.float64)
    if array.dtype.itemsize > (16 if kind == "c" else 8):
        array = array.astype(np.complex128 if kind == "c" else np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides) else array.copy()


def value_for(tensor: torch.Tensor, value: Any, what: str) -> torch.Tensor:
    """`value` as `tensor` can take it: of its shape and number type, so that to copy it cannot fail or lose anything.

    Digits may be rounded away. Memory is shared with `value` where that is possible.

    Args:
        what: What `tensor` is, for messages: "Layer 'a': weight 'kernel'".

    Raises:
        ValueError: Another shape, or numbers that the type cannot hold: complex ones, truth values, too large ones,
            and fractions for integers.
    """
    shape = tuple(value.shape if isinstance(value, torch.Tensor) else np.shape(value))
    if shape != tuple(tensor.shape):
        raise ValueError(f"{what} has shape {tuple(tensor.shape)}. Received: a value of shape {shape}")
    if isinstance(value, torch.Tensor):
        source = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        if source.is_meta and not tensor.is_meta:
            raise ValueError(f"{what} needs numbers. Received: a tensor on the device 'meta', which has none")
    else:
        try:
            array = native(value)
        except ValueError as error:
            raise ValueError(f"{what} cannot take a value that {error}") from error
        source = torch.from_numpy(array if array.flags.writeable else array.copy())
    if source.dtype is tensor.dtype:
        return source
    received = f"Received: a value of type {dtype_name(source.dtype)}"
    if (source.is_complex() and not tensor.is_complex()) or source.dtype is torch.bool:
        raise ValueError(f"{what} is of type {dtype_name(tensor.dtype)}. {received}")
    fitting = source.to(tensor.dtype)
    if fitting.is_floating_point() or fitting.is_complex():
        is_kept = not source.dtype.is_floating_point or bool((fitting.isfinite() | ~source.isfinite()).all())
    else:
        is_kept = torch.equal(fitting.to(source.dtype), source)
    if not is_kept:
        raise ValueError(f"{what} is of type {dtype_name(tensor.dtype)}, which cannot hold these numbers. {received}")
    return fitting


def copy_all(tensors: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Copy into each of the tensors its value, which `value_for` gave; values may lie in memory of these tensors."""
    places = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    apart = [value.clone() if value.untyped_storage().data_ptr() in places else value for value in values]
    with torch.no_grad():
        for tensor, value in zip(tensors, apart, strict=True):
            tensor.copy_(value)


def keep_mask(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`outputs`, which carry from now on a `mask`, True where they count, of their shape or that of its first axes."""
    outputs._keras_mask = mask if mask.dtype is torch.bool else mask.bool()  # type: ignore[attr-defined]
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
