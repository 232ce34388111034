"""How masks come to a model's layers, its losses and metrics: every way to a model, learning, symbols, files."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from masked import (
    ALL,
    COUNTS,
    PASSES,
    SEQUENCES,
    SERIES,
    TABLE,
    Chain,
    called,
    embedding,
    filled_stack,
    ids_of,
    quiet,
    stack,
    through,
)  # fmt: skip

import triarch
from triarch import Input, Model, Sequential, layers, ops


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
    with quiet():  # a model of one's own does not say what it does with masks
        models = [half, Model(first, Sequential(half.layers[1:])(masked)), Model(first, own(masked))]
    for model in models:
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
            model.fit(
                series,
                np.ones((3, *model.output_shape[1:]), np.float32),
                batch_size=2,
                epochs=3,
                verbose=0,
                shuffle=False,
            )
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


# Layers of one's own.


class Edges(layers.Layer):
    """Makes a mask of its own where it says so."""

    def call(self, inputs: Any) -> Any:
        return inputs * 1

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return (inputs > 0).any(-1)


class Nonzero:
    """How some layers make masks."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return (inputs != 0).any(-1)


class Doubled(Nonzero, layers.Rescaling):
    """Makes a mask, though its layer passes them on."""


class Unchanged(Edges):
    """Gives what it takes."""

    def call(self, inputs: Any) -> Any:
        return inputs


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
    assert torch.equal(Unchanged()(series)._keras_mask, mask)
    assert torch.equal(Doubled(2.0)(series)._keras_mask, torch.from_numpy(COUNTS))
    assert not hasattr(series, "_keras_mask")
    masked = layers.Masking()(series)
    value = layers.Masking()(series[:, :3])
    for outputs in (Pair()(masked, value), Pair()(masked, value=value), Pair()(query=masked, value=value)):
        torch.testing.assert_close(outputs, series + series[:, :3].sum(1, keepdim=True) * 1, rtol=1e-5, atol=1e-6)
        assert torch.equal(outputs._keras_mask, masked._keras_mask)
    assert torch.equal(Told()(masked)._keras_mask, masked._keras_mask[:, 1:])
    given = Pair()(masked, value, value_mask=torch.zeros(3, 3, dtype=torch.bool))
    torch.testing.assert_close(given, series)


class Attention(layers.Layer):
    """Cannot do without a mask."""

    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        shares = torch.exp(inputs.mean(-1)) * mask
        return inputs * (shares / shares.sum(1, keepdim=True)).unsqueeze(-1)


