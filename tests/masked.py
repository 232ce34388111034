"""What tests of masks share: a table of layers, models with masks, and how these are called."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch

from triarch import Model, Sequential, layers

SIZES = {2: (3, 5), 3: (3, 5, 4), 4: (2, 3, 4, 4)}  # of inputs by the number of their axes
VECTORS = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)  # that of the padding is not zeros


def ids_of(rank: int) -> np.ndarray[Any, Any]:
    """Numbers with padding behind, before and inside of series."""
    numbers = np.random.default_rng(rank).integers(1, 9, SIZES[rank])
    numbers[0, 3:], numbers[1, 0], numbers[1, 2] = 0, 0, 0
    if rank > 2:
        numbers[1, 1, 2:] = 0
    return numbers


class Fate(Enum):
    PASSES = "the outputs carry the mask"
    ENDS = "the outputs carry none, as they have no steps any more"
    LOST = "the outputs carry none, and a warning says so"


PASSES, ENDS, LOST = Fate


class Row(NamedTuple):
    """What becomes of the mask of an embedding behind a layer.

    Args:
        rank: Axes of the numbers that are embedded.
        keras: Whether Keras gives the same.
    """

    make: Callable[[Any], Any]
    fate: Fate = PASSES
    rank: int = 2
    keras: bool = True


def spectral(library: Any) -> Any:
    return library.SpectralNormalization(library.Dense(3))


def network() -> Any:
    return Sequential([layers.Lambda(lambda x: x.flatten(1), output_shape=(80,)), layers.Dense(6)])


def distributed(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda library: library.TimeDistributed(inner(library))


def cells(library: Any) -> Any:
    return library.RNN([library.LSTMCell(2), library.GRUCell(3)], return_sequences=True)


ALL = {"return_sequences": True}
TABLE = {
    "Activation": Row(lambda k: k.Activation("tanh")),
    "Activation softmax": Row(lambda k: k.Activation("softmax")),
    "ReLU": Row(lambda k: k.ReLU()),
    "LeakyReLU": Row(lambda k: k.LeakyReLU()),
    "ELU": Row(lambda k: k.ELU()),
    "PReLU": Row(lambda k: k.PReLU(shared_axes=[1])),
    "ActivityRegularization": Row(lambda k: k.ActivityRegularization(l1=0.1)),
    "Dropout": Row(lambda k: k.Dropout(0.5)),
    "AlphaDropout": Row(lambda k: k.AlphaDropout(0.5)),
    "GaussianDropout": Row(lambda k: k.GaussianDropout(0.5)),
    "GaussianNoise": Row(lambda k: k.GaussianNoise(0.5)),
    "SpatialDropout1D": Row(lambda k: k.SpatialDropout1D(0.5)),
    "SpatialDropout2D": Row(lambda k: k.SpatialDropout2D(0.5), rank=3),
    "SpatialDropout3D": Row(lambda k: k.SpatialDropout3D(0.5), rank=4),
    "Dense": Row(lambda k: k.Dense(3, "softmax")),
    "Dense of rank 3": Row(lambda k: k.Dense(3), rank=3),
    "Identity": Row(lambda k: k.Identity()),
    "Rescaling": Row(lambda k: k.Rescaling(2.0, 1.0)),
    "Normalization": Row(lambda k: k.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4])),
    "BatchNormalization": Row(lambda k: k.BatchNormalization()),
    "BatchNormalization of rank 3": Row(lambda k: k.BatchNormalization(), rank=3),
    "LayerNormalization": Row(lambda k: k.LayerNormalization()),
    "UnitNormalization": Row(lambda k: k.UnitNormalization()),
    "SpectralNormalization": Row(spectral, keras=False),
    "TimeDistributed without masks": Row(distributed(lambda k: k.Conv1D(2, 2)), rank=3, keras=False),
    "TimeDistributed of a model": Row(
        lambda k: k.TimeDistributed(Sequential([layers.Dense(3), layers.GlobalAveragePooling1D()])), rank=3, keras=False
    ),
    "LSTM": Row(lambda k: k.LSTM(3, **ALL)),
    "GRU": Row(lambda k: k.GRU(3, **ALL)),
    "GRU with zeros": Row(lambda k: k.RNN(k.GRUCell(3), zero_output_for_mask=True, **ALL)),
    "SimpleRNN": Row(lambda k: k.SimpleRNN(3, **ALL)),
    "RNN": Row(cells),
    "Bidirectional": Row(lambda k: k.Bidirectional(k.LSTM(3, **ALL))),
    "Bidirectional, added": Row(lambda k: k.Bidirectional(k.GRU(3, **ALL), merge_mode="sum")),
    "TimeDistributed": Row(distributed(lambda k: k.Dense(2))),
    "TimeDistributed of a hierarchy": Row(distributed(lambda k: k.Dense(2)), rank=3),
    # By the definition, where Keras stops or takes padding in.
    "LSTM backwards": Row(lambda k: k.LSTM(3, go_backwards=True, **ALL), keras=False),
    "Softmax": Row(lambda k: k.Softmax(), keras=False),
    "Softmax over steps": Row(lambda k: k.Softmax(axis=1), keras=False),
    "Softmax over both": Row(lambda k: k.Softmax(axis=(1, 2)), keras=False),
    "GroupNormalization": Row(lambda k: k.GroupNormalization(2), keras=False),
    "LayerNormalization over steps": Row(
        lambda k: k.LayerNormalization([1, 2], center=False, scale=False), keras=False
    ),
    "UnitNormalization over steps": Row(lambda k: k.UnitNormalization(1), keras=False),
    "TimeDistributed recurrence": Row(distributed(lambda k: k.LSTM(3)), rank=3, keras=False),
    "TimeDistributed recurrence, all": Row(distributed(lambda k: k.LSTM(3, **ALL)), rank=3, keras=False),
    "TimeDistributed mean": Row(distributed(lambda k: k.GlobalAveragePooling1D()), rank=3, keras=False),
    "ConvLSTM1D": Row(lambda k: k.ConvLSTM1D(2, 2, **ALL), rank=3, keras=False),
    "ConvLSTM2D": Row(lambda k: k.ConvLSTM2D(2, 2, **ALL), rank=4, keras=False),
    "Residual": Row(lambda k: layers.Residual([layers.LSTM(4, **ALL), layers.Dense(4)]), keras=False),
    "Residual, wider": Row(lambda k: layers.Residual([layers.Dense(6)], scale="rezero"), keras=False),
    "Residual, zeros": Row(lambda k: layers.Residual(layers.Dense(6), "zero_pad", activation="relu"), keras=False),
    "Residual, normalised": Row(lambda k: layers.Residual([layers.Dense(4), layers.BatchNormalization()]), keras=False),
    # The steps are gone, or one output stands for all.
    "LSTM, last": Row(lambda k: k.LSTM(3), ENDS),
    "GRU, last": Row(lambda k: k.GRU(3), ENDS),
    "SimpleRNN, last": Row(lambda k: k.SimpleRNN(3), ENDS),
    "LSTM backwards, last": Row(lambda k: k.LSTM(3, go_backwards=True), ENDS),
    "Bidirectional, last": Row(lambda k: k.Bidirectional(k.GRU(3)), ENDS),
    "GlobalAveragePooling1D": Row(lambda k: k.GlobalAveragePooling1D(), ENDS),
    "GlobalAveragePooling1D, kept": Row(lambda k: k.GlobalAveragePooling1D(keepdims=True), ENDS),
    "ConvLSTM1D, last": Row(lambda k: k.ConvLSTM1D(2, 2), ENDS, rank=3, keras=False),
    "ConvLSTM2D, last": Row(lambda k: k.ConvLSTM2D(2, 2), ENDS, rank=4, keras=False),
    # Layers without masks.
    "Conv1D": Row(lambda k: k.Conv1D(2, 2, padding="same"), LOST),
    "Conv1DTranspose": Row(lambda k: k.Conv1DTranspose(2, 2), LOST),
    "DepthwiseConv1D": Row(lambda k: k.DepthwiseConv1D(2), LOST),
    "SeparableConv1D": Row(lambda k: k.SeparableConv1D(2, 2), LOST),
    "Conv2D": Row(lambda k: k.Conv2D(2, 2), LOST, rank=3),
    "Conv2DTranspose": Row(lambda k: k.Conv2DTranspose(2, 2), LOST, rank=3),
    "DepthwiseConv2D": Row(lambda k: k.DepthwiseConv2D(2), LOST, rank=3),
    "SeparableConv2D": Row(lambda k: k.SeparableConv2D(2, 2), LOST, rank=3),
    "Conv3D": Row(lambda k: k.Conv3D(2, 2), LOST, rank=4),
    "Conv3DTranspose": Row(lambda k: k.Conv3DTranspose(2, 2), LOST, rank=4),
    **{
        f"{kind}Pooling{rank - 1}D": Row(
            lambda k, kind=kind, r=rank: getattr(k, f"{kind}Pooling{r - 1}D")(), LOST, rank=rank
        )
        for kind, rank in itertools.product(("GlobalMax", "GlobalAverage"), (2, 3, 4))
        if (kind, rank) != ("GlobalAverage", 2)
    },
    **{
        f"{kind}Pooling{r - 1}D": Row(lambda k, kind=kind, r=r: getattr(k, f"{kind}Pooling{r - 1}D")(2), LOST, rank=r)
        for kind, r in itertools.product(("Max", "Average"), (2, 3, 4))
    },
    "Flatten": Row(lambda k: k.Flatten(), LOST),
    "Reshape": Row(lambda k: k.Reshape((2, -1)), LOST, rank=3),
    "Permute": Row(lambda k: k.Permute((2, 1)), LOST),
    "Cropping1D": Row(lambda k: k.Cropping1D(1), LOST),
    "Cropping2D": Row(lambda k: k.Cropping2D(1), LOST, rank=3),
    "Cropping3D": Row(lambda k: k.Cropping3D(1), LOST, rank=4),
    "ZeroPadding1D": Row(lambda k: k.ZeroPadding1D(1), LOST),
    "ZeroPadding2D": Row(lambda k: k.ZeroPadding2D(1), LOST, rank=3),
    "ZeroPadding3D": Row(lambda k: k.ZeroPadding3D(1), LOST, rank=4),
    "UpSampling1D": Row(lambda k: k.UpSampling1D(2), LOST),
    "UpSampling2D": Row(lambda k: k.UpSampling2D(2), LOST, rank=3),
    "UpSampling3D": Row(lambda k: k.UpSampling3D(2), LOST, rank=4),
    "RMSNormalization": Row(lambda k: k.RMSNormalization(), LOST),
    "Lambda": Row(lambda k: k.Lambda(lambda x: x * 2, output_shape=(None, 4)), LOST),
    "Resizing": Row(lambda k: k.Resizing(3, 3), LOST, rank=3),
    "CenterCrop": Row(lambda k: k.CenterCrop(3, 3), LOST, rank=3),
    "TorchModuleWrapper": Row(lambda k: k.TorchModuleWrapper(torch.nn.Tanh(), output_shape=(None, 5, 4)), LOST),
    "SpatialTransformer": Row(lambda k: layers.SpatialTransformer(network()), LOST, rank=3, keras=False),
}
# Layers that stand elsewhere than behind an embedding.
ELSEWHERE = {
    **dict.fromkeys(
        ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"), "of several"
    ),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"), "a step"),
    **dict.fromkeys(("Lookup", "StringLookup", "IntegerLookup", "Hashing", "TextVectorization"), "of tokens"),
    **dict.fromkeys(("AffineGrid", "GridSample", "CutMix", "MixUp"), "of images with more beside them"),
    **dict.fromkeys(
        ("InputLayer", "Layer", "Embedding", "Masking", "Pipeline", "RepeatVector", "ConvLSTM3D"), "see below"
    ),
}


def embedding(library: Any, rank: int, variable: bool = False) -> tuple[Any, Any]:
    """Symbolic numbers and their vectors, which carry a mask."""
    names = library.Input((None,) * (rank - 1) if variable else SIZES[rank][1:], dtype="int32")
    return names, library.layers.Embedding(9, 4, mask_zero=True)(names)


def model_of(library: Any, row: Row, variable: bool = False) -> Any:
    names, vectors = embedding(library, row.rank, variable)
    return library.Model(names, row.make(library.layers)(vectors))


def filled(model: Any) -> Any:
    """A model whose weights are all of one series of numbers; variances stay positive."""
    rng = np.random.default_rng(5)
    weights = [np.abs(rng.normal(size=own.shape)).astype(np.float32) for own in model.get_weights()]
    model.set_weights([VECTORS, *weights[1:]])
    return model


def called(model: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any, list[str]]:
    """The outputs, their mask, and what was said meanwhile of masks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outputs = model(*args, **kwargs)
    said = [str(warning.message) for warning in caught if "mask" in str(warning.message)]
    return outputs, getattr(outputs, "_keras_mask", None), said


