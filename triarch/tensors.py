"""Between values, arrays and tensors; and the number types of all three."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triarch import config

# What every torch module holds, and so is nothing of the layer's own.
MODULE_ATTRIBUTES = frozenset(vars(torch.nn.Module()))


def holds_floats(value: Any) -> bool:
    """Whether a number or nested list holds floats."""
    return np.asarray(value).dtype.kind == "f"


def as_tensor(value: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> torch.Tensor:
    """`value` as a tensor of type `dtype`; a tensor stays where it is, anything else goes to `device`.

    Without a `dtype`, tensors and arrays keep theirs and Python's floats become `config.floatx()`; without a `device`,
    it is `config.device()`.
    """
    if isinstance(value, torch.Tensor):
        return value if dtype is None or value.dtype is dtype else value.to(dtype)
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)) and holds_floats(value):
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
