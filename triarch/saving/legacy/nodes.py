"""Nodes of TensorFlow's graphs, of which Keras 2 made layers before it named functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

ADVICE = "Make the model in code, and take its weights from the file with `model.load_weights(path)`."

# Nodes of TensorFlow's graphs: the function, its inputs in their order, and the attributes that are arguments too.
_NODES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, str]]] = {
    **{
        node: (function, ("x", "y"), {})
        for node, function in {
            "Add": "add", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide", "Div": "divide",
            "FloorDiv": "floordiv", "FloorMod": "floormod", "Pow": "pow", "Maximum": "maximum", "Minimum": "minimum",
            "Equal": "equal", "NotEqual": "not_equal", "Greater": "greater", "GreaterEqual": "greater_equal",
            "Less": "less", "LessEqual": "less_equal", "LogicalAnd": "logical_and", "LogicalOr": "logical_or",
            "BiasAdd": "add",
        }.items()
    },
    **{
        node: (function, ("input_tensor", "axis"), {"keep_dims": "keepdims"})
        for node, function in {
            "Mean": "reduce_mean", "Sum": "reduce_sum", "Max": "reduce_max", "Min": "reduce_min", "Prod": "reduce_prod",
            "All": "reduce_all", "Any": "reduce_any",
        }.items()
    },
    **{
        node: (function, ("x",), {})
        for node, function in {
            "Abs": "abs", "Ceil": "ceil", "Cos": "cos", "Erf": "erf", "Exp": "exp", "Expm1": "expm1", "Floor": "floor",
            "Log": "log", "Log1p": "log1p", "LogicalNot": "logical_not", "Neg": "negative", "Reciprocal": "reciprocal",
            "Round": "round", "Rsqrt": "rsqrt", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sqrt": "sqrt",
            "Square": "square", "Tan": "tan", "Tanh": "tanh",
        }.items()
    },
    **{
        node: (node.lower(), ("features",), {}) for node in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign")
    },
    "ArgMax": ("argmax", ("input", "axis"), {}),
    "BatchMatMul": ("matmul", ("a", "b"), {"adj_x": "transpose_a", "adj_y": "transpose_b"}),
    "BatchMatMulV2": ("matmul", ("a", "b"), {"adj_x": "transpose_a", "adj_y": "transpose_b"}),
    "Cast": ("cast", ("x",), {"DstT": "dtype"}),
    "ClipByValue": ("clip_by_value", ("t", "clip_value_min", "clip_value_max"), {}),
    "ExpandDims": ("expand_dims", ("input", "axis"), {}),
    "GatherV2": ("gather", ("params", "indices", "axis"), {}),
    "Identity": ("identity", ("input",), {}),
    "LeakyRelu": ("leaky_relu", ("features",), {"alpha": "alpha"}),
    "LogSoftmax": ("log_softmax", ("logits",), {}),
    "MatMul": ("matmul", ("a", "b"), {"transpose_a": "transpose_a", "transpose_b": "transpose_b"}),
    "Reshape": ("reshape", ("tensor", "shape"), {}),
    "ResizeBilinear": ("resize", ("images", "size"), {}),
    "Softmax": ("softmax", ("logits",), {}),
    "Squeeze": ("squeeze", ("input",), {"squeeze_dims": "axis"}),
    "StopGradient": ("stop_gradient", ("input",), {}),
    "Tile": ("tile", ("input", "multiples"), {}),
    "Transpose": ("transpose", ("a", "perm"), {}),
}  # fmt: skip


class FunctionCall(NamedTuple):
    """A function of TensorFlow, and what of its arguments does not depend on the call."""

    name: str
    constants: Mapping[int, Any] = {}  # inputs by their place among the others, for nodes of TensorFlow's graphs
    inputs: tuple[str, ...] = ()  # what those are called
    attributes: Mapping[str, Any] = {}


def function_of_node(config: Mapping[str, Any]) -> FunctionCall:
    """The function that a node of TensorFlow's graph computes."""
    node = config.get("node_def")
    if isinstance(node, str):
        try:
            node = json.loads(node)
        except ValueError as error:
            raise ValueError(f"The model's graph holds a node of TensorFlow that cannot be read: {error}") from error
    node = node if isinstance(node, Mapping) else {}
    kind = str(node.get("op"))
    constants = {int(place): value for place, value in (config.get("constants") or {}).items()}
    raw = node.get("attr") or {}
    attributes = {name: _attribute(raw[name]) for name in raw if isinstance(raw[name], Mapping)}
    if kind == "StridedSlice":
        return FunctionCall("getitem", {1: _strided(constants, attributes)}, ("tensor", "slice_spec"))
    if kind in ("ConcatV2", "Pack"):
        axis = constants.get(max(constants, default=-1), 0) if kind == "ConcatV2" else attributes.get("axis", 0)
        return FunctionCall("concat" if kind == "ConcatV2" else "stack", attributes={"axis": axis})
    if kind not in _NODES:
        raise ValueError(
            f"The model's graph holds a node {kind!r} of TensorFlow, for which triarch has no counterpart. {ADVICE}"
        )
    function, inputs, arguments = _NODES[kind]
    said = {ours: attributes[theirs] for theirs, ours in arguments.items() if theirs in attributes}
    if function == "squeeze" and said.get("axis") == []:
        said = {}
    return FunctionCall(function, constants, inputs, said)


_TYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_INT32": "int32", "DT_INT64": "int64",
          "DT_UINT8": "uint8", "DT_BOOL": "bool", "DT_BFLOAT16": "bfloat16"}  # fmt: skip


def _attribute(value: Mapping[str, Any]) -> Any:
    """What an attribute of a node says, in JSON of protocol buffers."""
    if "list" in value:
        return [int(part) for part in value["list"].get("i", [])]
    if "i" in value:
        return int(value["i"])
    if "type" in value:
        return _TYPES.get(value["type"], value["type"])
    return value.get("b", value.get("f", value.get("s")))


def _strided(constants: Mapping[int, Any], attributes: Mapping[str, Any]) -> list[Any]:
    """The index that a node of TensorFlow's cuts with."""
    if not {1, 2, 3} <= constants.keys() or attributes.get("ellipsis_mask") or attributes.get("new_axis_mask"):
        raise ValueError(f"The model's graph cuts a tensor in a way that has no counterpart. {ADVICE}")

    def has(mask: str, place: int) -> bool:
        return bool(int(attributes.get(mask) or 0) >> place & 1)

    parts: list[Any] = []
    for place, (start, stop, step) in enumerate(zip(*(list(constants[index]) for index in (1, 2, 3)), strict=True)):
        if has("shrink_axis_mask", place):
            parts.append(start)
        else:
            ends = {
                "start": None if has("begin_mask", place) else start,
                "stop": None if has("end_mask", place) else stop,
            }
            parts.append({**ends, "step": step})
    return parts
