"""What a layer keeps: weights in Keras's order, and loss terms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch import config, constraints, initializers, regularizers
from triarch.layers.running import Collected, modules_of
from triarch.layers.state import Stateful
from triarch.layers.tracking import containers_of, unpacked
from triarch.tensors import as_array, copy_all, torch_dtype, value_for
from triarch.variable import Variable


class WeightHolder(Stateful):
    """The part of `Layer` that makes, lists, reads and writes weights; an interface, never made by itself."""

    name: str
    built: bool
    variable_dtype: str
    _trainable: bool
    _collected: Collected

    def __getstate__(self) -> dict[str, Any]:
        # Tensors within a graph can be neither copied nor pickled, and nodes lead to whole other models.
        return {**self.__dict__, "_collected": None, "_inbound_nodes": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_collected": Collected()})

    @property
    def _losses(self) -> list[torch.Tensor]:
        """The terms that `add_loss` collected in this thread."""
        return self._collected.terms

    def add_weight(
        self,
        shape: Sequence[int] | None = None,
        initializer: Any = None,
        dtype: str | None = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str | None = None,
        overwrite_with_gradient: bool = False,
        name: str | None = None,
        memory_order: Sequence[int] | None = None,
    ) -> Variable:
        """Make a weight; assign it to an attribute of the layer to keep it.

        Args:
            initializer: Default: `"glorot_uniform"` for floats, `"zeros"` for the rest.
            aggregation: Only None; how copies on several machines would become one.
            overwrite_with_gradient: Only False.
            memory_order: The axes of `shape` from the slowest to the fastest in memory, where the computation wants
                another order than that of `shape`.
        """
        if aggregation not in (None, "none") or overwrite_with_gradient:
            raise ValueError(
                "A weight has one copy and is changed by its optimizer only: `aggregation` is None and "
                f"`overwrite_with_gradient` False. Received: aggregation={aggregation!r}, "
                f"overwrite_with_gradient={overwrite_with_gradient!r}"
            )
        if shape is None and isinstance(initializer, (np.ndarray, torch.Tensor)):
            shape = initializer.shape
        shape = tuple(int(size) for size in (shape if shape is not None else ()))
        dtype = dtype or self.variable_dtype
        is_float = torch_dtype(dtype).is_floating_point  # type: ignore[union-attr]
        default = "glorot_uniform" if is_float else "zeros"
        initializer = initializers.get(default if initializer is None else initializer)
        value = initializer(shape, dtype=dtype)
        if memory_order is not None:
            back = [list(memory_order).index(axis) for axis in range(len(shape))]
            value = value.permute(*memory_order).contiguous().permute(*back)
        variable = Variable(value, dtype=dtype, trainable=trainable, autocast=autocast, name=name)
        variable.path = f"{self.name}/{variable.name}"
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        variable.requires_grad_(variable.learnable and self._trainable)
        variable.learning_rate_factor = self._learning_rate_factor
        return variable

    @property
    def device(self) -> torch.device:
        """Where the layer computes: the device of its first weight, `config.device()` where it has none."""
        return device_of(self)

    @property
    def trainable(self) -> bool:
        """Whether the weights are to be learnt; setting it holds for the layers inside too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for tensor in self._own_tensors():
            tensor.requires_grad_(self._trainable and _is_learnable(tensor))
        for child in self._children():
            if isinstance(child, WeightHolder):
                child.trainable = value
            else:
                child.requires_grad_(self._trainable)

    @property
    def learning_rate_factor(self) -> float:
        """What the learning rate of the weights is multiplied with, 1 unless set; for the layers inside too.

        It holds from the next `compile` on: so early layers of a network that has learnt before may learn slowly.
        """
        return self._learning_rate_factor

    @learning_rate_factor.setter
    def learning_rate_factor(self, value: float) -> None:
        if not 0 <= value < math.inf:
            raise ValueError(f"`learning_rate_factor` is a number of at least 0. Received: {value!r}")
        self._learning_rate_factor = float(value)
        for tensor in self._own_tensors():
            tensor.learning_rate_factor = float(value)  # type: ignore[attr-defined]
        for child in self._children():
            if isinstance(child, WeightHolder):
                child.learning_rate_factor = value
            else:
                for tensor in child.parameters():
                    tensor.learning_rate_factor = float(value)  # type: ignore[attr-defined]

    _learning_rate_factor = 1.0

    def _own_tensors(self) -> list[torch.Tensor]:
        """Weights of this layer itself: the learnable ones first, then the state that training does not learn."""
        holders = [self, *containers_of(self)]
        own = [
            tensor
            for holder in holders
            for tensor in (*holder._parameters.values(), *holder._buffers.values())
            if tensor is not None
        ]
        return sorted(own, key=lambda tensor: not _is_learnable(tensor))

    def _children(self) -> Iterator[torch.nn.Module]:
        """The layers and modules directly inside, those in lists and dicts too."""
        for child in list(self._modules.values()):
            if child is not None:
                yield from unpacked(child)

    def _computes_itself(self) -> bool:
        """Whether there is more to the layer than the layers in it."""
        return next(self._children(), None) is None or bool(self._own_tensors())

    @property
    def weights(self) -> list[torch.Tensor]:
        """All weights: own ones, then those of the layers inside, in Keras's order, each once."""
        found = {id(tensor): tensor for tensor in self._own_tensors()}
        for child in self._children():
            inner = child.weights if isinstance(child, WeightHolder) else [*child.parameters(), *child.buffers()]
            found.update((id(tensor), tensor) for tensor in inner)
        return list(found.values())

    variables = weights

    @property
    def trainable_weights(self) -> list[torch.Tensor]:
        """The weights that are to be learnt."""
        return [weight for weight in self.weights if weight.requires_grad]

    @property
    def non_trainable_weights(self) -> list[torch.Tensor]:
        """The weights that stay as they are, or that the layers update themselves."""
        return [weight for weight in self.weights if not weight.requires_grad]

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, as arrays."""
        return [as_array(weight).copy() for weight in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite all weights; nothing is written unless their number, every shape and every number fit."""
        write_tensors(f"Layer {self.name!r}", self.built, self.weights, list(weights))

    def count_params(self) -> int:
        """How many numbers all weights hold."""
        if not self.built:
            raise ValueError(
                f"Layer {self.name!r} has no weights yet, because its input shape is not known. Call it on data or "
                "call `build(input_shape)` first. Received: a layer that is not built"
            )
        return sum(weight.numel() for weight in self.weights)

    def save_own_variables(self, store: Any) -> None:
        """Put the weights of this layer itself into `store` under "0", "1", ..."""
        for index, tensor in enumerate(self._own_tensors()):
            store[str(index)] = tensor.detach()

    def load_own_variables(self, store: Any) -> None:
        """Take the weights of this layer itself from `store`."""
        if set(store.keys()) != {str(index) for index in range(len(store.keys()))}:
            raise ValueError(f"Layer {self.name!r} takes weights '0', '1', ... Received: {sorted(store.keys())}")
        values = [store[str(index)] for index in range(len(store.keys()))]
        write_tensors(f"Layer {self.name!r}", self.built, self._own_tensors(), values)

    def add_loss(self, loss: Any) -> None:
        """Add a scalar to the loss of the present training step; call it inside `call`."""
        for scalar in pytree.tree_leaves(loss):
            if torch.as_tensor(scalar).ndim:
                raise ValueError(f"`add_loss` takes scalars. Received: shape {tuple(scalar.shape)}")
            self._losses.append(scalar)

    @property
    def losses(self) -> list[torch.Tensor]:
        """Terms that `add_loss` collected since `clear_losses`, then regularisation terms, of all layers inside too."""
        added = [term for module in modules_of(self) if isinstance(module, WeightHolder) for term in module._losses]
        weights = self.trainable_weights
        regularizers_of = [(getattr(weight, "regularizer", None), weight) for weight in weights]
        return added + [regularizer(weight) for regularizer, weight in regularizers_of if regularizer]

    def clear_losses(self) -> None:
        """Forget the terms that `add_loss` collected, here and in the layers inside."""
        for module in modules_of(self):
            if isinstance(module, WeightHolder):
                module._losses.clear()


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of the first weight of any module, `config.device()` where there is none."""
    for part in modules_of(module):
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None:
                return tensor.device
    return config.device()


def _is_learnable(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "learnable", isinstance(tensor, torch.nn.Parameter) and tensor.is_floating_point())


def write_tensors(owner: str, built: bool, tensors: Sequence[torch.Tensor], values: Sequence[Any]) -> None:
    """Copy `values` into `tensors`, after checking their number and each of them."""
    if len(values) != len(tensors):
        hint = "" if built else " It is not built yet: call it on data or call `build(input_shape)` first."
        raise ValueError(f"{owner} has {len(tensors)} weights and needs as many values. Received: {len(values)}.{hint}")
    names = [f"{owner}: weight {getattr(tensor, 'path', '')!r}" for tensor in tensors]
    copy_all(tensors, [value_for(*each) for each in zip(tensors, values, names, strict=True)])
