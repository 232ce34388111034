"""What Keras 2 called things, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Change(NamedTuple):
    """What became of a class of Keras 2."""

    name: str | None = None  # its name, where that is another one
    renamed: Mapping[str, str] = _NOTHING  # arguments
    dropped: tuple[str, ...] = ()  # arguments that say nothing more
    added: Mapping[str, Any] = _NOTHING  # arguments that it had without saying so; the file's own come first
    only: Mapping[str, Any] = _NOTHING  # arguments of which only this value has a counterpart
    sole: tuple[str, ...] = ()  # arguments that stood in a list of one


_NORMALIZATION = Change(
    "BatchNormalization",
    dropped=("fused", "virtual_batch_size", "adjustment", "renorm_clipping", "renorm_momentum", "synchronized"),
    only={"renorm": False},
    sole=("axis",),
)
_CONVOLUTION_OF_DEPTHS = Change(dropped=("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"))
_TRANSPOSED = Change(only={"groups": 1})
_SPATIAL_DROPOUT = Change(dropped=("trainable", "noise_shape"))
_RECURRENT = Change(dropped=("implementation",), only={"time_major": False})
_CONVOLUTIONAL_RECURRENT = _RECURRENT._replace(dropped=("implementation", "unroll"))
_CUDNN_LSTM = Change(
    "LSTM", dropped=("implementation",), added={"recurrent_activation": "sigmoid"}, only={"time_major": False}
)
_CUDNN_GRU = _CUDNN_LSTM._replace(name="GRU", added={"recurrent_activation": "sigmoid", "reset_after": True})

LAYERS: Mapping[str, Change] = {
    "BatchNormalization": _NORMALIZATION,
    "BatchNormalizationV1": _NORMALIZATION,
    "BatchNormalizationV2": _NORMALIZATION,
    "SyncBatchNormalization": _NORMALIZATION,
    "Bidirectional": Change(dropped=("weights",)),
    "ConvLSTM1D": _CONVOLUTIONAL_RECURRENT,
    "ConvLSTM2D": _CONVOLUTIONAL_RECURRENT,
    "ConvLSTM3D": _CONVOLUTIONAL_RECURRENT,
    "Conv1DTranspose": _TRANSPOSED,
    "Conv2DTranspose": _TRANSPOSED,
    "Conv3DTranspose": _TRANSPOSED,
    "CuDNNGRU": _CUDNN_GRU,
    "CuDNNLSTM": _CUDNN_LSTM,
    "DepthwiseConv1D": _CONVOLUTION_OF_DEPTHS._replace(dropped=(*_CONVOLUTION_OF_DEPTHS.dropped, "filters")),
    "DepthwiseConv2D": _CONVOLUTION_OF_DEPTHS._replace(dropped=(*_CONVOLUTION_OF_DEPTHS.dropped, "filters")),
    "Embedding": Change(dropped=("input_length", "activity_regularizer")),
    # Before it could reset after the product, the gate reset before it.
    "GRU": _RECURRENT._replace(added={"reset_after": False}),
    "GRUCell": Change(dropped=("implementation",), added={"reset_after": False}),
    "InputLayer": Change(renamed={"batch_input_shape": "batch_shape"}, dropped=("input_dtype", "type_spec")),
    "LSTM": _RECURRENT,
    "LSTMCell": Change(dropped=("implementation",)),
    "LeakyReLU": Change(renamed={"alpha": "negative_slope"}),
    "Model": Change("Functional"),
    "Network": Change("Functional"),
    "RNN": _RECURRENT,
    "SeparableConv1D": _CONVOLUTION_OF_DEPTHS,
    "SeparableConv2D": _CONVOLUTION_OF_DEPTHS,
    "SimpleRNN": _RECURRENT,
    "SimpleRNNCell": Change(dropped=("implementation",)),
    "SpatialDropout1D": _SPATIAL_DROPOUT,
    "SpatialDropout2D": _SPATIAL_DROPOUT,
    "SpatialDropout3D": _SPATIAL_DROPOUT,
    "ThresholdedReLU": Change("ReLU", renamed={"theta": "threshold"}),
}

# Layers that take a series and their first states as one list of inputs.
WITH_STATES = frozenset(
    (
        "RNN",
        "SimpleRNN",
        "GRU",
        "LSTM",
        "CuDNNGRU",
        "CuDNNLSTM",
        "ConvLSTM1D",
        "ConvLSTM2D",
        "ConvLSTM3D",
        "Bidirectional",
    )
)
# Models whose own graph Keras 2 counts as their first call, and Keras 3 does not.
COUNTED_FROM_ONE = frozenset(("Sequential",))

# What a truncated normal distribution was called.
DISTRIBUTIONS: Mapping[str, str] = {"normal": "truncated_normal"}

ACTIVATIONS: Mapping[str, str] = {"hard_sigmoid": "hard_sigmoid_of_keras_2", "softmax_v2": "softmax"}

OPTIMIZERS = Change(
    renamed={"lr": "learning_rate"},
    dropped=("is_legacy_optimizer", "jit_compile", "schedule_decay"),
)
# Names of losses and metrics that are gone.
SCORES: Mapping[str, str] = {"cosine": "cosine_similarity", "cosine_proximity": "cosine_similarity"}
REDUCTIONS: Mapping[str, str] = {"auto": "sum_over_batch_size"}

# Where a nested object of a config belongs, by the end of its key.
FAMILIES: Mapping[str, str] = {
    "initializer": "keras.initializers",
    "regularizer": "keras.regularizers",
    "constraint": "keras.constraints",
    "learning_rate": "keras.optimizers.schedules",
}
