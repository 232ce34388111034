"""What no kernel of machine code can do, whatever its method."""

from __future__ import annotations

import torch

from triarch.kernels.conv.spec import ConvSpec
from triarch.tensors import dtype_name

_FLOATS = (torch.float32, torch.float64)


def refuse_machine_code(spec: ConvSpec) -> str | None:
    """Why there is no kernel for a convolution; None where there may be."""
    if spec.device != "cpu":
        return f"there are no kernels for {spec.device}"
    if spec.dtype not in _FLOATS:
        return f"there are no kernels for numbers of type {dtype_name(spec.dtype)}"
    if spec.window.data_format != "channels_last":
        return "channels do not come last"
    return None
