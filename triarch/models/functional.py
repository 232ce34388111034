"""`Functional`: a model that is a graph of layers, between symbolic inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from triarch import registry
from triarch.graph import Network, Shape, Slot, SymbolicTensor, leaves, map_structure
from triarch.layers import InputLayer
from triarch.layers.masks import carrying
from triarch.layers.shapes import is_shape
from triarch.models import graph_config
from triarch.models.fusion import fused
from triarch.models.model import Model
from triarch.models.naming import module_names
from triarch.saving import legacy
from triarch.tensors import kept_mask


@registry.register("keras.src.models.functional")
class Functional(Model):
    """What `Model(inputs, outputs)` makes: the layers between symbolic inputs and outputs, called in their order.

    Args:
        inputs: A symbolic tensor, or a list, tuple or dict of them, nested at will. Where one is not from `Input` but
            lies within a graph, the model begins there: so models are cut out of models, sharing their layers.
        outputs: Symbolic tensors that follow from the inputs, nested at will.

    In `state_dict`, layers are called as they were named, and those that were not by their kind, counted in the order
    of `layers` (`dense`, `dense_1`, ...), whatever was made before.

    Raises:
        ValueError: Something is not symbolic, an output needs more than the inputs, or two layers share a name.
    """

    untracked = Model.untracked | {"_operations", "_fast_steps"}
    casts_inputs = False
    supports_masking = True
    makes_mask = False

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the layers inside leave masks on the outputs."""

    def symbolic_masks(self, inputs: Any, *_: Any, **__: Any) -> Any:
        """Those of the last layers, were they called on these inputs."""
        return map_structure(kept_mask, self._network.run(self._parted(inputs)))

    def __init__(
        self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool | None = None, **kwargs: Any
    ) -> None:
        Model.__init__(self, name=name or registry.unique_name("functional"), **kwargs)
        for what, structure in (("inputs", inputs), ("outputs", outputs)):
            wrong = [leaf for leaf in leaves(structure) if not isinstance(leaf, SymbolicTensor)]
            if wrong or not leaves(structure):
                raise ValueError(
                    f"`{what}` holds symbolic tensors, from `Input` and from layers called on them. "
                    f"Received: {wrong[0] if wrong else structure!r}"
                )
        self._lists_its_output = isinstance(outputs, (list, tuple)) and len(outputs) == 1
        outputs = _sole(outputs)  # a call gives one tensor, as in Keras
        self._network = Network(inputs, outputs)
        if not all(isinstance(symbol.node.operation, InputLayer) for symbol in leaves(inputs)):
            entrances = [
                InputLayer(batch_shape=symbol.shape, dtype=symbol.dtype, name=_name_of_entrance(symbol)).output
                for symbol in leaves(inputs)
            ]
            remaining = iter(entrances)
            inputs = map_structure(lambda _: next(remaining), inputs)
            outputs = self._network.run(entrances)
            self._network = Network(inputs, outputs)
        self._fast_steps = fused(self._network)
        self._symbols: tuple[Any, Any] | None = (inputs, outputs)
        self._entrances = [symbol.node.operation for symbol in leaves(inputs)]
        self.takes_texts = any(entrance.takes_texts for entrance in self._entrances)
        self._operations = self._network.operations
        self._modules.update(module_names(self.layers))
        self.output_names = [symbol.node.operation.name for symbol in leaves(outputs)]
        self.built = True
        if trainable is not None and not trainable:
            self.trainable = False

    @classmethod
    def adopt(cls, other: type[Model]) -> None:
        """Let a subclass of `Model`, whose constructor gives a graph to `super().__init__`, be functional."""
        if other is Model or issubclass(other, cls):
            return
        for base in other.__bases__:
            if base is not Model and issubclass(base, Model):
                cls.adopt(base)
        other.__bases__ = tuple(cls if base is Model else base for base in other.__bases__)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_symbols": None}  # made anew where they are asked for

    def build(self, input_shape: Any = None) -> None:
        """Without effect: the weights are there."""
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The outputs, in the structure that the model was given; `mask` is that of the inputs, nested as they are."""
        parts = self._parted(inputs)
        tensors = [entrance.standardize(part, self) for entrance, part in zip(self._entrances, parts, strict=True)]
        if mask is not None:
            tensors = carrying(tensors, self._parted(mask))
        return self._network.run(tensors, steps=self._fast_steps)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic outputs for symbolic inputs."""
        shapes = [part.shape for part in self._parted(args[0] if args else kwargs["inputs"])]
        found = iter(self._symbols_for(shapes))
        return map_structure(lambda _: next(found), self._network.outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shapes of the outputs for inputs of these shapes."""
        shapes = [input_shape] if is_shape(input_shape) else _shape_leaves(input_shape)
        found = iter(self._symbols_for(shapes))
        return map_structure(lambda _: next(found).shape, self._network.outputs)

    def _symbols_for(self, shapes: list[Any]) -> list[SymbolicTensor]:
        """Symbolic outputs for inputs of these shapes, without history."""
        if len(shapes) != len(self._entrances):
            raise ValueError(f"{self._described()} has {len(self._entrances)} inputs. Received: shapes {shapes}")
        known = leaves(self._graph()[1])
        if [tuple(shape) for shape in shapes] != [entrance.batch_shape for entrance in self._entrances]:
            symbols = [
                SymbolicTensor(shape, entrance.dtype) for shape, entrance in zip(shapes, self._entrances, strict=True)
            ]
            known = leaves(self._network.run(symbols))
        return [SymbolicTensor(symbol.shape, symbol.dtype) for symbol in known]

    def _graph(self) -> tuple[Any, Any]:
        """Nested symbolic inputs and outputs."""
        if self._symbols is None:
            symbols = [entrance.output for entrance in self._entrances]
            remaining = iter(symbols)
            inputs = map_structure(lambda _: next(remaining), self._network.inputs)
            self._symbols = (inputs, self._network.run(symbols))
        return self._symbols

    def _parted(self, inputs: Any) -> list[Any]:
        """The inputs in the order of the input layers, whatever structure they come in, if it can only mean one."""
        expected = self._network.inputs
        if isinstance(inputs, dict) and not isinstance(expected, dict):
            names = [entrance.name for entrance in self._entrances]
            if not set(names) <= set(inputs):
                raise ValueError(
                    f"{self._described()} has the inputs {names}. Received: a dict with the keys {sorted(inputs)}"
                )
            return [inputs[name] for name in names]
        if isinstance(expected, dict) and isinstance(inputs, dict):
            if not set(expected) <= set(inputs):
                raise ValueError(
                    f"{self._described()} takes a dict with the keys {sorted(expected)}. Received: {sorted(inputs)}"
                )
            inputs = {key: inputs[key] for key in expected}
        elif isinstance(expected, dict) and list(expected) != sorted(expected):
            raise ValueError(f"{self._described()} takes a dict with the keys {list(expected)}. Received: no dict")
        parts = leaves(inputs)
        if len(parts) != len(self._entrances):
            names = [entrance.name for entrance in self._entrances]
            wanted = f"a dict with the keys {list(expected)}" if isinstance(expected, dict) else "a list of them"
            raise ValueError(
                f"{self._described()} has {len(names)} inputs, {names}: give {wanted}. Received: {len(parts)} arrays"
            )
        return parts

    def _described(self) -> str:
        return f"Model {self.name!r}"

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The layers, those of the inputs among them, from the inputs to the outputs."""
        return [operation for operation in self._operations if isinstance(operation, torch.nn.Module)]

    @property
    def operations(self) -> list[Any]:
        """The layers and the functions between them."""
        return list(self._operations)

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure that was given."""
        return self._graph()[0]

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure that was given."""
        outputs = self._graph()[1]
        return [outputs] if self._lists_its_output else outputs

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, in a list."""
        return leaves(self.input)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, in a list."""
        return leaves(self.output)

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [entrance.name for entrance in self._entrances]

    @property
    def input_shape(self) -> Shape | Any:
        """The shape of the input, batch axis included; nested as the inputs are where there are several."""
        return _sole(map_structure(lambda symbol: symbol.shape, self.input))

    @property
    def output_shape(self) -> Shape | Any:
        """The shape of the output, batch axis included; nested as the outputs are where there are several."""
        return _sole(map_structure(lambda symbol: symbol.shape, self.output))

    @property
    def network(self) -> Network:
        """The steps of a call."""
        return self._network

    def output_shape_of(self, operation: Any) -> Any:
        """The shape, or the list of them, that a layer's first call in this model gives."""
        if operation in self._entrances:
            return operation.batch_shape
        step = next(step for step in self._network.steps if step.operation is operation)
        shapes = [self._network.tensors[slot][0] for slot in step.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def inputs_of(self, operation: Any) -> list[str]:
        """What a layer's calls in this model take: `name[call][output]` of each tensor, as Keras writes it."""
        sources = {
            slot.number: f"{entrance.name}[0][0]"
            for slot, entrance in zip(leaves(self._network.inputs), self._entrances, strict=True)
        }
        counts: Counter[int] = Counter()
        found: list[str] = []
        for step in self._network.steps:
            if step.operation is operation:
                found += [sources[leaf.number] for leaf in leaves((step.args, step.kwargs)) if isinstance(leaf, Slot)]
            for index, slot in enumerate(step.outputs):
                sources[slot] = f"{step.operation.name}[{counts[id(step.operation)]}][{index}]"
            counts[id(step.operation)] += 1
        return found

    def _telling_arguments(self) -> Iterator[str]:
        yield f"name={self.name!r}"  # the layers are shown below

    def get_config(self) -> dict[str, Any]:
        """Layers and calls, in Keras's form."""
        if type(self) is not Functional and type(self).__init__ is not Functional.__init__:
            return super().get_config()  # a subclass that is made from other arguments
        graph = graph_config.write(self._network, self._entrances)
        if self._lists_its_output:
            graph["output_layers"] = [graph["output_layers"]]
        return {"name": self.name, "trainable": self.trainable, **graph}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Make the model that `get_config` described."""
        if "layers" not in config:
            return super().from_config(config, custom_objects)
        with registry.custom_object_scope(custom_objects or {}):
            if legacy.is_old(config):
                config = legacy.upgraded({"class_name": "Functional", "config": config}, None)["config"]
            inputs, outputs = graph_config.read(config)
            return cls(inputs, outputs, name=config.get("name"), trainable=config.get("trainable"))


def _shape_leaves(shapes: Any) -> list[Any]:
    if is_shape(shapes):
        return [shapes]
    entries = [shapes[key] for key in sorted(shapes)] if isinstance(shapes, dict) else shapes
    return [leaf for entry in entries for leaf in _shape_leaves(entry)]


def _sole(structure: Any) -> Any:
    return structure[0] if isinstance(structure, (list, tuple)) and len(structure) == 1 else structure


def _name_of_entrance(symbol: SymbolicTensor) -> str:
    return registry.unique_name(f"{symbol.node.operation.name}_input")  # type: ignore[union-attr]
