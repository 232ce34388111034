"""TensorFlow's functions in functional models of Keras 2, as operations of `keras.ops`.

Keras 2 made a layer of each: `TFOpLambda` names the function, `SlicingOpLambda` is an index, and the older
`TensorFlowOpLayer` holds a node of TensorFlow's own graph. A table says what each is called now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from triarch.saving.legacy.nodes import ADVICE, FunctionCall, function_of_node

FUNCTION = "function_call"  # where the entry of a layer has its function, until its calls are read
FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

_ARITHMETIC = "x:x1 y:x2"
_REDUCTION = "input_tensor:x axis keepdims"

# The last part of TensorFlow's name -> the operation, and its arguments, `theirs:ours`, in TensorFlow's order.
_FUNCTIONS: Mapping[str, str] = {
    "abs": "absolute x",
    "acos": "arccos x",
    "add": f"add {_ARITHMETIC}",
    "argmax": "argmax input:x axis",
    "argmin": "argmin input:x axis",
    "asin": "arcsin x",
    "atan": "arctan x",
    "atan2": "arctan2 y:x1 x:x2",
    "broadcast_to": "broadcast_to input:x shape",
    "cast": "cast x dtype",
    "ceil": "ceil x",
    "clip_by_value": "clip t:x clip_value_min:x_min clip_value_max:x_max",
    "concat": "concatenate values:xs axis",
    "cos": "cos x",
    "cosh": "cosh x",
    "cumsum": "cumsum x axis",
    "divide": f"true_divide {_ARITHMETIC}",
    "elu": "elu features:x alpha",
    "convert_to_tensor": "convert_to_tensor value:x dtype",
    "eq": "equal self:x1 other:x2",
    "equal": f"equal {_ARITHMETIC}",
    "erf": "erf x",
    "exp": "exp x",
    "expand_dims": "expand_dims input:x axis",
    "expm1": "expm1 x",
    "floor": "floor x",
    "floordiv": f"floor_divide {_ARITHMETIC}",
    "floormod": f"mod {_ARITHMETIC}",
    "gather": "take params:x indices axis",
    "gelu": "gelu features:x approximate",
    "getitem": "get_item tensor:x slice_spec:key",
    "greater": f"greater {_ARITHMETIC}",
    "greater_equal": f"greater_equal {_ARITHMETIC}",
    "identity": "copy input:x",
    "l2_normalize": "normalize x axis epsilon",
    "leaky_relu": "leaky_relu features:x alpha:negative_slope",
    "less": f"less {_ARITHMETIC}",
    "less_equal": f"less_equal {_ARITHMETIC}",
    "log": "log x",
    "log1p": "log1p x",
    "log_sigmoid": "log_sigmoid x",
    "log_softmax": "log_softmax logits:x axis",
    "logical_and": f"logical_and {_ARITHMETIC}",
    "logical_not": "logical_not x",
    "logical_or": f"logical_or {_ARITHMETIC}",
    "matmul": "matmul a:x1 b:x2",
    "maximum": f"maximum {_ARITHMETIC}",
    "minimum": f"minimum {_ARITHMETIC}",
    "multiply": f"multiply {_ARITHMETIC}",
    "ne": "not_equal self:x1 other:x2",
    "negative": "negative x",
    "norm": "norm tensor:x ord axis keepdims",
    "not_equal": f"not_equal {_ARITHMETIC}",
    "one_hot": "one_hot indices:x depth:num_classes axis dtype",
    "ones_like": "ones_like input:x dtype",
    "pad": "pad tensor:x paddings:pad_width mode constant_values",
    "pow": f"power {_ARITHMETIC}",
    "reciprocal": "reciprocal x",
    "reduce_all": f"all {_REDUCTION}",
    "reduce_any": f"any {_REDUCTION}",
    "reduce_logsumexp": f"logsumexp {_REDUCTION}",
    "reduce_max": f"max {_REDUCTION}",
    "reduce_mean": f"mean {_REDUCTION}",
    "reduce_min": f"min {_REDUCTION}",
    "reduce_prod": f"prod {_REDUCTION}",
    "reduce_std": f"std {_REDUCTION}",
    "reduce_sum": f"sum {_REDUCTION}",
    "reduce_variance": f"var {_REDUCTION}",
    "relu": "relu features:x",
    "relu6": "relu6 features:x",
    "repeat": "repeat input:x repeats axis",
    "reshape": "reshape tensor:x shape:newshape",
    "resize": "resize images size method:interpolation antialias",
    "reverse": "flip tensor:x axis",
    "rgb_to_grayscale": "rgb_to_grayscale images",
    "roll": "roll input:x shift axis",
    "round": "round x",
    "rsqrt": "rsqrt x",
    "selu": "selu features:x",
    "sigmoid": "sigmoid x",
    "sign": "sign x",
    "silu": "silu features:x",
    "sin": "sin x",
    "sinh": "sinh x",
    "softmax": "softmax logits:x axis",
    "softplus": "softplus features:x",
    "softsign": "softsign features:x",
    "split": "split value:x num_or_size_splits:indices_or_sections axis",
    "sqrt": "sqrt x",
    "square": "square x",
    "squeeze": "squeeze input:x axis",
    "stack": "stack values:x axis",
    "stop_gradient": "stop_gradient input:variable",
    "subtract": f"subtract {_ARITHMETIC}",
    "swish": "silu features:x",
    "tan": "tan x",
    "tanh": "tanh x",
    "tensordot": "tensordot a:x1 b:x2 axes",
    "tile": "tile input:x multiples:repeats",
    "transpose": "transpose a:x perm:axes",
    "truediv": f"true_divide {_ARITHMETIC}",
    "unstack": "unstack value:x num axis",
    "where": "where condition x:x1 y:x2",
    "zeros_like": "zeros_like input:x dtype",
}

_MODULES = ("", "__operators__", "image", "linalg", "math", "nn")  # those of strings and of sparse tensors are others

# Arguments that TensorFlow has besides, with what they say where they say nothing.
_SILENT: Mapping[str, Any] = {
    "adjoint_a": False, "adjoint_b": False, "a_is_sparse": False, "b_is_sparse": False, "batch_dims": 0, "beta": 1.0,
    "conjugate": False, "exclusive": False, "output_type": "int64", "preserve_aspect_ratio": False, "reverse": False,
    "transpose_a": False, "transpose_b": False, "grad": False, "layout": None,
}  # fmt: skip


def function_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The operation that a layer of TensorFlow's functions has become; its calls are still to be read.

    Raises:
        ValueError: There is none.
    """
    config = entry.get("config") or {}
    name = entry.get("name") or config.get("name")
    call = (
        function_of_node(config)
        if entry["class_name"] == "TensorFlowOpLayer"
        else FunctionCall(str(config.get("function")))
    )
    operation = _row(call.name)[0]
    made = {"module": "keras.ops", "class_name": operation, "config": {"name": name}, "registered_name": None}
    return {**entry, **made, "name": name, FUNCTION: call}


