"""Masks through every layer: who takes, passes on, ends or loses them, beside Keras and by what a mask means.

What a mask means: steps that do not count change nothing. A series gives the same numbers with padding behind it,
before it or inside it, and without any.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from masked import (
    ALL,
    COUNTS,
    ELSEWHERE,
    LOST,
    PASSES,
    SERIES,
    SIZES,
    TABLE,
    VECTORS,
    called,
    embedding,
    expected_mask,
    filled,
    ids_of,
    model_of,
    quiet,
)  # fmt: skip

import triarch
from triarch import Input, Model, Sequential, layers


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
            filled(
                Sequential(
                    [Input(own.shape[1:], dtype="int32"), layers.Embedding(9, 4, mask_zero=True), row.make(layers)]
                )
            )
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


# Masks that are given.


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_given_mask_is_one_of_the_first_axes(rank: int) -> None:
    counts = np.broadcast_to(COUNTS[:, :1] if rank == 1 else COUNTS, (3, 4)).copy()
    given = counts[:, 0] if rank == 1 else counts if rank == 2 else np.repeat(counts[..., None], 4, 2)
    if rank == 3:
        given[..., 1:] = False  # a step counts where any place in it does
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(given)
    for layer in (
        layers.LSTM(3),
        layers.GRU(2, **ALL),
        layers.GlobalAveragePooling1D(),
        layers.Bidirectional(layers.GRU(2)),
    ):
        torch.testing.assert_close(layer(series, mask=mask), layer(series, mask=torch.from_numpy(counts)))
        outputs, carried, _ = called(layer, series, mask=torch.from_numpy(counts))
        assert (carried is None) == (outputs.ndim == 2)


@pytest.mark.parametrize("form", ["lists", "arrays of 0 and 1", "floats"])
def test_given_masks_have_every_form(form: str) -> None:
    series = torch.from_numpy(SERIES)
    given = {"lists": COUNTS.tolist(), "arrays of 0 and 1": COUNTS.astype(int), "floats": COUNTS.astype(float)}[form]
    for layer in (layers.GRU(2, **ALL), layers.GlobalAveragePooling1D(), layers.BatchNormalization()):
        expected = layer(series, mask=torch.from_numpy(COUNTS), training=True)
        outputs = layer(series, mask=given, training=True)
        torch.testing.assert_close(outputs, expected)
        if outputs.ndim == 3:
            assert torch.equal(outputs._keras_mask, torch.from_numpy(COUNTS))
            assert torch.equal(layers.Multiply()([outputs, outputs])._keras_mask, torch.from_numpy(COUNTS))


@pytest.mark.parametrize("place", ["by name", "by place"])
def test_a_given_mask_goes_on_as_a_carried_one(place: str, keras: Any) -> None:
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(COUNTS)
    layer, judge = (library.layers.GRU(3, **ALL) for library in (triarch, keras))
    judge.build((None, 4, 4))
    layer.build((None, 4, 4))
    judge.set_weights(layer.get_weights())
    outputs, carried, _ = called(layer, series, mask=mask) if place == "by name" else called(layer, series, None, mask)
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


def test_steps_inside_steps() -> None:
    numbers = ids_of(4)
    vectors = layers.Embedding(9, 4, mask_zero=True)(torch.from_numpy(numbers))
    series = layers.LSTM(3)
    found = layers.TimeDistributed(layers.TimeDistributed(series))(vectors)
    assert torch.equal(found._keras_mask, torch.from_numpy((numbers != 0).any(-1)))
    single = series(vectors[0, 1, 2:3], mask=torch.from_numpy(numbers[0, 1, 2:3] != 0))
    torch.testing.assert_close(found[0, 1, 2:3], single)
    counts = torch.tensor([[True, False, True], [True, True, False]])
    images = vectors.detach()
    for inner in (layers.TimeDistributed(layers.Dense(2)), layers.ConvLSTM1D(2, 2), layers.GlobalMaxPooling2D()):
        outer = layers.TimeDistributed(inner)
        outputs, mask, said = called(outer, images, mask=counts)
        assert torch.equal(mask.flatten(2).all(-1) if mask.ndim > 2 else mask, counts)
        assert not said
        torch.testing.assert_close(outputs[counts], outer(images)[counts])


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


def test_batch_normalization_of_each_step_is_keras(keras: Any) -> None:
    ours, theirs = (library.layers.TimeDistributed(library.layers.BatchNormalization()) for library in (triarch, keras))
    series, mask = torch.from_numpy(SERIES), torch.from_numpy(COUNTS)
    torch.testing.assert_close(ours(series, mask=mask, training=True), theirs(series, mask=mask, training=True))
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_mean_of_what_counts(data_format: str, keepdims: bool, keras: Any) -> None:
    series = SERIES if data_format == "channels_last" else SERIES.swapaxes(1, 2).copy()
    mask = torch.from_numpy(COUNTS)
    options = {"data_format": data_format, "keepdims": keepdims}
    outputs = layers.GlobalAveragePooling1D(**options)(torch.from_numpy(series), mask=mask)
    torch.testing.assert_close(
        outputs, keras.layers.GlobalAveragePooling1D(**options)(torch.from_numpy(series), mask=mask)
    )
    expected = np.stack([own[counts].mean(0) for own, counts in zip(SERIES, COUNTS, strict=True)])
    np.testing.assert_allclose(outputs.numpy().reshape(3, 4), expected, rtol=1e-5)
    half = layers.GlobalAveragePooling1D(dtype="mixed_float16")(
        np.full((1, 40000, 1), 3.0, np.float32), mask=np.ones((1, 40000), bool)
    )
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
    images = layers.ConvLSTM1D(2, 2, padding="same", **ALL)(
        layers.Embedding(9, 4, mask_zero=True)(torch.from_numpy(ids_of(3)))
    )
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


def test_masks_of_whole_samples_end_in_silence() -> None:
    """What happens inside a sample cannot lose them."""
    samples = layers.Masking()(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert samples._keras_mask.tolist() == [False, True]
    for layer in (layers.RepeatVector(2), layers.Flatten(), layers.Reshape((2, 1))):
        assert called(layer, samples)[1:] == (None, [])


def test_pipelines_hand_masks_on() -> None:
    images = layers.Embedding(9, 3, mask_zero=True)(torch.from_numpy(ids_of(3)))
    outputs, mask, said = called(layers.Pipeline([layers.Rescaling(2.0), layers.Identity()]), images)
    torch.testing.assert_close(outputs, images * 2)
    assert torch.equal(mask, images._keras_mask)
    assert not said


@pytest.mark.parametrize("name", sorted(name for name in dir(layers) if name.startswith("Random")))
def test_augmentations_hand_images_on_in_inference(name: str) -> None:
    arguments = {"RandomCrop": (4, 4), "RandomTranslation": (0.1, 0.1)}
    images = layers.Embedding(9, 3, mask_zero=True)(torch.from_numpy(ids_of(3)[:, :4, :4]))
    plain = ("RandomAffine", "RandomFlip", "RandomPerspective", "RandomErasing")
    layer = getattr(layers, name)(*arguments.get(name, () if name in plain else (0.1,)))
    outputs, mask, said = called(layer, images, training=False)
    assert (mask is None) == bool(said)
    torch.testing.assert_close(outputs, images)


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


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_what_is_missing_may_be_hidden(rank: int) -> None:
    """Keras compares with NaN, which nothing equals."""
    series = np.random.default_rng(rank).normal(size=(2, 3, 2, 2, 2)[5 - rank :]).astype(np.float32)
    series[0] = np.nan
    outputs = layers.Masking(np.nan)(series)
    assert torch.equal(outputs._keras_mask, torch.from_numpy(~np.isnan(series).all(-1)))
    assert outputs.isfinite().all()


OF_ANY_LENGTH = [  # the others ask for the number of steps, which is not 0
    name
    for name, row in TABLE.items()
    if row.rank == 2 and not name.startswith(("Residual", "LayerNormalization over"))
]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", [name for name in OF_ANY_LENGTH if TABLE[name].fate is not LOST])
def test_batches_without_series_and_series_without_steps(name: str, shape: tuple[int, int]) -> None:
    outputs = Sequential([layers.Embedding(9, 4, mask_zero=True), TABLE[name].make(layers)])(np.zeros(shape, int))
    assert len(outputs) == shape[0]
    assert outputs.isfinite().all()