class Halves(layers.Layer):
    """Gives two outputs with a mask each."""

    def call(self, inputs: Any) -> Any:
        return ops.split(inputs, 2, axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None if mask is None else ops.split(mask, 2, axis=1)


@pytest.mark.parametrize("before", ["layer", "Sequential", "Functional", "subclass", "Residual", "Spectral", "wrapper"])
def test_layers_that_need_masks_are_called_on_symbols_that_have_them(before: str) -> None:
    names, vectors = embedding(triarch, 2)
    inner, table = Input((None, 4)), layers.Embedding(9, 4, mask_zero=True)
    made = {
        "layer": lambda: layers.Dense(4)(vectors),
        "Sequential": lambda: Sequential([Input((None,), dtype="int32"), table, Attention()])(names),
        "Functional": lambda: Model(inner, layers.Dense(4)(inner))(vectors),
        "subclass": lambda: Chain([table, layers.Dense(4), Attention()])(names),
        "Residual": lambda: layers.Residual([layers.Dense(4)])(vectors),
        "Spectral": lambda: layers.SpectralNormalization(layers.Dense(4))(vectors),
        "wrapper": lambda: layers.TimeDistributed(layers.Dense(4))(vectors),
    }[before]()
    outputs = made if before == "subclass" else Attention()(made)
    model = Model(names, outputs)
    first, mask, said = called(model, np.array([[1, 2, 3, 0, 0]]))
    assert (mask.tolist(), said) == ([[True, True, True, False, False]], [])
    torch.testing.assert_close(model(np.array([[0, 1, 2, 0, 3]]))[:, [1, 2, 4]], first[:, :3])
    torch.testing.assert_close(copy.deepcopy(model)(np.array([[1, 2, 3, 0, 0]])), first)


def test_each_of_several_outputs_has_its_mask() -> None:
    names = Input((4,), dtype="int32")
    halves = Halves()(layers.Embedding(9, 4, mask_zero=True)(names))
    assert [half._keras_mask.shape for half in halves] == [(None, 2), (None, 2)]
    model = Model(names, [layers.Dense(2)(half) for half in halves])
    first, second = model(np.array([[1, 2, 3, 0], [4, 0, 0, 0]]))
    assert first._keras_mask.tolist() == [[True, True], [True, False]]
    assert second._keras_mask.tolist() == [[True, False], [False, False]]


def test_lambdas_of_masks() -> None:
    masked = layers.Masking()(torch.from_numpy(SERIES))
    with pytest.warns(UserWarning, match="Lambda.*destroy the mask"):
        told = layers.Lambda(lambda x, mask: x * ~mask[..., None])(masked)
    assert not told.any()
    kept = layers.Lambda(lambda x: x * 2, mask=lambda inputs, mask: mask)(masked)
    assert torch.equal(kept._keras_mask, masked._keras_mask)
    assert not hasattr(layers.Lambda(lambda x: x * 2, mask=lambda inputs, mask: None)(masked), "_keras_mask")
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


# Symbols and files.


@pytest.mark.parametrize("file", ["none", "ours", "Keras's"])
def test_masks_of_symbols_are_computed_with_the_model(file: str, tmp_path: Any, keras: Any) -> None:
    names = Input((None,), dtype="int32")
    table = layers.Embedding(9, 4, mask_zero=True)
    mask = table.compute_mask(names)
    assert (mask.shape, mask.dtype) == ((None, None), "bool")
    plain = layers.Embedding(9, 4)
    outputs = layers.GlobalAveragePooling1D()(layers.GRU(3, **ALL)(plain(names), mask=mask), mask=mask)
    model = Model(names, outputs)
    if file != "none":
        model.save(tmp_path / "m.keras")
        library = triarch if file == "ours" else keras
        loaded = library.models.load_model(tmp_path / "m.keras")
        torch.testing.assert_close(loaded(np.array([[1, 0, 2]])), model(np.array([[1, 0, 2]])))
        model = loaded
    torch.testing.assert_close(model(np.array([[1, 2, 3]])), model(np.array([[1, 0, 2, 3, 0]])))
    series = Input((None, 4))
    hidden = layers.Masking(mask_value=-1.0).compute_mask(series)
    model = Model(series, layers.LSTM(2)(series, mask=hidden))
    hidden_steps = np.concatenate([SERIES, np.full((3, 2, 4), -1, np.float32)], 1)
    torch.testing.assert_close(model(SERIES), model(hidden_steps))


# Losses and metrics of what models give.


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_losses_of_outputs_with_more_axes_than_their_mask(policy: str) -> None:
    rng = np.random.default_rng(2)
    series = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    labels = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    series[0, 2:], series[1, 0] = 0, 0
    triarch.mixed_precision.set_dtype_policy(policy)
    model = Sequential([Input((4, 5, 2)), layers.Masking(), layers.ConvLSTM1D(2, 3, padding="same", **ALL)])
    model.compile(loss="mse", metrics=["mae"])
    counts = (series != 0).any((-1, -2))
    errors = model(series).detach().float().numpy()[counts] - labels[counts]
    found = model.evaluate(series, labels, batch_size=3, verbose=0, return_dict=True)
    assert found == pytest.approx(
        {"loss": (errors**2).mean(), "mae": np.abs(errors).mean()}, rel=1e-2 if "b" in policy else 1e-5
    )
    others = np.where(counts[..., None, None], labels, 99.0)
    assert model.evaluate(series, others, batch_size=3, verbose=0, return_dict=True) == found


@pytest.mark.parametrize("seed", range(24))
def test_stacks_of_layers_are_keras(seed: int, keras: Any) -> None:
    """Outputs, masks, loss, metric and two steps of learning, of layers of the table on top of each other."""
    rng = np.random.default_rng(seed)
    unfit = ("PReLU", "TorchModuleWrapper", "Normalization", "Lambda", "Reshape", "Permute", "Flatten")
    usual = [name for name, row in TABLE.items() if row.keras and row.rank == 2 and name not in unfit]
    passing = [name for name in usual if TABLE[name].fate is PASSES]
    names = [*rng.choice(passing, 2), rng.choice(usual)]
    models = []
    for library in (triarch, keras):
        numbers, vectors = embedding(library, 2)
        with quiet():
            model = library.Model(numbers, through([TABLE[name].make(library.layers) for name in names], vectors))
        model.compile("sgd", "mse", metrics=["mae"])
        models.append(model)
    ours, theirs = models
    ours.set_weights([rng.uniform(0.1, 0.7, own.shape).astype(np.float32) for own in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    ids = ids_of(2)
    with quiet():
        (outputs, mask, _), (judged, their_mask, _) = called(ours, ids), called(theirs, ids)
        torch.testing.assert_close(outputs, judged, rtol=1e-3, atol=1e-4)
        assert (mask is None) == (their_mask is None)
        assert mask is None or torch.equal(mask, their_mask)
        labels = rng.normal(size=outputs.shape).astype(np.float32)
        np.testing.assert_allclose(*(model.evaluate(ids, labels, verbose=0) for model in models), rtol=1e-3)
        if any("Drop" in name or "Noise" in name for name in names):
            return  # which draw other numbers
        for model in models:
            model.fit(ids, labels, batch_size=3, epochs=2, verbose=0)
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2, atol=2e-3)


# Torch's own ways of calling.


def test_masks_under_torch_functions() -> None:
    model = Sequential(
        [Input((5,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dense(1)]
    )
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