def expected_mask(row: Row, ids: Any, outputs: Any) -> Any:
    counts = torch.from_numpy(ids != 0)
    while counts.ndim > outputs.ndim - 1 or counts.shape != outputs.shape[: counts.ndim]:
        counts = counts.any(-1)
    return counts.flip(1) if getattr(row.make(layers), "go_backwards", False) else counts


@contextlib.contextmanager
def quiet() -> Any:
    """Warnings of trial runs are those of calls, which are looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


SEQUENCES = {
    "recurrence": lambda k: [k.LSTM(3, **ALL), k.GRU(3)],
    "both directions": lambda k: [k.Bidirectional(k.LSTM(3, **ALL)), k.Bidirectional(k.GRU(2)), k.Dense(2)],
    "mean of dense": lambda k: [k.Dense(5, "tanh"), k.Dropout(0.2), k.LayerNormalization(), k.GlobalAveragePooling1D()],
    "steps": lambda k: [k.BatchNormalization(), k.TimeDistributed(k.Dense(3)), k.GRU(3, **ALL), k.Dense(2)],
}
SERIES = np.random.default_rng(1).normal(size=(3, 4, 4)).astype(np.float32)
SERIES[1, 2:] = 0
SERIES[2, 1] = 0
COUNTS = (SERIES != 0).any(-1)


def stack(library: Any, kind: str) -> Any:
    """A model of these layers behind masking."""
    return library.Sequential([library.Input((None, 4)), library.layers.Masking(), *SEQUENCES[kind](library.layers)])


class Chain(Model):
    """Layers in a call of one's own."""

    def __init__(self, chain: list[Any]) -> None:
        super().__init__()
        self.chain = chain

    def call(self, inputs: Any) -> Any:
        return through(self.chain, inputs)


def through(chain: list[Any], inputs: Any) -> Any:
    for layer in chain:
        inputs = layer(inputs)
    return inputs


def filled_stack(model: Any) -> Any:
    rng = np.random.default_rng(5)
    model.set_weights([np.abs(rng.normal(size=own.shape)).astype(np.float32) / 2 for own in model.get_weights()])
    return model
