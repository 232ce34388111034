"""The graph of a functional model in Keras's form of JSON, and back.

An operation is called `name`; its calls are counted, and so are the outputs of a call: `[name, call, output]` names a
tensor. A functional model counts its own inside as call 0, as Keras does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from triarch import registry
from triarch.graph import Function, Network, Slot, Step, SymbolicTensor, leaves, map_structure
from triarch.layers import InputLayer, Layer
from triarch.models.graph_functions import call_arguments, read_function, write_function
from triarch.models.naming import note_name, recall_name
from triarch.serialization import deserialize_keras_object, serialize_keras_object
from triarch.tensors import dtype_name, torch_dtype

_TENSOR, _DTYPE = "__keras_tensor__", "__torch_dtype__"


def write(network: Network, entrances: list[InputLayer]) -> dict[str, Any]:
    """The layers with their calls, the inputs and the outputs of a functional model."""
    addresses = {slot.number: [layer.name, 0, 0] for slot, layer in zip(leaves(network.inputs), entrances, strict=True)}
    calls_of: defaultdict[int, list[Step]] = defaultdict(list)
    for step in network.steps:
        number = len(calls_of[id(step.operation)]) + _calls_inside(step.operation)
        calls_of[id(step.operation)].append(step)
        addresses |= {slot: [step.operation.name, number, index] for index, slot in enumerate(step.outputs)}

    def plain(leaf: Any) -> Any:
        if isinstance(leaf, Slot):
            shape, dtype = network.tensors[leaf.number]
            config = {"shape": shape, "dtype": dtype, "keras_history": addresses[leaf.number]}
            return {"class_name": _TENSOR, "config": config}
        if isinstance(leaf, torch.dtype):
            return {"class_name": _DTYPE, "config": dtype_name(leaf)}
        return leaf

    def call(step: Step) -> dict[str, Any]:
        args, kwargs = call_arguments(step.operation, step.args, step.kwargs)
        return {
            "args": serialize_keras_object(map_structure(plain, args)),
            "kwargs": serialize_keras_object(map_structure(plain, kwargs)),
        }

    layers = []
    for operation in network.operations:
        calls = calls_of[id(operation)]
        if isinstance(operation, Function):
            own = write_function(operation, calls[0].args, calls[0].kwargs)
        else:
            own = note_name(operation, serialize_keras_object(operation))
        layers.append({**own, "name": operation.name, "inbound_nodes": [call(step) for step in calls]})

    def address(slot: Slot) -> list[Any]:
        return addresses[slot.number]

    return {
        "layers": layers,
        "input_layers": map_structure(address, network.inputs),
        "output_layers": map_structure(address, network.outputs),
    }


def read(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The nested symbolic inputs and outputs of the graph that `write`, or Keras, described.

    Raises:
        ValueError: The graph has a cycle, or a call needs what nothing gives.
    """
    operations = {entry["name"]: _operation(entry) for entry in config["layers"]}
    waiting = {entry["name"]: list(entry["inbound_nodes"]) for entry in config["layers"]}
    made: dict[str, list[list[Any]]] = {}  # the outputs of each call so far, by operation
    for name, operation in operations.items():
        made[name] = [[]] * _calls_inside(operation)
        if isinstance(operation, InputLayer):
            made[name].append([operation.output])
            waiting[name] = []

    def is_there(address: list[Any]) -> bool:
        name, call, _ = address
        if name not in operations:
            raise ValueError(f"The file's graph calls a layer that it does not hold. Received: {name!r}")
        return call < len(made[name])

    def symbol(address: list[Any]) -> SymbolicTensor:
        name, call, index = address
        return made[name][call][index]

    while any(waiting.values()):
        before = sum(map(len, waiting.values()))
        for name, calls in waiting.items():
            while calls and all(map(is_there, _addresses(calls[0]))):
                args, kwargs = _arguments(calls.pop(0), symbol)
                made[name].append(leaves(operations[name](*args, **kwargs)))
        if sum(map(len, waiting.values())) == before:
            stuck = sorted(name for name, calls in waiting.items() if calls)
            raise ValueError(
                f"The file's graph has a cycle, or calls that need what nothing gives. Received: layers {stuck}"
            )
    return _nested(config["input_layers"], symbol), _nested(config["output_layers"], symbol)


def _calls_inside(operation: Any) -> int:
    """How many calls of an operation come before those of this graph, in Keras's count."""
    return int(registry.home_of(type(operation)) == ("keras.src.models.functional", "Functional"))


def _operation(entry: Mapping[str, Any]) -> Any:
    function = read_function(entry)
    if function is not None:
        return function
    operation = deserialize_keras_object({key: part for key, part in entry.items() if key != "inbound_nodes"})
    if not isinstance(operation, Layer):
        raise ValueError(f"The file's graph holds something that is no layer. Received: {entry.get('class_name')!r}")
    recall_name(operation, entry)
    return operation


def _is_tensor(part: Any) -> bool:
    return isinstance(part, dict) and part.get("class_name") == _TENSOR


def _addresses(part: Any) -> Iterator[list[Any]]:
    """Which tensors a call needs, in its plain form."""
    if _is_tensor(part):
        yield part["config"]["keras_history"]
    elif isinstance(part, (list, tuple, dict)):
        for entry in part.values() if isinstance(part, dict) else part:
            yield from _addresses(entry)


def _arguments(call: Any, symbol: Callable[[list[Any]], Any]) -> tuple[list[Any], dict[str, Any]]:
    def revived(part: Any) -> Any:
        if _is_tensor(part):
            return symbol(part["config"]["keras_history"])
        if isinstance(part, dict) and part.get("class_name") == _DTYPE:
            return torch_dtype(part["config"])
        if isinstance(part, list):
            return [revived(entry) for entry in part]
        if isinstance(part, dict) and not {"class_name", "config"} <= part.keys():
            return {key: revived(entry) for key, entry in part.items()}
        if isinstance(part, dict) and part["class_name"] == "__tuple__":
            return tuple(revived(entry) for entry in part["config"]["value"])
        return deserialize_keras_object(part)

    kwargs = {name: part for name, part in call["kwargs"].items() if name != "mask" or part is not None}
    return revived(call["args"]), revived(kwargs)


def _nested(structure: Any, symbol: Callable[[list[Any]], Any]) -> Any:
    if isinstance(structure, (list, tuple)) and len(structure) == 3 and isinstance(structure[0], str):
        return symbol(list(structure))
    if isinstance(structure, dict):
        return {key: _nested(part, symbol) for key, part in structure.items()}
    return [_nested(part, symbol) for part in structure]
