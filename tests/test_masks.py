"""Masks through every layer: who takes, passes on, ends or loses them, beside Keras and by what a mask means.

What a mask means: steps that do not count change nothing. A series gives the same numbers with padding behind it, before
it or inside it, and without any.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import triarch
from triarch import Input, Model, Sequential, layers, ops

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
    "Activation": Row(lambda l: l.Activation("tanh")),
    "Activation softmax": Row(lambda l: l.Activation("softmax")),
    "ReLU": Row(lambda l: l.ReLU()),
    "LeakyReLU": Row(lambda l: l.LeakyReLU()),
    "ELU": Row(lambda l: l.ELU()),
    "PReLU": Row(lambda l: l.PReLU(shared_axes=[1])),
    "ActivityRegularization": Row(lambda l: l.ActivityRegularization(l1=0.1)),
    "Dropout": Row(lambda l: l.Dropout(0.5)),
    "AlphaDropout": Row(lambda l: l.AlphaDropout(0.5)),
    "GaussianDropout": Row(lambda l: l.GaussianDropout(0.5)),
    "GaussianNoise": Row(lambda l: l.GaussianNoise(0.5)),
    "SpatialDropout1D": Row(lambda l: l.SpatialDropout1D(0.5)),
    "SpatialDropout2D": Row(lambda l: l.SpatialDropout2D(0.5), rank=3),
    "SpatialDropout3D": Row(lambda l: l.SpatialDropout3D(0.5), rank=4),
    "Dense": Row(lambda l: l.Dense(3, "softmax")),
    "Dense of rank 3": Row(lambda l: l.Dense(3), rank=3),
    "Identity": Row(lambda l: l.Identity()),
    "Rescaling": Row(lambda l: l.Rescaling(2.0, 1.0)),
    "Normalization": Row(lambda l: l.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4])),
    "BatchNormalization": Row(lambda l: l.BatchNormalization()),
    "BatchNormalization of rank 3": Row(lambda l: l.BatchNormalization(), rank=3),
    "LayerNormalization": Row(lambda l: l.LayerNormalization()),
    "UnitNormalization": Row(lambda l: l.UnitNormalization()),
    "SpectralNormalization": Row(spectral, keras=False),
    "LSTM": Row(lambda l: l.LSTM(3, **ALL)),
    "GRU": Row(lambda l: l.GRU(3, **ALL)),
    "GRU with zeros": Row(lambda l: l.RNN(l.GRUCell(3), zero_output_for_mask=True, **ALL)),
    "SimpleRNN": Row(lambda l: l.SimpleRNN(3, **ALL)),
    "RNN": Row(cells),
    "Bidirectional": Row(lambda l: l.Bidirectional(l.LSTM(3, **ALL))),
    "Bidirectional, added": Row(lambda l: l.Bidirectional(l.GRU(3, **ALL), merge_mode="sum")),
    "TimeDistributed": Row(distributed(lambda l: l.Dense(2))),
    "TimeDistributed of a hierarchy": Row(distributed(lambda l: l.Dense(2)), rank=3),
    # By the definition, where Keras stops or takes padding in.
    "LSTM backwards": Row(lambda l: l.LSTM(3, go_backwards=True, **ALL), keras=False),
    "Softmax": Row(lambda l: l.Softmax(), keras=False),
    "Softmax over steps": Row(lambda l: l.Softmax(axis=1), keras=False),
    "Softmax over both": Row(lambda l: l.Softmax(axis=(1, 2)), keras=False),
    "GroupNormalization": Row(lambda l: l.GroupNormalization(2), keras=False),
    "LayerNormalization over steps": Row(lambda l: l.LayerNormalization([1, 2], center=False, scale=False), keras=False),
    "UnitNormalization over steps": Row(lambda l: l.UnitNormalization(1), keras=False),
    "TimeDistributed recurrence": Row(distributed(lambda l: l.LSTM(3)), rank=3, keras=False),
    "TimeDistributed recurrence, all": Row(distributed(lambda l: l.LSTM(3, **ALL)), rank=3, keras=False),
    "TimeDistributed mean": Row(distributed(lambda l: l.GlobalAveragePooling1D()), rank=3, keras=False),
    "ConvLSTM1D": Row(lambda l: l.ConvLSTM1D(2, 2, **ALL), rank=3, keras=False),
    "ConvLSTM2D": Row(lambda l: l.ConvLSTM2D(2, 2, **ALL), rank=4, keras=False),
    "Residual": Row(lambda l: layers.Residual([layers.LSTM(4, **ALL), layers.Dense(4)]), keras=False),
    "Residual, wider": Row(lambda l: layers.Residual([layers.Dense(6)], scale="rezero"), keras=False),
    "Residual, zeros": Row(lambda l: layers.Residual(layers.Dense(6), "zero_pad", activation="relu"), keras=False),
    "Residual, normalised": Row(lambda l: layers.Residual([layers.Dense(4), layers.BatchNormalization()]), keras=False),
    # The steps are gone, or one output stands for all.
    "LSTM, last": Row(lambda l: l.LSTM(3), ENDS),
    "GRU, last": Row(lambda l: l.GRU(3), ENDS),
    "SimpleRNN, last": Row(lambda l: l.SimpleRNN(3), ENDS),
    "LSTM backwards, last": Row(lambda l: l.LSTM(3, go_backwards=True), ENDS),
    "Bidirectional, last": Row(lambda l: l.Bidirectional(l.GRU(3)), ENDS),
    "GlobalAveragePooling1D": Row(lambda l: l.GlobalAveragePooling1D(), ENDS),
    "GlobalAveragePooling1D, kept": Row(lambda l: l.GlobalAveragePooling1D(keepdims=True), ENDS),
    "ConvLSTM1D, last": Row(lambda l: l.ConvLSTM1D(2, 2), ENDS, rank=3, keras=False),
    "ConvLSTM2D, last": Row(lambda l: l.ConvLSTM2D(2, 2), ENDS, rank=4, keras=False),
    # Layers without masks.
    "Conv1D": Row(lambda l: l.Conv1D(2, 2, padding="same"), LOST),
    "Conv1DTranspose": Row(lambda l: l.Conv1DTranspose(2, 2), LOST),
    "DepthwiseConv1D": Row(lambda l: l.DepthwiseConv1D(2), LOST),
    "SeparableConv1D": Row(lambda l: l.SeparableConv1D(2, 2), LOST),
    "Conv2D": Row(lambda l: l.Conv2D(2, 2), LOST, rank=3),
    "Conv2DTranspose": Row(lambda l: l.Conv2DTranspose(2, 2), LOST, rank=3),
    "DepthwiseConv2D": Row(lambda l: l.DepthwiseConv2D(2), LOST, rank=3),
    "SeparableConv2D": Row(lambda l: l.SeparableConv2D(2, 2), LOST, rank=3),
    "Conv3D": Row(lambda l: l.Conv3D(2, 2), LOST, rank=4),
    "Conv3DTranspose": Row(lambda l: l.Conv3DTranspose(2, 2), LOST, rank=4),
    **{
        f"{kind}Pooling{rank - 1}D": Row(lambda l, k=kind, r=rank: getattr(l, f"{k}Pooling{r - 1}D")(), LOST, rank=rank)
        for kind, rank in itertools.product(("GlobalMax", "GlobalAverage"), (2, 3, 4))
        if (kind, rank) != ("GlobalAverage", 2)
    },
    **{
        f"{kind}Pooling{r - 1}D": Row(lambda l, k=kind, r=r: getattr(l, f"{k}Pooling{r - 1}D")(2), LOST, rank=r)
        for kind, r in itertools.product(("Max", "Average"), (2, 3, 4))
    },
    "Flatten": Row(lambda l: l.Flatten(), LOST),
    "Reshape": Row(lambda l: l.Reshape((2, -1)), LOST, rank=3),
    "Permute": Row(lambda l: l.Permute((2, 1)), LOST),
    "Cropping1D": Row(lambda l: l.Cropping1D(1), LOST),
    "Cropping2D": Row(lambda l: l.Cropping2D(1), LOST, rank=3),
    "Cropping3D": Row(lambda l: l.Cropping3D(1), LOST, rank=4),
    "ZeroPadding1D": Row(lambda l: l.ZeroPadding1D(1), LOST),
    "ZeroPadding2D": Row(lambda l: l.ZeroPadding2D(1), LOST, rank=3),
    "ZeroPadding3D": Row(lambda l: l.ZeroPadding3D(1), LOST, rank=4),
    "UpSampling1D": Row(lambda l: l.UpSampling1D(2), LOST),
    "UpSampling2D": Row(lambda l: l.UpSampling2D(2), LOST, rank=3),
    "UpSampling3D": Row(lambda l: l.UpSampling3D(2), LOST, rank=4),
    "RMSNormalization": Row(lambda l: l.RMSNormalization(), LOST),
    "Lambda": Row(lambda l: l.Lambda(lambda x: x * 2, output_shape=(None, 4)), LOST),
    "Resizing": Row(lambda l: l.Resizing(3, 3), LOST, rank=3),
    "CenterCrop": Row(lambda l: l.CenterCrop(3, 3), LOST, rank=3),
    "TorchModuleWrapper": Row(lambda l: l.TorchModuleWrapper(torch.nn.Tanh(), output_shape=(None, 5, 4)), LOST),
    "SpatialTransformer": Row(lambda l: layers.SpatialTransformer(network()), LOST, rank=3, keras=False),
}
# Layers that stand elsewhere than behind an embedding.
ELSEWHERE = {
    **dict.fromkeys(("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"), "of several"),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"), "a step"),
    **dict.fromkeys(("Lookup", "StringLookup", "IntegerLookup", "Hashing", "TextVectorization"), "of tokens"),
    **dict.fromkeys(("AffineGrid", "GridSample", "CutMix", "MixUp"), "of images with more beside them"),
    **dict.fromkeys(("InputLayer", "Layer", "Embedding", "Masking", "Pipeline", "RepeatVector", "ConvLSTM3D"), "see below"),
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


@pytest.mark.parametrize("name", TABLE)
def test_every_layer_does_with_masks_what_keras_documents(name: str, keras: Any) -> None:
    row, ids = TABLE[name], ids_of(TABLE[name].rank)
    with quiet():
        model = filled(model_of(triarch, row))
    outputs, mask, said = called(model, ids)
    assert [bool(said), mask is not None] == [row.fate is LOST, row.fate is PASSES], (said, mask)
    if row.fate is PASSES:
        assert torch.equal(mask, expected_mask(row, ids, outputs))
    if row.fate is LOST:
        assert f"Layer {model.layers[-1].name!r}" in said[-1]
    if row.keras:
        with quiet():
            judge = model_of(keras, row)
        judge.set_weights(model.get_weights())
        theirs, their_mask, they_said = called(judge, ids)
        torch.testing.assert_close(outputs, theirs, rtol=1e-4, atol=1e-5)
        assert (mask is None) == (their_mask is None)
        assert mask is None or torch.equal(mask, their_mask)
        assert bool(they_said) is bool(said)


@contextlib.contextmanager
def quiet() -> Any:
    """Warnings of trial runs are those of calls, which are looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_the_table_has_every_layer() -> None:
    classes = {own for own in vars(layers).values() if isinstance(own, type) and issubclass(own, layers.Layer)}
    found = {type(row.make(layers)) for row in TABLE.values()} | {getattr(layers, name) for name in ELSEWHERE}
    augmentations = {own for own in classes if own.__name__.startswith("Random")}  # see below
    assert classes - found - augmentations == set()


