"""`Model`: a layer that can be compiled, fitted, evaluated, saved and summarised."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch

from triarch import registry, saving
from triarch.layers import Layer
from triarch.layers.shapes import infer_output_shape
from triarch.models.trainer import Trainer
from triarch.saving.streams import Place
from triarch.serialization import serialize_keras_object
from triarch.tensors import torch_dtype


@registry.register("keras")
@registry.register("keras.models")
class Model(Trainer):
    """A network: `Model(inputs, outputs)` from symbolic tensors, or a subclass.

    A subclass makes its layers in `__init__` and uses them in `call(inputs, training=None)`; or its `__init__` makes a
    graph and gives it to `super().__init__(inputs, outputs)`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(_functional() if cls is Model and _is_graph(args, kwargs) else cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _is_graph(args, kwargs):
            _functional().adopt(type(self))
            _functional().__init__(self, *args, **kwargs)
            return
        if args:
            raise TypeError(f"{type(self).__name__} takes symbolic inputs and outputs, or neither. Received: {args!r}")
        super().__init__(**kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the weights of all layers inside, by a trial run on zeros."""
        infer_output_shape(self, input_shape, torch_dtype(self.compute_dtype) or torch.float32)

    def _build_from_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The call that follows makes the weights of the layers inside; a trial run would be wasted.
        if type(self).build is Model.build:
            shapes = self._shapes_for_build(args, kwargs)
            Layer.build(self, *shapes)
        else:
            super()._build_from_inputs(args, kwargs)

    def clear_losses(self) -> None:
        """Forget the terms that `add_loss` collected, here and in the layers inside."""
        if self._loop.learning_plan is None:
            super().clear_losses()
        else:
            self._loop.learning_plan.clear_losses()

    @property
    def losses(self) -> list[torch.Tensor]:
        """Terms that layers added in the last call, then regularisation terms."""
        return self.learning_plan.losses()

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The layers directly inside, each once."""
        return list({id(layer): layer for layer in self._children()}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> torch.nn.Module:
        """The layer of this name, or at this place."""
        layers = self.layers
        if index is not None and name is None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"The model has {len(layers)} layers. Received: index={index}")
            return layers[index]
        names = [getattr(layer, "name", registry.to_snake_case(type(layer).__name__)) for layer in layers]
        if name not in names:
            raise ValueError(f"The model has no layer of this name. Received: {name!r}. Layers: {names}")
        return layers[names.index(name)]

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: tuple[str, str] | list[str] | None = None,
    ) -> None:
        """Print the layers with their output shapes and numbers of weights."""
        from triarch.models.summary import print_summary  # loads rich, which `import triarch` does not

        print_summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as JSON, from which `models.model_from_json` makes it; `kwargs` go to `json.dumps`."""
        return json.dumps(serialize_keras_object(self), **kwargs)

    def save(
        self, filepath: Place, overwrite: bool = True, zipped: bool = True, include_optimizer: bool = True
    ) -> None:
        """Write architecture, weights, compile settings and the optimizer's state to a `.keras` (or `.h5`) file."""
        saving.save_model(self, filepath, overwrite=overwrite, zipped=zipped, include_optimizer=include_optimizer)

    def save_weights(self, filepath: Place, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Write the weights to a `.weights.h5` file; with `max_shard_size`, to several that a `.weights.json` names."""
        saving.save_weights(self, filepath, overwrite=overwrite, max_shard_size=max_shard_size)

    def load_weights(self, filepath: Place, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Read the weights from a `.weights.h5` or `.keras` file, or an `.h5` file of Keras 2."""
        saving.load_weights(self, filepath, skip_mismatch=skip_mismatch, by_name=by_name)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Make the model that `get_config` described."""
        if cls is Model and "layers" in config:
            return _functional().from_config(config, custom_objects)
        with registry.custom_object_scope(custom_objects or {}):
            return super().from_config(config)


def _is_graph(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return len(args) >= 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= kwargs.keys()


def _functional() -> Any:
    return registry.find("keras.src.models.functional", "Functional")  # a subclass of `Model`
