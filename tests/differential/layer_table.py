"""Which layers a program may hold: for each rank of tensors, how their arguments are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int | None, ...]
Drawer = Callable[[np.random.Generator, Shape], dict[str, Any]]


@dataclass(frozen=True)
class LayerSpec:
    """A layer by name and arguments (which may hold layers), or a function of `ops` (`"ops.mean"`), or an operator."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self, k: Any) -> Any:
        """The layer or function, of library `k`."""
        if self.name == "slice":
            part = slice(self.arguments["start"], None, self.arguments["step"])
            return lambda x: x[:, part]
        if self.name == "line":
            return lambda x: self.arguments["slope"] * x - self.arguments["offset"]
        if self.name == "Sequential":
            return k.Sequential([part.make(k) for part in self.arguments["layers"]])
        arguments = {name: _made(value, k) for name, value in self.arguments.items()}
        if self.name.startswith("ops."):
            function = getattr(k.ops, self.name.removeprefix("ops."))
            return lambda *tensors: function(*tensors, **arguments)
        return getattr(k.layers, self.name)(**arguments)

    def apply(self, layer: Any, inputs: list[Any]) -> Any:
        """What the layer makes of the tensors."""
        if len(inputs) == 1:
            return layer(inputs[0])
        return layer(*inputs) if self.name.startswith("ops.") else layer(inputs)

    @property
    def is_random(self) -> bool:
        """Whether it draws numbers in training."""
        inner = [part for value in self.arguments.values() for part in (value if isinstance(value, list) else [value])]
        return (
            "Dropout" in self.name
            or self.name == "GaussianNoise"
            or any(name.endswith("dropout") and value for name, value in self.arguments.items())
            or any(isinstance(part, LayerSpec) and part.is_random for part in inner)
        )

    @property
    def takes_padding_in(self) -> bool:
        """Whether it, or the layer in it, normalises over masked steps in Keras."""
        inner = self.arguments.get("layer")
        return self.name == "GroupNormalization" or (isinstance(inner, LayerSpec) and inner.takes_padding_in)

    @property
    def makes_masks(self) -> bool:
        """Whether it, or a layer in it, makes masks."""
        inner = self.arguments.get("layer")
        is_masking = isinstance(inner, LayerSpec) and inner.makes_masks
        return is_masking or self.name == "Masking" or bool(self.arguments.get("mask_zero"))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"

    __repr__ = __str__


def _made(value: Any, k: Any) -> Any:
    if isinstance(value, LayerSpec):
        return value.make(k)
    return [_made(part, k) for part in value] if isinstance(value, list) else value


def _pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _units(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 6))


ACTIVATIONS = (
    "linear",
    "relu",
    "tanh",
    "sigmoid",
    "elu",
    "gelu",
    "softplus",
    "silu",
    "hard_sigmoid",
    "selu",
    "softsign",
)


def _activation(rng: np.random.Generator) -> str:
    return str(_pick(rng, *ACTIVATIONS))


def _dense(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "units": _units(rng),
        "activation": _activation(rng),
        "use_bias": bool(rng.random() < 0.8),
    }
    if rng.random() < 0.2:
        arguments["kernel_regularizer"] = _pick(rng, "l1", "l2", "l1_l2")
    if rng.random() < 0.1:
        arguments["activity_regularizer"] = "l2"
    if rng.random() < 0.1:
        arguments["kernel_constraint"] = _pick(rng, "non_neg", "max_norm", "unit_norm")
    return arguments


