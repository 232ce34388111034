"""`Layer`: Keras's layer that is a `torch.nn.Module`."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch import config, mixed_precision, registry, regularizers
from triarch.graph import (
    Node,
    SymbolicTensor,
    infer_outputs,
    map_structure,
    record,
    standardize_shape,
    symbols_in,
)
from triarch.graph import leaves as graph_leaves
from triarch.layers.precision import PolicyHolder, cast
from triarch.layers.running import Collected, ModeHolder, reading_casts, running
from triarch.layers.shapes import infer_output_shape, map_shapes, on_trial, shape_of
from triarch.layers.texts import TEXT, Texts, are_texts, encoded
from triarch.layers.tracking import adopt_containers, assign_container, changes, forget_container
from triarch.layers.weights import WeightHolder
from triarch.serialization import Configurable, config_names, deserialize_keras_object
from triarch.tensors import keep_mask, kept_mask, torch_dtype
from triarch.variable import CastVariable


def _completing(build: Callable[..., None]) -> Callable[..., None]:
    """`build`, then what must follow it whoever calls it."""
    names = list(inspect.signature(build).parameters)[1:]

    @functools.wraps(build)
    def build_and_complete(self: Layer, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        self.built = True
        shapes = dict(zip(names, args, strict=False)) | kwargs
        self._build_config = shapes if list(shapes) == ["input_shape"] else {"shapes_dict": shapes}
        adopt_containers(self)

    return build_and_complete


def with_mask(outputs: Any, mask: Any) -> Any:
    """The outputs, which carry this mask from now on."""
    masks = mask if isinstance(mask, (list, tuple)) else [mask]
    for output, own in zip(graph_leaves(outputs), masks, strict=False):
        if own is not None:
            keep_mask(output, own)
    return outputs


_building = threading.RLock()  # two threads that call a new layer make its weights once


class _LayerMeta(type):
    """Adopts the layers that a constructor put in lists and dicts, once the whole constructor has run."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = super().__call__(*args, **kwargs)
        adopt_containers(instance)
        return instance