def function_call(call: FunctionCall, first: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """A call of the function as one of the operation.

    Raises:
        ValueError: It has arguments with which the operation cannot be asked.
    """
    operation, names = _row(call.name)
    given: dict[str, Any]
    if call.inputs:
        values = list(first) if isinstance(first, list) else [first]
        for place in sorted(call.constants):
            values.insert(place, call.constants[place])
        given = dict(zip(call.inputs, values, strict=False)) | dict(call.attributes)
    else:
        given = {next(iter(names)): first, **keywords, **call.attributes}
    given.pop("name", None)
    arguments = {}
    for name, value in given.items():
        if name in names:
            arguments[names[name]] = value
        elif value not in (None, _SILENT.get(name)):
            raise ValueError(
                f"The model's graph calls TensorFlow's function {call.name!r} with {name}={value!r}, which "
                f"`ops.{operation}` does not take. {ADVICE}"
            )
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return {"args": [], "kwargs": _CONVERTED.get(operation, dict)(arguments)}


def _row(name: str) -> tuple[str, dict[str, str]]:
    """The operation, and its names for the function's arguments."""
    module, _, function = name.removeprefix("compat.v1.").rpartition(".")
    row = _FUNCTIONS.get(function) if module in _MODULES else None
    if row is None:
        raise ValueError(
            f"The model's graph calls TensorFlow's function {name!r}, for which triarch has no counterpart. {ADVICE}"
        )
    operation, *pairs = row.split()
    return operation, {pair.partition(":")[0]: pair.rpartition(":")[2] for pair in pairs}


# Arguments that are said in another way.


def _sliced(arguments: dict[str, Any]) -> dict[str, Any]:
    key = arguments["key"]
    parts = [_slice(part) for part in (key if isinstance(key, list) else [key])]
    return {**arguments, "key": {"class_name": "__tuple__", "config": {"value": parts}}}


def _slice(part: Any) -> Any:
    if isinstance(part, dict) and part.keys() <= {"start", "stop", "step"}:
        cut = {name: part.get(name) for name in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": cut}
    if isinstance(part, dict) and part.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    if part is None or type(part) is int:
        return part
    raise ValueError(f"The model's graph cuts a tensor at places that it computes. {ADVICE} Received: {part!r}")


def _splitted(arguments: dict[str, Any]) -> dict[str, Any]:
    parts = arguments["indices_or_sections"]
    return {**arguments, "indices_or_sections": list(accumulate(parts))[:-1] if isinstance(parts, list) else parts}


def _lower(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def converted(arguments: dict[str, Any]) -> dict[str, Any]:
        value = arguments.get(name)
        return {**arguments, name: value.lower()} if isinstance(value, str) else arguments

    return converted


def _normalized(arguments: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow bounds the square of the norm, Keras the norm."""
    return {"axis": -1, **arguments, "epsilon": float(arguments.get("epsilon", 1e-12)) ** 0.5}


def _taken(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"axis": 0, **arguments}


def _euclidean(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if (name, value) != ("ord", "euclidean")}


def _gelu(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"approximate": False, **arguments}


_CONVERTED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "get_item": _sliced,
    "split": _splitted,
    "pad": _lower("mode"),
    "resize": _lower("interpolation"),
    "normalize": _normalized,
    "take": _taken,
    "argmax": _taken,
    "argmin": _taken,
    "cumsum": _taken,
    "gelu": _gelu,
    "norm": _euclidean,
}