def padded(series: np.ndarray[Any, Any], where: str) -> tuple[np.ndarray[Any, Any], list[int]]:
    """A batch of one series with steps of zeros put in, and where its own steps are."""
    length, rest = series.shape[1], series.shape[2:]
    places = {"behind": range(length), "before": range(3, length + 3), "inside": [0, *range(3, length + 2)]}[where]
    made = np.zeros((1, length + 3, *rest), series.dtype)
    made[:, list(places)] = series
    return made, list(places)


@pytest.mark.parametrize("where", ["behind", "before", "inside"])
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.fate is not LOST and row.rank < 4])
def test_padding_changes_nothing(name: str, where: str) -> None:
    row = TABLE[name]
    numbers = ids_of(row.rank)[2:3]
    if row.rank == 3:
        numbers[:, :2, 2:] = 0  # texts of texts, some of which are short
    longer, places = padded(numbers, where)
    with quiet():
        model, other = (
            filled(Sequential([Input(own.shape[1:], dtype="int32"), layers.Embedding(9, 4, mask_zero=True), row.make(layers)]))
            for own in (numbers, longer)
        )
    expected, found = model(numbers), other(longer)
    if row.fate is PASSES:
        backwards = getattr(row.make(layers), "go_backwards", False)
        found = (found.flip(1)[:, places]).flip(1) if backwards else found[:, places]
        counts = expected_mask(row, numbers, expected)
        expected, found = expected[counts], found[counts]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.fate is not LOST])
