"""`Sequential`: a stack of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from triarch import registry
from triarch.graph import Shape, SymbolicTensor, leaves, map_structure
from triarch.layers import InputLayer, Layer, TorchModuleWrapper
from triarch.layers.fusion import fused_stack
from triarch.layers.masks import carrying
from triarch.layers.shapes import infer_output_shape
from triarch.models.model import Model
from triarch.saving import legacy
from triarch.serialization import deserialize_keras_object, serialize_keras_object
from triarch.tensors import dtype_name, kept_mask, torch_dtype


@registry.register("keras")
@registry.register("keras.models")
class Sequential(Model):
    """Layers one after the other: each takes what the one before gives.

    With an `Input` first (or `input_shape=` on the first layer) the weights are made at once, otherwise at the first
    batch. Any `torch.nn.Module` can stand where a layer stands. In `state_dict`, layers are called `0`, `1`, ...
    """

    untracked = Model.untracked | {"_stack", "_symbols", "_operations"}  # its layers are children under their numbers

    casts_inputs = False
    supports_masking = True
    makes_mask = False

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the layers leave masks on what they give."""

    def symbolic_masks(self, inputs: Any, *_: Any, **__: Any) -> Any:
        """That of the last layer, were all called on these inputs."""
        return map_structure(kept_mask, self._outputs_for(inputs))

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._stack: list[torch.nn.Module] = []
        self._operations: list[Any] = []  # the layers, some of them put together
        self.input_layer: InputLayer | None = None
        self._symbols: list[Any] = []  # the input and every layer's output, once the input's shape is known
        if isinstance(layers, torch.nn.Module):
            raise ValueError(f"A Sequential model takes a list of layers. Received: one layer, {layers!r}")
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer on top of the stack; `rebuild` is without effect, as the weights are made as needed."""
        if isinstance(layer, SymbolicTensor) and layer.node is not None:
            layer = layer.node.operation
        if isinstance(layer, InputLayer):
            self._set_input(layer)
            return
        if isinstance(layer, type):
            raise ValueError(f"A Sequential model holds layers, not classes. Received: {layer.__name__} without `()`")
        if not isinstance(layer, torch.nn.Module):
            raise ValueError(
                "A Sequential model holds layers, torch modules and, first, an `Input`. "
                f"Received: {layer!r} of type {type(layer).__name__}"
            )
        if not isinstance(layer, Layer):
            layer.to(self.device)  # layers make their weights there
        name = getattr(layer, "name", None)
        if name is not None and any(getattr(other, "name", None) == name for other in self._stack):
            raise ValueError(f"All layers of a Sequential model need names of their own. Received: {name!r} twice")
        declared = getattr(layer, "declared_input_shape", None)
        if isinstance(layer, Sequential) and layer.input_layer is not None:
            declared = layer.input_shape
        if not self._stack and self.input_layer is None and declared is not None:
            self._set_input(InputLayer(batch_shape=declared))
        self.add_module(str(len(self._stack)), layer)
        self._stack.append(layer)
        self._operations = fused_stack(self._stack)
        if self._symbols:
            self._symbols.append(_called(layer, self._symbols[-1]))
        self.forget_functions()

    def pop(self, rebuild: bool = True) -> torch.nn.Module:
        """Take the last layer off the stack; `rebuild` is without effect."""
        if not self._stack:
            raise ValueError("There is no layer to take off.")
        layer = self._stack.pop()
        del self._modules[str(len(self._stack))]
        self._operations = fused_stack(self._stack)
        del self._symbols[len(self._stack) + 1 :]
        self.forget_functions()
        return layer

    def _set_input(self, layer: InputLayer) -> None:
        if self._stack or self.input_layer is not None:
            raise ValueError(
                "The `Input` comes first in a Sequential model, and only once. "
                f"Received: {layer!r} after {len(self._stack)} layers"
            )
        self._symbols, self.input_layer, self.built = [layer.output], layer, True
        self.takes_texts = layer.takes_texts

    def build(self, input_shape: Any = None) -> None:
        """Make the weights of every layer for inputs of this shape, the batch axis included."""
        if self.input_layer is not None:
            return
        if input_shape is None:
            raise ValueError("A Sequential model without an `Input` needs the input's shape. Received: None")
        if isinstance(input_shape, dict) or any(isinstance(size, (list, tuple)) for size in input_shape):
            input_shape = self._sole(input_shape)
        entrance = InputLayer(batch_shape=tuple(input_shape), dtype=self.input_dtype)
        self._symbols = self._called_on(entrance.output)
        self.input_layer = entrance

    def _called_on(self, symbol: SymbolicTensor) -> list[Any]:
        symbols: list[Any] = [symbol]
        for layer in self._stack:
            symbols.append(_called(layer, symbols[-1]))
        return symbols

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Layer after layer; `mask` is that of the inputs."""
        if self.input_layer is not None:
            if isinstance(inputs, (list, tuple, dict)):
                inputs = self._sole(inputs)
            if isinstance(mask, (list, tuple, dict)):
                mask = self._sole(mask)
            inputs = self.input_layer.standardize(inputs, self)
        if mask is not None:
            inputs = carrying(inputs, mask)
        for operation in self._operations:
            inputs = operation(inputs)
        return inputs

    def _sole(self, inputs: Any) -> Any:
        """The only input that a list, tuple or dict holds."""
        if len(inputs) == 1:
            return next(iter(inputs.values())) if isinstance(inputs, dict) else inputs[0]
        kind = f"a dict with the keys {list(inputs)}" if isinstance(inputs, dict) else f"{len(inputs)} inputs in a list"
        raise ValueError(
            f"Sequential model {self.name!r} takes one array or tensor; several inputs need a functional model, or one "
            f"array made of them, as by `np.stack` or `np.concatenate`. Received: {kind}"
        )

    def compute_output_spec(self, inputs: Any, *_: Any, **__: Any) -> Any:
        """Symbolic outputs for symbolic inputs."""
        return map_structure(lambda symbol: SymbolicTensor(symbol.shape, symbol.dtype), self._outputs_for(inputs))

    def _outputs_for(self, inputs: Any) -> Any:
        """What the last layer gives for symbolic inputs, with its history."""
        return self._called_on(self._sole(inputs) if isinstance(inputs, (list, tuple, dict)) else inputs)[-1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that the last layer gives for inputs of this shape."""
        for layer in self._stack:
            input_shape = _output_shape_of(layer, input_shape, self.dtype)
        return input_shape

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The layers, without the input layer."""
        return list(self._stack)

    @property
    def stack(self) -> Sequence[torch.nn.Module] | None:
        """The layers, unless a subclass or a function of its own makes more of them."""
        own = vars(self).keys() & {
            "call",
            "forward",
            "train_step",
            "test_step",
            "predict_step",
            "compute_loss",
            "compute_metrics",
        }
        return None if type(self) is not Sequential or own else self._stack

    @property
    def input_shape(self) -> Shape:
        """The shape of the inputs, the batch axis included."""
        return self.input.shape

    @property
    def output_shape(self) -> Shape:
        """The shape of the outputs, the batch axis included."""
        return map_structure(lambda symbol: symbol.shape, self.output)

    def output_shape_of(self, layer: torch.nn.Module) -> Any:
        """The shape that one of the layers gives."""
        return map_structure(lambda symbol: symbol.shape, self._known_symbols()[self._stack.index(layer) + 1])

    def _known_symbols(self) -> list[Any]:
        if self.input_layer is None:
            raise ValueError(
                f"Sequential model {self.name!r} does not know its shapes yet: start it with an `Input`, call it on "
                "data, or call `build(input_shape)`."
            )
        if not self._symbols:  # a copy
            self._symbols = self._called_on(self.input_layer.output)
        return self._symbols

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_symbols": []}

    @property
    def input(self) -> SymbolicTensor:
        """The symbolic input."""
        return self._known_symbols()[0]

    @property
    def output(self) -> Any:
        """The symbolic output."""
        return self._known_symbols()[-1]

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic input, in a list."""
        return leaves(self.input)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic output, in a list."""
        return leaves(self.output)

    def _telling_arguments(self) -> Iterator[str]:
        yield f"name={self.name!r}"  # the layers are shown below

    @property
    def input_dtype(self) -> str:
        """The number type to which inputs are cast."""
        if self.input_layer is not None:
            return self.input_layer.dtype
        return dtype_name(torch.promote_types(self._compute_torch_dtype, torch.float32))

    def get_config(self) -> dict[str, Any]:
        """Name and layers, in Keras's form."""
        layers: Sequence[Any] = self._stack
        if self.input_layer is not None:
            layers = [self.input_layer, *layers]
        for layer in layers:
            if not hasattr(layer, "get_config"):
                raise ValueError(
                    f"A torch module without `get_config` cannot be written to a file: {type(layer).__name__}. Save "
                    "the weights with `save_weights`, or make it a registered `Layer`."
                )
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize_keras_object(self.dtype_policy),
            "layers": [serialize_keras_object(layer) for layer in layers],
        }
        if self.input_layer is not None:
            config["build_input_shape"] = list(self.input_shape)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
        """Make the model that `get_config` described."""
        with registry.custom_object_scope(custom_objects or {}):
            if legacy.is_old(config):
                config = legacy.upgraded({"class_name": "Sequential", "config": config}, None)["config"]
            model = cls(name=config.get("name"))
            for layer in config["layers"]:
                model.add(deserialize_keras_object(layer))
        shape = config.get("build_input_shape")
        if shape is not None and model.input_layer is None:
            model.build(tuple(shape))
        if config.get("trainable", True) is False:
            model.trainable = False
        return model


def _called(layer: torch.nn.Module, symbol: Any) -> Any:
    """The symbolic outputs of a layer, which is built if it is not."""
    return layer(symbol) if isinstance(layer, Layer) else TorchModuleWrapper(layer)(symbol)


def _output_shape_of(layer: torch.nn.Module, input_shape: Any, dtype: str) -> Any:
    if isinstance(layer, Layer):
        return layer.compute_output_shape(input_shape)
    return infer_output_shape(layer, input_shape, torch_dtype(dtype) or torch.float32)
