"""Symbolic tensors: shape and type without numbers, and the record of which call made them from what."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from triarch import config, registry
from triarch.graph import functions
from triarch.graph.structures import leaves, map_structure
from triarch.graph.trials import TRIALS, Shape, in_common, trial_sizes
from triarch.tensors import dtype_name, keep_mask, kept_mask, torch_dtype

_numbers = itertools.count()


def standardize_shape(shape: Any) -> Shape:
    """`shape` as a tuple of non-negative ints and Nones, or a ValueError."""
    if getattr(shape, "ndim", 0) == 1:  # an array of sizes
        shape = shape.tolist()
    if hasattr(shape, "__index__"):
        raise ValueError(f"A shape is a tuple such as (28, 28, 1); write ({shape},) for one axis. Received: {shape}")
    entries = tuple(shape)
    for entry in entries:
        if entry is not None and (not hasattr(entry, "__index__") or entry < 0):
            raise ValueError(f"The entries of a shape are non-negative integers or None. Received: {shape}")
    return tuple(None if entry is None else int(entry) for entry in entries)


class Node:
    """One call of an operation (a layer, or a function) on symbolic tensors.

    Args:
        args: Positional arguments, nested, with symbolic tensors and whatever else was given.
        outputs: A nested structure of fresh symbolic tensors, which remember this node from now on.
    """

    def __init__(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.operation = operation
        self.args = args
        self.kwargs = kwargs
        self.outputs = outputs
        self.inputs = symbols_in((args, kwargs))
        self.number = next(_numbers)  # a node's inputs have lower numbers, so this is an order of computation
        for index, output in enumerate(leaves(outputs)):
            output.node, output.index = self, index


def symbols_in(structure: Any) -> list[SymbolicTensor]:
    """The symbolic tensors in nested arguments."""
    return [leaf for leaf in leaves(structure) if isinstance(leaf, SymbolicTensor)]


def record(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Any:
    """Note that `operation` made the fresh symbolic `outputs` from these arguments; returns the outputs.

    Triarch's layers remember their calls, so that `layer.output` can be asked.
    """
    node = Node(operation, args, kwargs, outputs)
    if hasattr(operation, "_inbound_nodes"):
        operation._inbound_nodes.append(node)
    return outputs


class SymbolicTensor:
    """What `Input` gives and a layer called on it returns: a shape (None where unknown), a type and its origin.

    Operators, slices and the functions and methods of torch that compute and change nothing (`torch.cat`, `x.mean(1)`)
    work on it and are recorded.
    """

    def __init__(self, shape: Sequence[int | None], dtype: str | None = None, name: str | None = None) -> None:
        self.shape: Shape = standardize_shape(shape)
        self.dtype = dtype or config.floatx()
        self.name = name or registry.unique_name("keras_tensor")
        self.node: Node | None = None  # the call that made it
        self.index = 0  # its place among the outputs of that call
        self._mask: Any = ...  # until somebody asks for it

    @property
    def _keras_mask(self) -> Any:
        """The symbolic mask, made when it is asked for, as the layer that made the tensor says; None for none."""
        if self._mask is ...:
            outputs = leaves(self.node.outputs) if self.node else [self]
            made = getattr(self.node.operation, "symbolic_masks", None) if self.node and self.node.inputs else None
            masks = leaves(made(*self.node.args, **self.node.kwargs)) if made and self.node else []
            for output, mask in itertools.zip_longest(outputs, masks[: len(outputs)]):
                output._mask = mask
        return self._mask

    @_keras_mask.setter
    def _keras_mask(self, mask: Any) -> None:
        self._mask = mask

    @property
    def ndim(self) -> int:
        """The number of axes, the batch's included."""
        return len(self.shape)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _recorded(function, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        member = None if name.startswith("_") else getattr(torch.Tensor, name, None)
        if member is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if callable(member):
            return lambda *args, **kwargs: _recorded(member, (self, *args), kwargs)
        return _recorded(member.__get__, (self,), {})

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self._without_numbers()

    def __bool__(self) -> bool:
        raise self._without_numbers()

    def __float__(self) -> float:
        raise self._without_numbers()

    def __int__(self) -> int:
        raise self._without_numbers()

    def __index__(self) -> int:
        raise self._without_numbers()

    def __len__(self) -> int:
        raise self._without_numbers()

    def __iter__(self) -> Any:
        raise self._without_numbers()

    def _without_numbers(self) -> TypeError:
        return TypeError(
            f"A symbolic tensor holds no numbers, so it cannot be read, counted or decided by. Call a model on data, "
            f"or compute with torch's functions, which are recorded. Received: {self!r}"
        )


class Function:
    """A function of torch, or of `triarch.ops`, as an operation of a graph.

    Args:
        label: What the function is called in files.
        fixed: Arguments that every call gets.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        label: str,
        name: str | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.fixed = dict(fixed or {})
        self.label = label
        short = label.removesuffix(".__get__").rpartition(".")[2].strip("_")
        self.name = name or registry.unique_name(registry.to_snake_case(short))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result; on symbolic tensors a symbolic one, recorded."""
        kwargs = {**self.fixed, **kwargs}
        given = leaves((args, kwargs))
        if not any(isinstance(leaf, SymbolicTensor) for leaf in given):
            outputs = self.function(*args, **kwargs)
            if any(kept_mask(leaf) is not None for leaf in given):
                self._warn_of_masks(outputs)
            return outputs
        return record(self, args, kwargs, infer_outputs(self.function, args, kwargs, self.label))

    def _warn_of_masks(self, outputs: Any) -> None:
        """Say that a mask ends here, where it does: a function is no layer that knows of masks."""
        if all(kept_mask(output) is None for output in leaves(outputs)):
            warnings.warn(
                f"The function {self.label} in a model was passed an input with a mask, and its outputs have none. "
                "Layers behind it will not see the mask: give it to them as `mask=`, or compute in a layer that "
                "passes masks on.",
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return f"<Function {self.label}, name={self.name}>"


def infer_outputs(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    label: str,
    device: torch.device | str = "meta",
    masks: bool = False,
) -> Any:
    """Symbolic outputs of `function` for arguments with symbolic tensors, from two trial runs.

    Args:
        masks: Whether it gets masks, too, where the symbolic tensors have some.

    Raises:
        ValueError: It cannot run on tensors of these shapes, or its outputs' shapes depend on the numbers.
    """
    if any(isinstance(leaf, torch.nn.Parameter) for leaf in leaves((args, kwargs))):
        raise ValueError(
            f"A weight is not learnt as a constant of a graph: put it, or the torch module that holds it, in a layer "
            f"(`layers.TorchModuleWrapper(module)`). Received: {label} of a symbolic tensor and a parameter"
        )
    try:
        runs: list[Any] = []
        for trial in TRIALS:

            def stand_in(leaf: Any, trial: int = trial) -> Any:
                if isinstance(leaf, SymbolicTensor):
                    zeros = torch.zeros(trial_sizes(leaf.shape, trial), dtype=torch_dtype(leaf.dtype), device=device)
                    mask = kept_mask(leaf) if masks else None
                    return zeros if mask is None else keep_mask(zeros, stand_in(mask))
                if isinstance(leaf, np.ndarray):
                    return torch.as_tensor(leaf, device=device)
                return leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf

            trial_args, trial_kwargs = map_structure(stand_in, args), map_structure(stand_in, kwargs)
            with torch.no_grad():
                runs.append(function(*trial_args, **trial_kwargs))
        return in_common(runs[0], runs[1], lambda shape, dtype: SymbolicTensor(shape, dtype_name(dtype)))
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        shapes = [symbol.shape for symbol in symbols_in((args, kwargs))]
        raise ValueError(
            f"{label} does not take symbolic tensors of these shapes: {error}. Received: {shapes}"
        ) from error


def _recorded(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return Function(function, functions.name_of(function))(*args, **kwargs)


def _operator(name: str, is_reflected: bool = False) -> Callable[..., Any]:
    def operate(self: SymbolicTensor, *others: Any) -> Any:
        operands = (*others, self) if is_reflected else (self, *others)
        return registry.lookup("keras.ops", name)(*operands)

    return operate


# Keras's names of Python's operators: a model's file then says the same in both libraries.
for _name, _operation in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "pow": "power",
    "matmul": "matmul",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
}.items():
    setattr(SymbolicTensor, f"__{_name}__", _operator(_operation))
    setattr(SymbolicTensor, f"__r{_name}__", _operator(_operation, is_reflected=True))
for _name, _operation in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "neg": "negative",
    "abs": "absolute",
    "invert": "logical_not",
    "getitem": "get_item",
}.items():
    setattr(SymbolicTensor, f"__{_name}__", _operator(_operation))