def test_series_without_any_step_that_counts(name: str) -> None:
    row, ids = TABLE[name], ids_of(TABLE[name].rank)
    ids[0] = 0
    with quiet():
        model = filled(model_of(triarch, row))
    outputs = model(ids, training=True)
    outputs.square().sum().backward()
    assert outputs.isfinite().all()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.trainable_weights)
    if name == "GlobalAveragePooling1D":  # Keras divides by 0
        assert not outputs[0].any()


# How masks come to a model's layers.

SEQUENCES = {
    "recurrence": lambda l: [l.LSTM(3, **ALL), l.GRU(3)],
    "both directions": lambda l: [l.Bidirectional(l.LSTM(3, **ALL)), l.Bidirectional(l.GRU(2)), l.Dense(2)],
    "mean of dense": lambda l: [l.Dense(5, "tanh"), l.Dropout(0.2), l.LayerNormalization(), l.GlobalAveragePooling1D()],
    "steps": lambda l: [l.BatchNormalization(), l.TimeDistributed(l.Dense(3)), l.GRU(3, **ALL), l.Dense(2)],
}
SERIES = np.random.default_rng(1).normal(size=(3, 4, 4)).astype(np.float32)
SERIES[1, 2:] = 0
SERIES[2, 1] = 0
COUNTS = (SERIES != 0).any(-1)


