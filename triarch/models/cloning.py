"""Models from their descriptions: copies with fresh weights, and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from triarch import registry
from triarch.graph import SymbolicTensor, leaves, map_structure
from triarch.layers import InputLayer, Layer
from triarch.models.functional import Functional
from triarch.models.model import Model
from triarch.models.sequential import Sequential
from triarch.saving import legacy
from triarch.serialization import deserialize_keras_object


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A model of the same layers, newly made, with fresh weights.

    Args:
        input_tensors: Symbolic tensors in the places of the inputs, in their structure.
        clone_function: Makes the layer for each one; default: from its config.
        call_function: Called as `call_function(layer, *args, **kwargs)` in the place of the new layer; functional
            models only.
        recursive: Whether `clone_function` makes the layers inside inner models, too.

    Raises:
        ValueError: The model is a subclass's with its own `call`, which says nothing of its layers.
    """

    def copied(layer: Any) -> Any:
        if isinstance(layer, InputLayer):
            return layer
        if recursive and isinstance(layer, (Functional, Sequential)):
            return clone_model(layer, clone_function=clone_function, call_function=call_function, recursive=True)
        if clone_function is not None:
            return clone_function(layer)
        return type(layer).from_config(layer.get_config()) if isinstance(layer, Layer) else layer

    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError("`call_function` is for functional models. Received: a Sequential model")
        made = Sequential(name=model.name)
        if input_tensors is not None:
            made.add(leaves(input_tensors)[0])
        elif model.input_layer is not None:
            made.add(InputLayer(batch_shape=model.input_layer.batch_shape, dtype=model.input_layer.dtype))
        for layer in model.layers:
            made.add(copied(layer))
        return made
    if not isinstance(model, Functional):
        raise ValueError(
            f"Only Sequential and functional models can be cloned: a subclass's `call` is code. Received: {model!r}"
        )
    copies: dict[int, Any] = {}

    def called(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) not in copies:
            copies[id(operation)] = copied(operation) if isinstance(operation, Layer) else operation
        operation = copies[id(operation)]
        return operation(*args, **kwargs) if call_function is None else call_function(operation, *args, **kwargs)

    if input_tensors is None:
        input_tensors = map_structure(_fresh_input, model.input)
    wrong = [leaf for leaf in leaves(input_tensors) if not isinstance(leaf, SymbolicTensor)]
    if wrong:
        raise ValueError(f"`input_tensors` holds symbolic tensors, from `Input`. Received: {wrong[0]!r}")
    outputs = model.network.run(leaves(input_tensors), called)
    if isinstance(model.output, list) and isinstance(outputs, SymbolicTensor):
        outputs = [outputs]
    return Functional(input_tensors, outputs, name=model.name)


def _fresh_input(symbol: SymbolicTensor) -> Any:
    return InputLayer(batch_shape=symbol.shape, dtype=symbol.dtype, name=symbol.node.operation.name).output  # type: ignore[union-attr]


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The model of this architecture, with fresh weights; texts of Keras 2 are understood, too.

    Raises:
        ValueError: It is no JSON, or describes no model.
    """
    with registry.custom_object_scope(custom_objects or {}):
        description = json.loads(json_string)
        if isinstance(description, dict) and ("keras_version" in description or "module" not in description):
            description = legacy.upgraded(description, description.get("keras_version"))
        model = deserialize_keras_object(description)
    if not isinstance(model, Model):
        raise ValueError(f"The text describes no model. Received: {json_string[:80]!r}")
    return model
