"""Pictures of a model's graph, by Graphviz."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils import _pytree as pytree

from triarch.files import atomic_write
from triarch.layers import InputLayer, Layer
from triarch.layers.shapes import is_shape
from triarch.models.functional import Functional
from triarch.models.sequential import Sequential
from triarch.registry import to_snake_case

DIRECTIONS = ("TB", "LR", "BT", "RL")


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    **kwargs: Any,
) -> Any:
    """The graph as a `pydot.Dot` (with `subgraph`, a `pydot.Cluster`), of functional and Sequential models.

    Args:
        rankdir: The direction of the arrows: `"TB"`, `"LR"`, `"BT"` or `"RL"`.
        expand_nested: Whether models inside are drawn with their layers.
        dpi: Pixels to an inch.

    Raises:
        ImportError: pydot is not installed.
        ValueError: The model is not built, or says nothing of its layers.
    """
    if kwargs:
        raise ValueError(f"There are no such arguments. Received: {sorted(kwargs)}")
    if rankdir not in DIRECTIONS:
        raise ValueError(f"`rankdir` is one of {DIRECTIONS}. Received: {rankdir!r}")
    pydot = _pydot()
    if not model.built:
        raise ValueError(f"The model {model.name!r} is not built: begin it with an `Input`, or call it on data.")
    if not isinstance(model, (Functional, Sequential)):
        raise ValueError(f"Only functional and Sequential models know how their layers follow. Received: {model!r}")
    looks = {"fontname": "Helvetica", "fontsize": 10}
    graph: Any
    if subgraph:
        graph = pydot.Cluster(graph_name=_quoted(model.name), label=_quoted(model.name), style="dashed", **looks)
    else:
        graph = pydot.Dot(graph_type="digraph", rankdir=rankdir, dpi=dpi, **looks)
        graph.set_node_defaults(shape="box", style="filled,rounded", fillcolor="#eef3fb", color="#41597c", **looks)
        graph.set_edge_defaults(color="#41597c", arrowsize=0.7)
    details = (show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable)
    for operation in _operations(model):
        if expand_nested and isinstance(operation, (Functional, Sequential)):
            options = {"expand_nested": True, "subgraph": True}
            graph.add_subgraph(model_to_dot(operation, *details[:3], rankdir, **options, show_trainable=show_trainable))
        else:
            graph.add_node(pydot.Node(_key(operation), label=_label(model, operation, details)))
    for source, target in _edges(model):
        graph.add_edge(pydot.Edge(*(_key(end) for end in _ends(source, target, expand_nested))))
    return graph


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> None:
    """Draw the graph into a file: `.png`, `.svg`, `.pdf`, or `.dot`, Graphviz's own language.

    Raises:
        ImportError: pydot is not installed.
        FileNotFoundError: The program `dot` of Graphviz is not installed; a `.dot` file does not need it.
        ValueError: The model is not built, or says nothing of its layers.
    """
    graph = model_to_dot(
        model,
        show_shapes,
        show_dtype,
        show_layer_names,
        rankdir,
        expand_nested,
        dpi,
        show_layer_activations=show_layer_activations,
        show_trainable=show_trainable,
    )
    path = Path(to_file)
    kind = path.suffix.removeprefix(".") or "png"
    if kind == "dot":
        with atomic_write(path) as temporary:
            temporary.write_text(graph.to_string(), encoding="utf-8")
        return
    if shutil.which("dot") is None:
        raise FileNotFoundError(
            "Pictures are drawn by the program `dot`: install Graphviz (Debian: `apt-get install graphviz`), or write "
            f"a `.dot` file. Received: to_file={str(to_file)!r}"
        )
    with atomic_write(path) as temporary:
        graph.write(str(temporary), format=kind)


def _pydot() -> Any:
    try:
        import pydot
    except ImportError as error:
        raise ImportError("Drawing models needs pydot: `pip install 'triarch[plot]'`.") from error
    return pydot


def _operations(model: Any) -> list[Any]:
    if isinstance(model, Functional):
        return model.operations
    return [model.input_layer, *model.layers]


def _edges(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every operation with one that takes what it gives."""
    if isinstance(model, Sequential):
        operations = _operations(model)
        yield from itertools.pairwise(operations)
        return
    by_name = {operation.name: operation for operation in model.operations}
    for operation in model.operations:
        for name in dict.fromkeys(source.split("[")[0] for source in model.inputs_of(operation)):
            yield by_name[name], operation


def _ends(source: Any, target: Any, expand_nested: bool) -> tuple[Any, Any]:
    """Where an arrow begins and ends, inside of models that are drawn with their layers."""
    while expand_nested and isinstance(source, (Functional, Sequential)):
        source = _operations(source)[-1]
    while expand_nested and isinstance(target, (Functional, Sequential)):
        target = _operations(target)[0]
    return source, target


def _key(operation: Any) -> str:
    return str(id(operation))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', r"\"") + '"'


def _label(model: Any, operation: Any, details: tuple[bool, ...]) -> str:
    """What stands in an operation's box."""
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable = details
    kind = getattr(operation, "label", type(operation).__name__)
    name = getattr(operation, "name", to_snake_case(type(operation).__name__))
    lines = [f"{name} ({kind})" if show_layer_names else kind]
    activation = getattr(operation, "activation", None)
    if show_layer_activations and callable(activation):
        lines.append(f"activation: {getattr(activation, '__name__', type(activation).__name__)}")
    if show_shapes:
        shape = operation.batch_shape if isinstance(operation, InputLayer) else model.output_shape_of(operation)
        shapes = pytree.tree_leaves(shape, is_leaf=is_shape)
        lines.append("output: " + ", ".join(str(tuple(leaf)) for leaf in shapes))
    if show_dtype and isinstance(operation, Layer):
        lines.append(f"type: {operation.compute_dtype}")
    if show_trainable and isinstance(operation, Layer) and operation.weights:
        lines.append("trainable" if operation.trainable else "not trainable")
    return _quoted(r"\n".join(lines))