def stack(library: Any, kind: str) -> Any:
    """A model of these layers behind masking."""
    return library.Sequential([library.Input((None, 4)), library.layers.Masking(), *SEQUENCES[kind](library.layers)])


@pytest.mark.parametrize("kind", SEQUENCES)
@pytest.mark.parametrize("way", ["call", "predict", "graph", "nested", "subclass", "given", "nested given"])
def test_every_way_to_a_model_has_the_mask(kind: str, way: str, keras: Any) -> None:
    model = filled_stack(stack(triarch, kind))
    judge = stack(keras, kind)
    judge.set_weights(model.get_weights())
    theirs, their_mask, _ = called(judge, SERIES)
    masking, *rest = model.layers
    if way == "predict":
        torch.testing.assert_close(torch.from_numpy(model.predict(SERIES, verbose=0)), theirs, rtol=1e-4, atol=1e-5)
        return
    whole = Input((None, 4))
    other = {
        "call": lambda: model,
        "graph": lambda: Model(whole, through(rest, masking(whole))),
        "nested": lambda: Model(whole, Sequential([Input((None, 4)), *rest])(masking(whole))),
        "subclass": lambda: Chain(model.layers),
        "given": lambda: Sequential([Input((None, 4)), *rest]),
        "nested given": lambda: Model(whole, Sequential([Sequential([Input((None, 4)), *rest])])(whole)),
    }[way]()
    settings = {"mask": COUNTS} if "given" in way else {}
    series = torch.from_numpy(SERIES.copy())
    outputs, mask, said = called(other, series, **settings)
    assert not said
    torch.testing.assert_close(outputs, theirs, rtol=1e-4, atol=1e-5)
    assert (mask is None) == (their_mask is None)
    assert mask is None or torch.equal(mask, their_mask)
    assert not hasattr(series, "_keras_mask")  # no mark on what the caller holds


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


@pytest.mark.parametrize("kind", SEQUENCES)
def test_half_precision_keeps_masks(kind: str) -> None:
    plain = filled_stack(stack(triarch, kind))
    triarch.mixed_precision.set_dtype_policy("mixed_bfloat16")
    half = stack(triarch, kind)
    half.set_weights(plain.get_weights())
    first = Input((None, 4))
    masked = half.layers[0](first)
    own = Chain(half.layers[1:])
    own.supports_masking = plain(SERIES).ndim == 3
    for model in (half, Model(first, Sequential(half.layers[1:])(masked)), Model(first, own(masked))):
        outputs, mask, _ = called(model, SERIES)
        torch.testing.assert_close(outputs.float(), plain(SERIES), rtol=0.05, atol=0.05)
        assert (mask is None) == (outputs.ndim == 2)