def _conv(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    strides, dilation = _pick(rng, (1, 1), (1, 1), (2, 1), (1, 2))
    paddings = ("valid", "same", "causal") if len(shape) == 3 else ("valid", "same")
    return {
        "filters": _units(rng),
        "kernel_size": int(rng.integers(1, 4)),
        "strides": strides,
        "dilation_rate": dilation,
        "padding": _pick(rng, *paddings),
        "activation": _activation(rng),
        "use_bias": bool(rng.random() < 0.8),
    }


def _grouped_conv(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    groups = [n for n in (2, 3) if shape[-1] is not None and shape[-1] % n == 0]
    return _conv(rng, shape) | ({"groups": (n := _pick(rng, *groups)), "filters": 2 * n} if groups else {})


def _depthwise(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {
        "kernel_size": int(rng.integers(1, 4)),
        "strides": _pick(rng, 1, 1, 2),
        "padding": _pick(rng, "valid", "same"),
    } | {
        "depth_multiplier": _pick(rng, 1, 2),
        "activation": _activation(rng),
    }


def _separable(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return _depthwise(rng, shape) | {"filters": _units(rng)}


def _transposed(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"filters": _units(rng), "kernel_size": int(rng.integers(1, 4)), "strides": _pick(rng, 1, 2)} | {
        "padding": _pick(rng, "valid", "same"),
        "activation": _activation(rng),
    }


def _pooling(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"pool_size": _pick(rng, 2, 3), "strides": _pick(rng, None, 1, 2), "padding": _pick(rng, "valid", "same")}


def _average_pooling(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    # Padded ones not: Keras on torch counts zeros of the padding; `test_kernels.py` has the definition.
    return _pooling(rng, shape) | {"padding": "valid"}


def _global_pooling(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"keepdims": bool(rng.random() < 0.3)}


def _recurrent(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    arguments: dict[str, Any] = {"units": _units(rng), "return_sequences": bool(rng.random() < 0.6)}
    for name, share, value in (
        ("go_backwards", 0.2, True),
        ("use_bias", 0.1, False),
        ("unroll", 0.05, True),
        ("zero_output_for_mask", 0.1, True),
        ("dropout", 0.05, 0.3),
        ("activation", 0.2, _activation(rng)),
        ("recurrent_regularizer", 0.1, "l2"),
    ):
        if rng.random() < share:
            arguments[name] = value
    return arguments


def _gru(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return _recurrent(rng, shape) | ({"reset_after": False} if rng.random() < 0.2 else {})


def _recurrent_spec(rng: np.random.Generator, shape: Shape) -> LayerSpec:
    name = _pick(rng, "LSTM", "GRU", "SimpleRNN")
    return LayerSpec(name, (_gru if name == "GRU" else _recurrent)(rng, shape))


def _bidirectional(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"layer": _recurrent_spec(rng, shape), "merge_mode": _pick(rng, "concat", "sum", "ave", "mul")}


def _cells(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    cells = [
        LayerSpec(_pick(rng, "LSTMCell", "GRUCell", "SimpleRNNCell"), {"units": _units(rng)})
        for _ in range(_pick(rng, 1, 2))
    ]
    return {"cell": cells if len(cells) > 1 else cells[0], "return_sequences": bool(rng.random() < 0.5)}


def _conv_lstm(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {
        "filters": int(rng.integers(1, 3)),
        "kernel_size": _pick(rng, 1, 2),
        "padding": _pick(rng, "valid", "same"),
    } | {"return_sequences": bool(rng.random() < 0.5)}


_NOT_INSIDE = {  # what Keras leaves out of `TimeDistributed`: losses of activity, masks that are made inside
    "ActivityRegularization",
    "Masking",
    "TimeDistributed",
    "Sequential",
}


def _time_distributed(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    inner = draw_layer(rng, (shape[0], *shape[2:]), with_functions=False, nested=True)
    inner = inner or LayerSpec("Dense", _dense(rng, shape))
    return {"layer": LayerSpec(inner.name, {k: v for k, v in inner.arguments.items() if k != "activity_regularizer"})}


def _batch_normalization(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"momentum": _pick(rng, 0.5, 0.99), "center": bool(rng.random() < 0.8), "scale": bool(rng.random() < 0.8)}


def _reshape(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    known = [size for size in shape[1:] if size is not None]
    order = [int(i) for i in rng.permutation(len(known))]
    return {"target_shape": _pick(rng, (-1,), tuple(known[i] for i in order), (*known, 1), (-1, known[-1]))}


def _permute(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    return {"dims": tuple(int(i) + 1 for i in rng.permutation(len(shape) - 1))}


def _nested(rng: np.random.Generator, shape: Shape) -> dict[str, Any]:
    units = [
        LayerSpec("Dense", _dense(rng, shape)),
        LayerSpec("BatchNormalization"),
        LayerSpec("Dense", _dense(rng, shape)),
    ]
    return {"layers": units[: rng.integers(1, 4)]}


def _fixed(*choices: dict[str, Any]) -> Drawer:
    return lambda rng, shape: dict(_pick(rng, *choices))


def _axis(rng: np.random.Generator, shape: Shape) -> int:
    return int(_pick(rng, -1, *range(1, len(shape))))


ANY_RANK: dict[str, Drawer] = {
    "Dense": _dense,
    "Activation": lambda rng, shape: {"activation": _activation(rng)},
    "ReLU": _fixed({}, {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}),
    "LeakyReLU": _fixed({}, {"negative_slope": 0.1}),
    "ELU": _fixed({}, {"alpha": 0.5}),
    "PReLU": _fixed({"alpha_initializer": "ones"}),
    "Softmax": lambda rng, shape: {"axis": _axis(rng, shape)},
    "Dropout": _fixed({"rate": 0.3}),
    "GaussianNoise": _fixed({"stddev": 0.3}),
    "GaussianDropout": _fixed({"rate": 0.3}),
    "AlphaDropout": _fixed({"rate": 0.3}),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _fixed({}, {"epsilon": 1e-5}),  # Keras on torch takes the last axes whatever `axis` says
    "RMSNormalization": _fixed({}),
    "UnitNormalization": _fixed({}),  # over steps, Keras takes masked ones in
    "GroupNormalization": _fixed({"groups": 1}, {"groups": -1}),  # as above: not behind masks
    "Identity": _fixed({}),
    "Rescaling": _fixed({"scale": 0.5, "offset": -0.2}),
    "ActivityRegularization": _fixed({"l1": 0.01, "l2": 0.02}),
    "Flatten": _fixed({}),
    "Reshape": _reshape,
    "Permute": _permute,
    "Sequential": _nested,
    "ops.relu": _fixed({}),
    "ops.mean": lambda rng, shape: {"axis": _axis(rng, shape), "keepdims": bool(rng.random() < 0.5)},
    "ops.max": lambda rng, shape: {"axis": _axis(rng, shape), "keepdims": bool(rng.random() < 0.5)},
    "ops.square": _fixed({}),
    "ops.softmax": _fixed({}),
    "ops.flip": lambda rng, shape: {"axis": _axis(rng, shape)},
    "ops.expand_dims": lambda rng, shape: {"axis": _axis(rng, shape)},
    "slice": _fixed({"start": 1, "step": 1}, {"start": 0, "step": 2}),
    "line": _fixed({"slope": 2.0, "offset": 0.5}),
}


def _of_rank(rank: int) -> dict[str, Drawer]:
    """The layers whose names end in a number of dimensions."""
    crop = {1: (1, 0), 2: ((1, 0), (0, 1)), 3: ((1, 0), (0, 1), (1, 1))}[rank]
    rows: dict[str, Drawer] = {
        f"Conv{rank}D": _conv if rank == 3 else _grouped_conv,
        f"Conv{rank}DTranspose": _transposed,
        f"MaxPooling{rank}D": _pooling,
        f"AveragePooling{rank}D": _average_pooling,
        f"GlobalMaxPooling{rank}D": _global_pooling,
        f"GlobalAveragePooling{rank}D": _global_pooling,
        f"ZeroPadding{rank}D": _fixed({"padding": 1}),
        f"Cropping{rank}D": _fixed({"cropping": crop}),
        f"UpSampling{rank}D": _fixed({"size": 2}),
        f"SpatialDropout{rank}D": _fixed({"rate": 0.3}),
    }
    if rank < 3:
        rows |= {f"DepthwiseConv{rank}D": _depthwise, f"SeparableConv{rank}D": _separable}
    return rows


_STEPS: dict[str, Drawer] = {"TimeDistributed": _time_distributed, "Masking": _fixed({}, {"mask_value": 0.0})}
OF_RANK: dict[int, dict[str, Drawer]] = {
    2: {"RepeatVector": _fixed({"n": 3})},
    3: {
        **_of_rank(1),
        **_STEPS,
        "LSTM": _recurrent,
        "GRU": _gru,
        "SimpleRNN": _recurrent,
        "Bidirectional": _bidirectional,
        "RNN": _cells,
    },
    4: {**_of_rank(2), **_STEPS, "ConvLSTM1D": _conv_lstm},
    5: {**_of_rank(3), **_STEPS, "ConvLSTM2D": _conv_lstm},
}

MERGING: dict[str, Callable[[np.random.Generator, int], dict[str, Any]]] = {
    **{name: lambda rng, rank: {} for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": lambda rng, rank: {"axis": int(_pick(rng, -1, *range(1, rank)))},
    "Dot": lambda rng, rank: {"axes": int(rng.integers(1, rank)), "normalize": bool(rng.random() < 0.3)},
    **{name: lambda rng, rank: {} for name in ("ops.add", "ops.multiply", "ops.maximum")},
}


def draw_layer(rng: np.random.Generator, shape: Shape, with_functions: bool, nested: bool = False) -> LayerSpec | None:
    """A layer or function for a tensor of this shape; half the time one that is for its rank alone."""
    own = OF_RANK.get(len(shape), {})
    table = own if own and rng.random() < 0.6 else ANY_RANK
    names = [name for name in table if with_functions or not (name.startswith("ops.") or name in ("slice", "line"))]
    if nested:
        names = [name for name in names if name not in _NOT_INSIDE]
    name = str(_pick(rng, *names)) if names else None
    return None if name is None else LayerSpec(name, table[name](rng, shape))


def draw_merging(rng: np.random.Generator, rank: int) -> LayerSpec:
    """A layer or function of two tensors of this rank."""
    name = str(_pick(rng, *MERGING))
    return LayerSpec(name, MERGING[name](rng, rank))
