"""Shapes of inputs and outputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch.graph import TRIALS, Shape, SymbolicTensor, trial_sizes
from triarch.layers.running import mode, modules_of
from triarch.layers.weights import WeightHolder, device_of


def shape_of(value: Any) -> Shape | None:
    """The shape of a tensor with its batch axis unknown, or None for what is no tensor."""
    if isinstance(value, SymbolicTensor):
        return value.shape
    if isinstance(value, torch.Tensor):
        return (None, *value.shape[1:]) if value.ndim else ()
    return None


def is_shape(value: Any) -> bool:
    """Whether `value` is one shape, rather than a list or dict of shapes."""
    return isinstance(value, (tuple, list)) and all(entry is None or hasattr(entry, "__index__") for entry in value)


def map_shapes(function: Any, shapes: Any) -> Any:
    """`function` of each shape in a nested structure of shapes."""
    return pytree.tree_map(function, shapes, is_leaf=is_shape)


def infer_output_shape(module: torch.nn.Module, input_shape: Any, dtype: torch.dtype) -> Any:
    """The output shape of any module, by running it on zeros of two sizes; sizes that differ are unknown.

    Raises:
        ValueError: the module cannot run on inputs of this shape.
    """
    device = device_of(module)
    runs = []
    try:
        with on_trial(module), torch.no_grad():
            for trial in TRIALS:
                make_zeros = functools.partial(_zeros, trial=trial, dtype=dtype, device=device)
                runs.append(module(map_shapes(make_zeros, input_shape)))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{type(module).__name__} cannot take inputs of shape {input_shape}: {error}. Where unknown sizes are the "
            f"reason, give them, or define `compute_output_shape`. Received: input_shape={input_shape}"
        ) from error
    return pytree.tree_map(_common_shape, *runs)


@contextmanager
def on_trial(module: torch.nn.Module) -> Iterator[None]:
    """Inside this context the module infers; what it collects there is forgotten."""
    losses = [(part._losses, list(part._losses)) for part in modules_of(module) if isinstance(part, WeightHolder)]
    try:
        with mode(module, training=False):
            yield
    finally:
        for collected, earlier in losses:
            collected[:] = earlier


def _zeros(shape: Shape, trial: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.zeros(trial_sizes(shape, trial), dtype=dtype, device=device)


def _common_shape(first: torch.Tensor, second: torch.Tensor) -> Shape:
    return tuple(a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))