@pytest.mark.parametrize("kind", ["recurrence", "both directions", "mean of dense"])
@pytest.mark.parametrize("asked", ["fit", "fit of a graph"])
def test_learning_does_not_see_padding(kind: str, asked: str) -> None:
    learnt = []
    for more in (0, 3):
        series = np.concatenate([SERIES, np.zeros((3, more, 4), np.float32)], 1)
        triarch.random.set_random_seed(1)
        model = filled_stack(stack(triarch, kind))
        for layer in model.layers:
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.0
        if asked == "fit of a graph":
            inputs = Input((None, 4))
            model = Model(inputs, through(model.layers, inputs))
        model.compile("sgd", "mse")
        with triarch.kernels.expecting(10**6):
            model.fit(series, np.ones((3, *model.output_shape[1:]), np.float32), batch_size=2, epochs=3, verbose=0, shuffle=False)
        learnt.append(model.get_weights())
    for one, other in zip(*learnt, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_compiled_steps_leave_masked_series_to_the_layers() -> None:
    plain = Sequential([Input((None, 4)), layers.LSTM(3), layers.Dense(1)])
    masked = Sequential([Input((None, 4)), layers.Masking(), layers.LSTM(3), layers.Dense(1)])
    for model in (plain, masked):
        model.compile("sgd", "mse")
        model.fit(SERIES, np.ones((3, 1), np.float32), verbose=0)
    assert "compiled code" in plain.explain_step(10**6)
    assert masked.explain_step(10**6).startswith("layer by layer")


# Masks that are given.


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_given_mask_is_one_of_the_first_axes(rank: int) -> None:
    counts = np.broadcast_to(COUNTS[:, :1] if rank == 1 else COUNTS, (3, 4)).copy()
    given = counts[:, 0] if rank == 1 else counts if rank == 2 else np.repeat(counts[..., None], 4, 2)
    if rank == 3:
        given[..., 1:] = False  # a step counts where any place in it does
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(given)
    for layer in (layers.LSTM(3), layers.GRU(2, **ALL), layers.GlobalAveragePooling1D(), layers.Bidirectional(layers.GRU(2))):
        torch.testing.assert_close(layer(series, mask=mask), layer(series, mask=torch.from_numpy(counts)))
        outputs, carried, _ = called(layer, series, mask=torch.from_numpy(counts))
        assert (carried is None) == (outputs.ndim == 2)


@pytest.mark.parametrize("place", ["by name", "by place"])
def test_a_given_mask_goes_on_as_a_carried_one(place: str, keras: Any) -> None:
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(COUNTS)
    layer, judge = (library.layers.GRU(3, **ALL) for library in (triarch, keras))
    judge.build((None, 4, 4))
    layer.build((None, 4, 4))
    judge.set_weights(layer.get_weights())
    outputs, carried, _ = called(layer, series, **{"mask": mask}) if place == "by name" else called(layer, series, None, mask)
    theirs, their_mask, _ = called(judge, series, mask=mask)
    torch.testing.assert_close(outputs, theirs, rtol=1e-4, atol=1e-5)
    assert torch.equal(carried, their_mask)


def test_masks_that_do_not_fit_are_refused() -> None:
    series = torch.from_numpy(SERIES)
    short = torch.ones(3, 3, dtype=torch.bool)
    for layer in (layers.LSTM(3), layers.GlobalAveragePooling1D(), layers.TimeDistributed(layers.LSTM(2))):
        with pytest.raises(ValueError, match=r"takes a mask of shape \(batch, steps\).*Received: .*\(3, 3\)"):
            layer(series if not isinstance(layer, layers.TimeDistributed) else series[:, :, None], mask=short)
    with pytest.raises(ValueError, match=r"takes a mask of the first axes.*Received: .*\(3, 3\)"):
        layers.BatchNormalization()(series, mask=short, training=True)
    with pytest.raises(ValueError, match=r"Softmax.*takes a mask of a shape that stretches.*Received: .*\(3, 3\)"):
        layers.Softmax()(series, mask=short)
    with pytest.raises(TypeError, match=r"Dense.*takes no mask.*no argument `mask`"):
        layers.Dense(2)(series, mask=torch.from_numpy(COUNTS))
    with pytest.raises(TypeError, match=r"Conv1D.*takes no mask.*no argument `mask`"):
        layers.Conv1D(2, 2)(Input((4, 4)), mask=Input((4,), dtype="bool"))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4), (4, 4), (4,), (3, 1, 4)])
def test_a_given_mask_of_softmax_stretches_as_in_keras(shape: tuple[int, ...], keras: Any) -> None:
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(np.random.default_rng(2).random(shape) > 0.4)
    outputs = layers.Softmax()(series, mask=mask)
    torch.testing.assert_close(outputs, keras.layers.Softmax()(series, mask=mask))
    assert not hasattr(outputs, "_keras_mask")  # it says what is summed over, not which steps count


def test_states_are_beside_the_mask() -> None:
    """Keras leaves the mask out where first states are given."""
    series = layers.Masking()(torch.from_numpy(SERIES))
    zeros = [torch.zeros(3, 2), torch.zeros(3, 2)]
    layer = layers.LSTM(2, return_state=True, **ALL)
    plain, h, c = layer(series)
    for outputs in (layer(series, initial_state=zeros), layer(series, zeros), layer(sequences=series)):
        for one, other in zip(outputs, (plain, h, c), strict=True):
            torch.testing.assert_close(one, other)
        assert torch.equal(outputs[0]._keras_mask, torch.from_numpy(COUNTS))
        assert not hasattr(outputs[1], "_keras_mask")
    torch.testing.assert_close(h, plain[:, -1])
    both = layers.Bidirectional(layers.GRU(2, return_state=True, **ALL), merge_mode=None)(series)
    assert [hasattr(output, "_keras_mask") for output in both] == [True, True, False, False]


def test_states_that_go_on_skip_masked_steps() -> None:
    layer = layers.GRU(2, stateful=True)
    layer.build((3, 4, 4))
    layer(torch.from_numpy(SERIES), mask=torch.from_numpy(COUNTS))
    after = [state.clone() for state in layer.states]
    layer(torch.ones(3, 4, 4), mask=torch.zeros(3, 4, dtype=torch.bool))
    torch.testing.assert_close(list(layer.states), after)


# Hierarchies, and series of images.