@registry.register("keras.layers")
class Layer(WeightHolder, PolicyHolder, ModeHolder, Configurable, metaclass=_LayerMeta):
    """A step from tensors to tensors with its own weights.

    A subclass stores its arguments under their own names in `__init__`, makes weights in `build(input_shape)` with
    `add_weight`, and computes in `call(inputs)`; `call` may take `training`. Everything torch does with a module works:
    `state_dict`, `to`, hooks, `parameters`.

    Whether it trains or infers is torch's `training` flag, False at first; `layer(x, training=True)` sets it, for this
    layer and those inside, as long as the call lasts.

    Args:
        activity_regularizer: Adds a loss on the layer's output.
        trainable: Whether the weights are to be learnt.
        dtype: A type's name or a `DTypePolicy`.
        autocast: Whether float inputs are cast to the compute type.
        name: Default: the class's name in snake case, with a number where it was given before.
    """

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        torch.nn.Module.__init__(self)
        vars(self).update(_containers={}, _read_as_kept=set(), _casts_weights=False, _collected=Collected())
        self.training = False
        self.built = False
        self._trainable = bool(trainable)
        self._build_config: dict[str, Any] | None = None
        self._inbound_nodes: list[Node] = []  # its calls on symbolic tensors
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.autocast = autocast
        self.dtype_policy = mixed_precision.get(dtype)
        self.input_spec: Any = None  # Keras's attribute, for layers that set or read it
        self.name = name or registry.unique_name(registry.to_snake_case(type(self).__name__))
        self.declared_input_shape = _declared_input_shape(kwargs)
        if kwargs:
            raise TypeError(f"{type(self).__name__} takes no such arguments. Received: {sorted(kwargs)}")

    def __setattr__(self, name: str, value: Any) -> None:
        changes.count += 1
        if isinstance(value, (list, tuple, dict)) and name != "__dict__":  # which torch's tracers set
            assign_container(self, name, value)
            return
        forget_container(self, name)
        if isinstance(value, torch.nn.Module) and not isinstance(value, Layer):
            value.to(config.device())  # where layers make their weights
        elif isinstance(value, CastVariable):  # as `self.count += 1` in a call leaves it
            value = value.variable
        super().__setattr__(name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _completing(vars(cls)["build"])  # type: ignore[method-assign]
        if "call" in vars(cls):
            signature = inspect.signature(vars(cls)["call"])
            cls._call_parameters = tuple(signature.parameters)[1:]
            if hasattr(cls.forward, "__signature__") or cls.forward is Layer.forward:  # what torch's tools ask for
                forward: Any = FunctionType(Layer.forward.__code__, Layer.forward.__globals__, "forward")
                forward.__signature__ = signature
                cls.forward = forward  # type: ignore[method-assign]

    supports_masking = False  # whether masks of the inputs go on to the outputs, as `compute_mask` says
    makes_mask = False  # whether the outputs get a mask though the inputs have none

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Which steps of the outputs count, where `mask` says it of the inputs'; the same ones unless overridden."""
        return mask

    _call_parameters: tuple[str, ...] = ()
    untracked: ClassVar[frozenset[str]] = frozenset(
        {"_build_config", "_inbound_nodes"}
    )  # containers that hold no layers

    @_completing
    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch axis first, None where unknown)."""

    def call(self, inputs: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define `call(self, inputs)`.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs for inputs of this shape; found by a trial run where a subclass does not say it."""
        if not self.built:
            self.build(input_shape)
        return infer_output_shape(self, input_shape, self._compute_torch_dtype)

    @property
    def path(self) -> str | None:
        """Where the paths of the layer's weights begin; None before it is built."""
        return self.name if self.built else None

    @property
    def metrics(self) -> list[Any]:
        """The metrics kept as attributes, alone or in lists and dicts, by this layer and those inside."""
        leaves = [leaf for module in self.modules() for leaf in pytree.tree_leaves(list(vars(module).values()))]
        found = [leaf for leaf in leaves if hasattr(leaf, "update_state") and hasattr(leaf, "reset_state")]
        return list({id(metric): metric for metric in found}.values())

    def built_output_shape(self) -> Any:
        """The output shape for the input shape that the layer was built for; None where that is not known."""
        shapes = (self._build_config or {}).get("input_shape")
        return None if shapes is None else self.compute_output_shape(shapes)

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if not running.is_in_call:
            return self._call_outermost(args, kwargs, training)
        is_usual = (
            self.built and not kwargs and len(args) == 1 and type(args[0]) is torch.Tensor and not self.makes_mask
        )
        if is_usual and (training is None or training is self.training) and kept_mask(args[0]) is None:
            return super().__call__(args[0])
        return self._prepare_and_call(args, kwargs, training)

    def _call_outermost(self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> Any:
        self.clear_losses()
        running.is_in_call = True
        try:
            return self(*args, training=training, **kwargs)
        finally:
            running.is_in_call = False

    def _prepare_and_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None) -> Any:
        args, kwargs = pytree.tree_map(self._as_tensor, (args, kwargs))
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(isinstance(leaf, (torch.Tensor, SymbolicTensor)) for leaf in leaves):
            raise ValueError(f"Layer {self.name!r} takes tensors or arrays. Received: {args[0] if args else kwargs!r}")
        if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            return self._call_symbolically(args, kwargs if training is None else {**kwargs, "training": training})
        if not self.built:
            with _building:
                if not self.built:
                    self._build_from_inputs(args, kwargs)
        masks = None if not args else map_structure(kept_mask, args[0])
        is_masked = any(mask is not None for mask in graph_leaves(masks))
        if is_masked and "mask" in self._call_parameters and len(args) == 1:
            kwargs.setdefault("mask", masks)
        with nullcontext() if training is None or bool(training) == self.training else self.mode(bool(training)):
            outputs = super().__call__(*args, **kwargs)
        if (is_masked or self.makes_mask) and self.supports_masking:
            return with_mask(outputs, self.compute_mask(args[0], masks))
        return outputs

    def _as_tensor(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
            if self.reads_texts() and are_texts(value):
                return encoded(value)
            raise ValueError(f"Layer {self.name!r} takes numbers. Received: an array of type {value.dtype}")
        if isinstance(value, Texts) and not self.reads_texts():
            raise ValueError(f"Layer {self.name!r} takes numbers. Received: strings")
        if isinstance(value, np.ndarray):
            is_rounded = value.dtype == np.float64 and self._compute_torch_dtype is not torch.float64
            dtype = torch_dtype(config.floatx()) if is_rounded else None
            return torch.as_tensor(value, dtype=dtype, device=self.device)
        return value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """torch's entry: `call` with types cast and the training flag passed on."""
        if self.autocast and not (self._is_half and self._takes_inputs_as_they_are()):
            dtype = self._compute_torch_dtype
            args = tuple(
                [part if type(part) is torch.Tensor and part.dtype is dtype else cast(part, dtype) for part in args]
            )
            if kwargs:
                kwargs = {name: cast(value, dtype) for name, value in kwargs.items()}
        if "training" in self._call_parameters:
            kwargs.setdefault("training", self.training)
        if self._casts_weights:
            with reading_casts():
                outputs = self.call(*args, **kwargs)
        else:
            outputs = self.call(*args, **kwargs)
        if self.activity_regularizer is not None:
            for output in pytree.tree_leaves(outputs):
                wide = output.float() if self._is_half else output  # sums of squares overflow in half precision
                self.add_loss(self.activity_regularizer(wide) / output.shape[0])
        return outputs

    takes_texts = False  # whether inputs may be strings

    def reads_texts(self) -> bool:
        """Whether inputs may be strings, which this layer takes or one inside."""
        return any(getattr(module, "takes_texts", False) for module in self.modules())

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.takes_texts and any(symbol.dtype == TEXT for symbol in symbols_in((args, kwargs))):
            raise ValueError(
                f"Layer {self.name!r} ({type(self).__name__}) takes numbers: let a layer such as `StringLookup`, "
                f"`TextVectorization` or `Hashing` make them of the strings before it. Received: {args!r}"
            )
        if not self.built:
            self._build_from_inputs(args, {name: value for name, value in kwargs.items() if name != "training"})
        return record(self, args, kwargs, self.compute_output_spec(*args, **kwargs))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic outputs for arguments with symbolic tensors."""
        if type(self).compute_output_shape is Layer.compute_output_shape:
            with on_trial(self):
                return infer_outputs(self, args, kwargs, f"{type(self).__name__} {self.name!r}", self.device)
        shapes = self._shapes_for_build(args, kwargs)
        return map_shapes(lambda shape: SymbolicTensor(shape, self.compute_dtype), self.compute_output_shape(*shapes))

    @property
    def input(self) -> Any:
        """The symbolic tensor, or the list of them, that the layer was first called on."""
        if "input" in self._modules:  # a subclass calls a layer so
            return self._modules["input"]
        inputs = self._first_node("input").inputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """The symbolic tensor, or the nested ones, that the layer's first call gave."""
        return self._modules["output"] if "output" in self._modules else self._first_node("output").outputs

    def _first_node(self, wanted: str) -> Node:
        if not self._inbound_nodes:
            raise AttributeError(f"The layer {self.name!r} has no `{wanted}`: it was not called on a symbolic tensor.")
        return self._inbound_nodes[0]

    def _build_from_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.build(*self._shapes_for_build(args, kwargs))

    def _shapes_for_build(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        values = [*args, *kwargs.values()]
        wanted = len(inspect.signature(type(self).build).parameters) - 1
        return tuple(pytree.tree_map(shape_of, value) for value in values[: max(wanted, 1)])

    # Arguments of this class that the config names only where they differ from these.
    _silent_config: ClassVar[dict[str, Any]] = {"autocast": True, "activity_regularizer": None}
    _optional_config: ClassVar[tuple[str, ...]] = ()  # arguments that the config names only where they are not None

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        accepted = config_names(type(self))
        common = (("name", self.name), ("trainable", self.trainable), ("dtype", self.dtype_policy))
        yield from (pair for pair in common if pair[0] in accepted)
        own = [name for name in config_names(type(self), until=Layer) if name not in ("name", "trainable", "dtype")]
        for name, value in self._stored(own):
            if value is not None or name not in self._optional_config:
                yield name, value
        for name, default in self._silent_config.items():
            if name not in own and getattr(self, name) != default:
                yield name, getattr(self, name)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Make the layer that `get_config` described."""
        accepted = config_names(cls)
        # Keras writes the arguments of its optional features even where they are unset.
        known = {name: value for name, value in config.items() if name in accepted or value not in (None, False)}
        return cls(**{name: deserialize_keras_object(value) for name, value in known.items()})

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` needs to make the weights again; None where the layer makes none."""
        return self._build_config if type(self).build is not Layer.build else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make the weights as they were made when `get_build_config` was called."""
        if config.get("input_shape") is not None:
            self.build(map_shapes(tuple, config["input_shape"]))
        elif "shapes_dict" in config:
            self.build(**map_shapes(tuple, config["shapes_dict"]))

    def extra_repr(self) -> str:
        """The arguments, for torch's `repr` of a module."""
        return ", ".join(self._telling_arguments())

    def _telling_arguments(self) -> Iterator[str]:
        shown_as_children = [f"{name}=" for name in self._modules]
        return (part for part in super()._telling_arguments() if not part.startswith(tuple(shown_as_children)))


def _declared_input_shape(kwargs: dict[str, Any]) -> tuple[int | None, ...] | None:
    """Takes Keras's older ways to tell a first layer its input shape out of `kwargs`; the result has a batch axis."""
    if "batch_input_shape" in kwargs:
        return standardize_shape(kwargs.pop("batch_input_shape"))
    batch_size = kwargs.pop("batch_size", None)
    if "input_shape" in kwargs:
        return (batch_size, *standardize_shape(kwargs.pop("input_shape")))
    if "input_dim" in kwargs:
        return (batch_size, kwargs.pop("input_dim"))
    return None
