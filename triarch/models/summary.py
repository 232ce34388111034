"""The table that `model.summary()` prints."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch.utils import _pytree as pytree

from triarch.layers import Layer
from triarch.layers.shapes import is_shape
from triarch.optimizers import Optimizer
from triarch.registry import to_snake_case

_Row = tuple[int, Any, torch.nn.Module]  # depth, the model that holds the layer, the layer

_UNITS = ("B", "KB", "MB", "GB", "TB")


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print the table of a model's layers, in Keras's look.

    Args:
        line_length: Width in characters.
        positions: Where columns end: as shares of the width, or as characters.
        print_fn: Takes the lines as one plain text; default: print, coloured on a terminal.
        layer_range: Patterns for the names of the first and the last layer to show.
    """
    console = Console(width=line_length, record=print_fn is not None, file=io.StringIO() if print_fn else None)
    is_graph = hasattr(model, "inputs_of") and not _is_line(model)
    columns = ["Layer (type)", "Output Shape", "Param #"]
    columns += (["Connected to"] if is_graph else []) + (["Trainable"] if show_trainable else [])
    table = Table(width=line_length or min(console.width, 80 + 18 * is_graph + 10 * show_trainable))
    widths = _widths(positions, table.width or 80, len(columns))
    ratios = (9, 7, 4, *((7,) if is_graph else ()), 3)
    for column, width, ratio in zip(columns, widths, ratios, strict=False):
        justify: Any = "right" if column == "Param #" else "left"
        table.add_column(column, justify=justify, width=width, ratio=None if width else ratio)
    for depth, parent, layer in _rows(model, expand_nested, layer_range):
        kind = type(layer).__name__
        name = getattr(layer, "name", to_snake_case(kind))
        label = f"{'    ' * max(depth - 1, 0)}{'  └ ' * min(depth, 1)}{name} ([bold]{kind}[/bold])"
        cells = [label, _output_shape(parent, layer), _count(layer)]
        if is_graph:
            cells.append(escape(", ".join(parent.inputs_of(layer)) or "-") if hasattr(parent, "inputs_of") else "")
        if show_trainable:
            weights = _weights(layer)
            cells.append("-" if not weights else "Y" if any(weight.requires_grad for weight in weights) else "N")
        table.add_row(*cells, end_section=True)
    console.print(f'[bold]Model: "{escape(model.name)}"[/bold]')
    console.print(table)
    for line in _totals(model):
        console.print(line)
    if print_fn is not None:
        print_fn(console.export_text())


def _rows(model: Any, expand_nested: bool, layer_range: Sequence[str] | None) -> Iterator[_Row]:
    def walk(depth: int, parent: Any, members: Any) -> Iterator[_Row]:
        for layer in members:
            yield depth, parent, layer
            if expand_nested and hasattr(layer, "layers"):
                yield from walk(depth + 1, layer, _members(layer))

    yield from walk(0, model, _between(_members(model), layer_range))


def _members(model: Any) -> Sequence[Any]:
    """The layers, and of a graph the functions among them."""
    return model.operations if hasattr(model, "operations") else model.layers


def _is_line(model: Any) -> bool:
    """Whether each operation of a graph is called once, on what the one before gives."""
    steps = model.network.steps
    return len(steps) == len(model.operations) - 1 and all(step.is_plain for step in steps)


def _between(layers: Sequence[Any], layer_range: Sequence[str] | None) -> Sequence[Any]:
    if layer_range is None:
        return layers
    if len(layer_range) != 2:
        raise ValueError(f"layer_range holds two names, of the first and the last layer. Received: {layer_range!r}")
    names = [getattr(layer, "name", "") for layer in layers]
    first = [index for index, name in enumerate(names) if re.match(layer_range[0], name)]
    last = [index for index, name in enumerate(names) if re.match(layer_range[1], name)]
    if not first or not last:
        raise ValueError(f"layer_range names no layers of the model. Received: {layer_range!r}. Layers: {names}")
    return layers[min(first[0], last[-1]) : max(first[0], last[-1]) + 1]


def _widths(positions: Sequence[float] | None, total: int, columns: int) -> list[int | None]:
    if positions is None:
        return [None] * columns
    if len(positions) < columns:
        raise ValueError(f"positions needs {columns} entries, one for each column. Received: {positions!r}")
    ends = [int(end * total) if end <= 1 else int(end) for end in positions[:columns]]
    return [max(end - start - 3, 1) for start, end in zip([0, *ends], ends, strict=False)]


def _output_shape(model: Any, layer: torch.nn.Module) -> str:
    if hasattr(model, "output_shape_of"):
        shape = model.output_shape_of(layer) if model.built else None
    else:
        shape = layer.built_output_shape() if isinstance(layer, Layer) else None
    if shape is None:
        return "?"
    return ", ".join(str(tuple(leaf)) for leaf in pytree.tree_leaves(shape, is_leaf=is_shape))


def _count(layer: torch.nn.Module) -> str:
    if isinstance(layer, Layer) and not layer.built:
        return "0 (unbuilt)"
    return f"{sum(weight.numel() for weight in _weights(layer)):,}"


def _weights(layer: torch.nn.Module) -> list[torch.Tensor]:
    if isinstance(layer, Layer):
        return layer.weights
    return [*layer.parameters(), *layer.buffers()] if isinstance(layer, torch.nn.Module) else []


def _totals(model: Any) -> Iterator[str]:
    parts = [("Trainable params", model.trainable_weights), ("Non-trainable params", model.non_trainable_weights)]
    if isinstance(model.optimizer, Optimizer) and model.optimizer.built:
        parts.append(("Optimizer params", model.optimizer.variables))
    total = [tensor for _, tensors in parts for tensor in tensors]
    for label, tensors in [("Total params", total), *parts]:
        count = sum(tensor.numel() for tensor in tensors)
        size = readable_size(sum(tensor.nbytes for tensor in tensors))
        yield f" [bold]{label}:[/bold] {count:,} ({size})"


def readable_size(size: float) -> str:
    """Bytes for people: `268.00 B`, `1.02 MB`."""
    power = min(int(math.log(size, 1024)), len(_UNITS) - 1) if size else 0
    return f"{size / 1024**power:.2f} {_UNITS[power]}"