@pytest.mark.parametrize("inner", ["LSTM", "GRU", "GlobalAveragePooling1D", "model", "Bidirectional"])
def test_texts_of_texts(inner: str) -> None:
    made = {
        "LSTM": lambda: layers.LSTM(3),
        "GRU": lambda: layers.GRU(3),
        "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
        "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(2)),
        "model": lambda: Sequential([Input((None, 4)), layers.Dense(3, "tanh"), layers.LSTM(3)]),
    }[inner]()
    names, vectors = embedding(triarch, 3, variable=True)
    model = Model(names, layers.GRU(2)(layers.TimeDistributed(made)(vectors)))
    numbers = np.array([[[1, 2, 3], [4, 0, 0]], [[5, 6, 0], [0, 0, 0]]])
    longer = np.zeros((2, 4, 5), int)
    longer[:, :2, :3] = numbers
    torch.testing.assert_close(model(longer), model(numbers), rtol=1e-4, atol=1e-6)
    alone = [model(numbers[:1]), model(np.array([[[5, 6]]]))]
    torch.testing.assert_close(model(numbers), torch.cat(alone), rtol=1e-4, atol=1e-6)


def test_layers_that_make_masks_inside_steps() -> None:
    numbers = ids_of(3)
    outputs = layers.TimeDistributed(layers.Embedding(9, 4, mask_zero=True))(torch.from_numpy(numbers))
    assert torch.equal(outputs._keras_mask, torch.from_numpy(numbers != 0))
    series = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    series[0, 1, 2:] = 0
    outputs = layers.TimeDistributed(layers.Masking())(series)
    assert torch.equal(outputs._keras_mask, torch.from_numpy((series != 0).any(-1)))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("arguments", [{}, ALL, {"go_backwards": True}, {"padding": "same", **ALL}], ids=str)
def test_series_of_images_skip_what_masking_hides(rank: int, arguments: dict[str, Any]) -> None:
    series = np.random.default_rng(rank).normal(size=(2, 3, *(4,) * rank, 2)).astype(np.float32)
    series[0, 0, 1] = 0  # a black place in an image that counts
    longer = np.concatenate([series, np.zeros_like(series[:, :2])], 1)
    layer = getattr(layers, f"ConvLSTM{rank}D")(2, 2, **arguments)
    short, found = layer(layers.Masking()(series)), layer(layers.Masking()(longer))
    torch.testing.assert_close(found[:, :3] if arguments.get("return_sequences") else found, short)
    if arguments.get("return_sequences"):
        assert found._keras_mask.tolist() == [[True] * 3 + [False] * 2] * 2
        normalised = Sequential([layers.BatchNormalization()])(found, training=True)
        assert torch.equal(normalised._keras_mask, found._keras_mask)
        torch.testing.assert_close(normalised[:, :3], layers.BatchNormalization()(short, training=True))


def test_batch_normalization_learns_from_what_counts() -> None:
    for mask in (COUNTS, COUNTS[:, 0]):
        layer = layers.BatchNormalization(momentum=0.0)
        spoilt = np.where(mask[(..., *(None,) * (3 - mask.ndim))], SERIES, np.nan)
        outputs = layer(torch.from_numpy(spoilt), mask=torch.from_numpy(mask), training=True)
        counted = SERIES[mask].reshape(-1, 4)
        np.testing.assert_allclose(layer.moving_mean.numpy(), counted.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), counted.var(0), rtol=1e-4, atol=1e-5)
        assert outputs[torch.from_numpy(mask)].isfinite().all()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_mean_of_what_counts(data_format: str, keepdims: bool, keras: Any) -> None:
    series = SERIES if data_format == "channels_last" else SERIES.swapaxes(1, 2).copy()
    mask = torch.from_numpy(COUNTS)
    options = {"data_format": data_format, "keepdims": keepdims}
    outputs = layers.GlobalAveragePooling1D(**options)(torch.from_numpy(series), mask=mask)
    torch.testing.assert_close(outputs, keras.layers.GlobalAveragePooling1D(**options)(torch.from_numpy(series), mask=mask))
    expected = np.stack([own[counts].mean(0) for own, counts in zip(SERIES, COUNTS, strict=True)])
    np.testing.assert_allclose(outputs.numpy().reshape(3, 4), expected, rtol=1e-5)
    half = layers.GlobalAveragePooling1D(dtype="mixed_float16")(np.full((1, 40000, 1), 3.0, np.float32), mask=np.ones((1, 40000), bool))
    assert half.item() == 3.0


# Several inputs.


