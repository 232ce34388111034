"""Modules of torch as layers."""

from __future__ import annotations

from typing import Any

import torch

from triarch.layers.base import Layer
from triarch.layers.shapes import infer_output_shape
from triarch.registry import register


@register("keras.layers")
class TorchModuleWrapper(Layer):
    """A `torch.nn.Module` where a graph needs a layer: it can be called on symbols, and its weights are learnt.

    A file cannot hold it; save the weights alone.

    Args:
        output_shape: Of the outputs, the batch axis included; default: found by a trial run.
    """

    def __init__(
        self, module: torch.nn.Module, name: str | None = None, output_shape: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(module, torch.nn.Module) or isinstance(module, Layer):
            raise ValueError(f"Wraps a module of torch that is no layer. Received: module={module!r}")
        self.module = module
        self.output_shape = output_shape
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The declared shape, or that of a trial run."""
        if self.output_shape is not None:
            return self.output_shape
        return infer_output_shape(self.module, input_shape, self._compute_torch_dtype)

    def get_config(self) -> dict[str, Any]:
        """Refused: a module of torch is code."""
        raise ValueError(
            f"A torch module cannot be written to a file: {type(self.module).__name__}. Save the weights with "
            "`save_weights`, or make it a registered `Layer`."
        )