@pytest.mark.parametrize("name", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"])
@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("rank", [2, 3])
def test_merges_of_masked_and_unmasked(name: str, masked: tuple[bool, bool], rank: int, keras: Any) -> None:
    ids = [ids_of(rank), np.roll(ids_of(rank), 1, 0)]
    results = []
    for library in (triarch, keras):
        inputs = [library.Input(SIZES[rank][1:], dtype="int32") for _ in masked]
        vectors = [library.layers.Embedding(9, 4, mask_zero=own)(one) for own, one in zip(masked, inputs, strict=True)]
        model = library.Model(inputs, getattr(library.layers, name)()(vectors))
        model.set_weights([VECTORS, VECTORS[::-1].copy()])
        results.append(called(model, ids))
    (ours, mask, said), (theirs, their_mask, _) = results
    torch.testing.assert_close(ours, theirs)
    assert not said
    expected = (ids[0] != 0) | (ids[1] != 0) if all(masked) or (name == "Concatenate" and any(masked)) else None
    if name == "Concatenate" and not all(masked) and any(masked):
        expected = np.ones_like(ids[0], bool)
    assert (mask is None) == (expected is None) == (their_mask is None)
    assert mask is None or np.array_equal(mask.numpy(), expected)


def test_merges_of_several_axes() -> None:
    """Masks stretch as their inputs do; joined along an axis of the mask, they are joined as well."""
    numbers, single = torch.from_numpy(ids_of(2)), torch.tensor([1, 0, 0])
    steps = layers.Embedding(9, 4, mask_zero=True)(numbers)
    sample = layers.Embedding(9, 4, mask_zero=True)(single)  # of the whole
    counts = (numbers != 0) | (single != 0)[:, None]
    for layer in (layers.Add(), layers.Multiply(), layers.Maximum()):
        assert torch.equal(layer([steps, sample])._keras_mask, counts)
    joined = layers.Concatenate(axis=1)([steps, torch.ones(3, 2, 4)])
    assert torch.equal(joined._keras_mask, torch.cat([numbers != 0, torch.ones(3, 2, dtype=torch.bool)], 1))
    images = layers.ConvLSTM1D(2, 2, padding="same", **ALL)(layers.Embedding(9, 4, mask_zero=True)(torch.from_numpy(ids_of(3))))
    mask = images._keras_mask
    assert mask.shape == (3, 5)
    assert torch.equal(layers.Concatenate(axis=1)([images, images])._keras_mask, torch.cat([mask, mask], 1))
    assert torch.equal(layers.Concatenate()([images, images])._keras_mask, mask)
    assert torch.equal(layers.Multiply()([images, images])._keras_mask, mask)
    assert not hasattr(layers.Dot(2)([steps, steps]), "_keras_mask")


@pytest.mark.parametrize("inner", ["Conv1D", "Dense"])
def test_sums_with_unmasked_blocks_count_everywhere(inner: str) -> None:
    make = {"Conv1D": lambda: layers.Conv1D(4, 2, padding="same"), "Dense": lambda: layers.Dense(4)}[inner]
    series = layers.Masking()(torch.from_numpy(SERIES))
    with contextlib.nullcontext() if inner == "Dense" else pytest.warns(UserWarning, match="Conv1D.*destroy the mask"):
        outputs = layers.Residual(make())(series)
    assert hasattr(outputs, "_keras_mask") == (inner == "Dense")


# Layers of one's own.


class Edges(layers.Layer):
    """Makes a mask of its own where it says so."""

    def call(self, inputs: Any) -> Any:
        return inputs * 1

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return (inputs > 0).any(-1)


class Pair(layers.Layer):
    """Takes a mask for each of two inputs."""

    supports_masking = True

    def call(self, query: Any, value: Any, query_mask: Any = None, value_mask: Any = None) -> Any:
        return query * query_mask.unsqueeze(-1) + (value * value_mask.unsqueeze(-1)).sum(1, keepdim=True)


class Told(layers.Layer):
    """Sets the mask of its outputs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        outputs = inputs[:, 1:]
        if mask is not None:
            outputs._keras_mask = mask[:, 1:]
        return outputs


def test_layers_of_ones_own() -> None:
    series = torch.from_numpy(SERIES)
    mask = Edges()(series)._keras_mask
    assert torch.equal(mask, (series > 0).any(-1))
    masked = layers.Masking()(series)
    value = layers.Masking()(series[:, :3])
    for outputs in (Pair()(masked, value), Pair()(masked, value=value), Pair()(query=masked, value=value)):
        torch.testing.assert_close(outputs, series + series[:, :3].sum(1, keepdim=True) * 1, rtol=1e-5, atol=1e-6)
        assert torch.equal(outputs._keras_mask, masked._keras_mask)
    assert torch.equal(Told()(masked)._keras_mask, masked._keras_mask[:, 1:])
    given = Pair()(masked, value, value_mask=torch.zeros(3, 3, dtype=torch.bool))
    torch.testing.assert_close(given, series)


def test_lambdas_of_masks() -> None:
    masked = layers.Masking()(torch.from_numpy(SERIES))
    with pytest.warns(UserWarning, match="Lambda.*destroy the mask"):
        told = layers.Lambda(lambda x, mask: x * ~mask[..., None])(masked)
    assert not told.any()
    kept = layers.Lambda(lambda x: x * 2, mask=lambda inputs, mask: mask)(masked)
    assert torch.equal(kept._keras_mask, masked._keras_mask)
    fixed = torch.zeros(3, 4, dtype=torch.bool)
    assert torch.equal(layers.Lambda(lambda x: x * 2, mask=fixed)(torch.from_numpy(SERIES))._keras_mask, fixed)


# Where masks end with a word.


def test_functions_and_modules_say_that_masks_end() -> None:
    names, vectors = embedding(triarch, 2)
    for made in (ops.multiply(vectors, 2.0), vectors + 1.0, torch.tanh(vectors)):
        model = Model(names, layers.LSTM(2)(made))
        with pytest.warns(UserWarning, match=r"The function .* was passed an input with a mask"):
            model(ids_of(2))
    stack = Sequential([layers.Embedding(9, 4, mask_zero=True), torch.nn.Tanh(), layers.LSTM(2)])
    with pytest.warns(UserWarning, match=r"The module Tanh was passed an input with a mask"):
        stack(ids_of(2))
    kept = Model(names, layers.LSTM(2)(vectors * 2.0, mask=layers.Embedding(9, 1, mask_zero=True).compute_mask(names)))
    with pytest.warns(UserWarning, match="The function"):
        torch.testing.assert_close(kept(np.array([[1, 2, 0, 0, 0]])), kept(np.array([[0, 0, 0, 1, 2]])))


@pytest.mark.parametrize("name", sorted(name for name in dir(layers) if name.startswith("Random")))
def test_augmentations_hand_images_on_in_inference(name: str) -> None:
    arguments = {"RandomCrop": (4, 4), "RandomTranslation": (0.1, 0.1)}
    images = layers.Embedding(9, 3, mask_zero=True)(torch.from_numpy(ids_of(3)[:, :4, :4]))
    plain = ("RandomAffine", "RandomFlip", "RandomPerspective", "RandomErasing")
    layer = getattr(layers, name)(*arguments.get(name, () if name in plain else (0.1,)))
    outputs, mask, said = called(layer, images, training=False)
    assert (mask is None) == bool(said)
    torch.testing.assert_close(outputs, images)


# Symbols and files.


@pytest.mark.parametrize("through_file", [False, True])
def test_masks_of_symbols_are_computed_with_the_model(through_file: bool, tmp_path: Any) -> None:
    names = Input((None,), dtype="int32")
    table = layers.Embedding(9, 4, mask_zero=True)
    mask = table.compute_mask(names)
    assert (mask.shape, mask.dtype) == ((None, None), "bool")
    plain = layers.Embedding(9, 4)
    outputs = layers.GlobalAveragePooling1D()(layers.GRU(3, **ALL)(plain(names), mask=mask), mask=mask)
    model = Model(names, outputs)
    if through_file:
        model.save(tmp_path / "m.keras")
        model = triarch.models.load_model(tmp_path / "m.keras")
    torch.testing.assert_close(model(np.array([[1, 2, 3]])), model(np.array([[1, 0, 2, 3, 0]])))
    series = Input((None, 4))
    hidden = layers.Masking(mask_value=-1.0).compute_mask(series)
    model = Model(series, layers.LSTM(2)(series, mask=hidden))
    hidden_steps = np.concatenate([SERIES, np.full((3, 2, 4), -1, np.float32)], 1)
    torch.testing.assert_close(model(SERIES), model(hidden_steps))


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_embeddings_mask_numbers_of_every_rank(rank: int, keras: Any) -> None:
    numbers = np.random.default_rng(rank).integers(0, 3, (2, 3, 2, 2)[:rank])
    for kind in (np.int32, np.int64, np.uint8, np.float32):
        outputs = layers.Embedding(9, 4, mask_zero=True)(numbers.astype(kind))
        assert np.array_equal(outputs._keras_mask.numpy(), numbers != 0)
    theirs = keras.layers.Embedding(9, 4, mask_zero=True)(numbers)
    assert torch.equal(outputs._keras_mask, theirs._keras_mask)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_masking_of_every_rank_is_keras(rank: int, keras: Any) -> None:
    series = np.random.default_rng(rank).integers(0, 2, (2, 3, 2, 2, 2)[5 - rank :]).astype(np.float32)
    ours, theirs = (library.layers.Masking(1.0)(series) for library in (triarch, keras))
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours._keras_mask, theirs._keras_mask)


# Torch's own ways of calling.


def test_masks_under_torch_functions() -> None:
    model = Sequential([Input((5,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dense(1)])
    numbers = torch.from_numpy(ids_of(2))
    expected = model(numbers)
    weights = dict(model.named_parameters())
    torch.testing.assert_close(torch.func.functional_call(model, weights, (numbers,)), expected)
    torch.testing.assert_close(torch.utils.checkpoint.checkpoint(model, numbers, use_reentrant=False), expected)
    slopes = torch.func.grad(lambda own: torch.func.functional_call(model, own, (numbers,)).sum())(weights)
    expected.sum().backward()
    for name, weight in weights.items():
        torch.testing.assert_close(slopes[name], weight.grad, rtol=1e-4, atol=1e-5)
    assert not weights["0.embeddings"].grad[0].any()  # padding has no part in the outputs
