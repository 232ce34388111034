"""Layers of images: Keras's numbers for Keras's draws, and draws of their own."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conformance import as_json, file_form

import triarch
from triarch import layers, saving
from triarch.layers.preprocessing.images.resizing import resize
from triarch.serialization import deserialize_keras_object

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

_FILLS = [
    {"fill_mode": mode, "interpolation": interpolation, "fill_value": 0.7}
    for mode in ("reflect", "wrap", "constant", "nearest")
    for interpolation in ("bilinear", "nearest")
]
_RANGE = {"value_range": (-1, 1)}
_AFFINE = [
    ("RandomRotation", {"factor": 0.3}),
    ("RandomTranslation", {"height_factor": 0.4, "width_factor": (-0.9, 0.2)}),
    ("RandomZoom", {"height_factor": 0.5}),
    ("RandomZoom", {"height_factor": (-0.5, 1.0), "width_factor": 0.3}),
    ("RandomShear", {"x_factor": 0.4, "y_factor": 0.7}),
]
_OTHERS = [
    *(("RandomFlip", {"mode": mode}) for mode in ("horizontal", "vertical", "horizontal_and_vertical")),
    ("RandomCrop", {"height": 5, "width": 4}),
    ("RandomPerspective", {"factor": (1.0, 1.0), "fill_value": 2.0}),
    ("RandomPerspective", {"factor": (0.4, 0.6), "scale": 0.5, "interpolation": "nearest"}),
    ("RandomBrightness", {"factor": 0.5, **_RANGE}),
    ("RandomContrast", {"factor": (0.5, 0.7), **_RANGE}),
    ("RandomErasing", {**_RANGE}),
    ("RandomErasing", {"factor": (1, 1), "scale": 0.3, "fill_value": 0.5, **_RANGE}),
    ("MixUp", {"alpha": 0.6}),
    ("CutMix", {}),
]
_RANDOM = [*((name, {**given, **fill}) for name, given in _AFFINE for fill in _FILLS), *_OTHERS]
_EVERY_KIND = dict((*_AFFINE, *_OTHERS))
_FIXED = [("Resizing", {"height": 7, "width": 4}), ("CenterCrop", {"height": 4, "width": 3})]


def told(row):
    name, given = row
    return f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"


every_kind = pytest.mark.parametrize("row", _EVERY_KIND.items(), ids=told)


@pytest.fixture
def images(rng):
    return torch.from_numpy(rng.normal(size=(5, 12, 10, 3)).astype(np.float32))


def first(images):
    return images.movedim(-1, 1).contiguous()


def copied(transformation):
    """Keras writes into some of what it is given."""
    if isinstance(transformation, dict):
        return {name: copied(value) for name, value in transformation.items()}
    return transformation.clone() if isinstance(transformation, torch.Tensor) else transformation


def make(row, library=layers, **more):
    name, given = row
    return getattr(library, name)(**given, **more)


@pytest.mark.parametrize("row", _RANDOM, ids=told)
def test_keras_makes_the_same_of_the_same_draws(row, images, keras):
    layer, theirs = make(row, seed=3), make(row, keras.layers, seed=3)
    drawn = theirs.get_random_transformation(images)
    expected = theirs.transform_images(images.clone(), copied(drawn))
    torch.testing.assert_close(layer.transform_images(images, drawn), expected, rtol=1e-5, atol=2e-5)
    if row[0] != "RandomCrop":  # of which Keras draws one place for the whole batch
        own = layer.get_random_transformation(images)
        expected = theirs.transform_images(images.clone(), copied(own))
        torch.testing.assert_close(layer.transform_images(images, own), expected, rtol=1e-5, atol=2e-5)


@every_kind
def test_channels_may_come_first(row, images):
    last, ahead = make(row, seed=3), make(row, seed=3, data_format="channels_first")
    for training in (True, False):
        outputs = last(images, training=training)
        torch.testing.assert_close(
            ahead(first(images), training=training), outputs.movedim(-1, 1), rtol=1e-6, atol=1e-6
        )
    assert last.compute_output_shape((None, 12, 10, 3)) == (None, *outputs.shape[1:])
    assert ahead.compute_output_shape((None, 3, 12, 10)) == (None, 3, *outputs.shape[1:3])


@every_kind
def test_a_single_image_is_a_batch_of_one(row, images):
    layers_of_a_seed = make(row, seed=3), make(row, seed=3)
    for training in (True, False):
        single, batch = (
            layer(part, training=training)
            for layer, part in zip(layers_of_a_seed, (images[0], images[:1]), strict=True)
        )
        assert torch.equal(single, batch[0])
        assert layers_of_a_seed[0].compute_output_shape((12, 10, 3)) == tuple(single.shape)


@every_kind
def test_inference_leaves_images_as_they_are(row, images):
    layer = make(row)
    expected = layers.Resizing(5, 4, crop_to_aspect_ratio=True)(images) if row[0] == "RandomCrop" else images
    assert torch.equal(layer(images, training=False), expected)
    symbol = triarch.Input((12, 10, 3))
    for model in (triarch.Sequential([symbol, layer]), triarch.Model(symbol, layers.Pipeline([layer])(symbol))):
        assert np.array_equal(model.predict(images.numpy(), verbose=0), expected.numpy())
        assert torch.equal(model(images), expected)
        assert any(not torch.equal(model(images, training=True), expected) for _ in range(5))
    always = triarch.Model(symbol, layer(symbol, training=True))
    assert any(not torch.equal(always(images, training=False), expected) for _ in range(5))


@every_kind
def test_it_works_when_called_by_itself(row, images):
    layer = make(row)
    assert any(not torch.equal(layer(images), layer(images, training=False)) for _ in range(5))


@every_kind
def test_seeds_repeat_and_calls_differ(row, images):
    one, same, other = make(row, seed=3), make(row, seed=3), make(row, seed=4)
    runs = [[layer(images) for _ in range(4)] for layer in (one, same, other)]
    assert all(torch.equal(a, b) for a, b in zip(*runs[:2], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))
    assert any(not torch.equal(runs[0][0], later) for later in runs[0][1:])
    drawn = [layer.get_random_transformation(images, seed=9) for layer in (one, other)]
    assert torch.equal(one.transform_images(images, drawn[0]), other.transform_images(images, drawn[1]))


@every_kind
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(row, batch, images):
    layer = make(row)
    outputs = layer(images[:batch])
    assert outputs.shape == layer(images, training=False)[:batch].shape
    assert outputs.isfinite().all()


@pytest.mark.parametrize(
    ("name", "given", "read", "low", "high"),
    [
        ("RandomFlip", {}, lambda t: t["flips"].float(), 0, 1),
        ("RandomCrop", {"height": 9, "width": 1}, lambda t: t[0].float(), 0, 3),
        ("RandomCrop", {"height": 9, "width": 1}, lambda t: t[1].float(), 0, 9),
        ("RandomRotation", {"factor": (0.1, 0.2)}, lambda t: t["angle"], 36, 72),
        ("RandomTranslation", {"height_factor": 0.5, "width_factor": 0}, lambda t: t["translations"][:, 1], -6, 6),
        ("RandomTranslation", {"height_factor": 0, "width_factor": (0.1, 1)}, lambda t: t["translations"][:, 0], 1, 10),
        ("RandomZoom", {"height_factor": 0.25}, lambda t: t["width_zoom"], 0.75, 1.25),
        ("RandomShear", {"x_factor": (0.5, 1.0)}, lambda t: t["shear_factor"][:, 0].abs(), 0.5, 1),
        ("RandomPerspective", {"scale": 0.5}, lambda t: t["end_points"][:, 3, 0], 6.75, 11.25),
        ("RandomContrast", {"factor": (0.5, 1)}, lambda t: t["contrast_factor"], 0.5, 2),
        ("RandomBrightness", {"factor": 0.5}, lambda t: t["rgb_delta"], -127.5, 127.5),
        ("MixUp", {"alpha": 1.0}, lambda t: t["mix_weight"], 0, 1),
    ],
)
def test_draws_fill_their_range(name, given, read, low, high):
    count = 3000
    transformation = getattr(layers, name)(**given).get_random_transformation(torch.zeros(count, 12, 10, 1))
    drawn = read(transformation).flatten()
    assert len(drawn) == count
    assert low <= drawn.min() <= low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) <= drawn.max() <= high
    assert float(drawn.mean()) == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
    if name not in ("RandomFlip", "RandomCrop"):
        assert len(drawn.unique()) > 0.95 * count


def test_probabilities_are_drawn_from_their_range():
    images = torch.zeros(4000, 2, 2, 1)
    for layer, name in (
        (layers.RandomErasing((0.2, 0.4)), "apply_erasing"),
        (layers.RandomPerspective((0.2, 0.4)), "apply_perspective"),
    ):
        assert float(layer.get_random_transformation(images)[name].float().mean()) == pytest.approx(0.3, abs=0.03)
        assert layer.factor == (0.2, 0.4)
    assert layers.RandomErasing(0.5).factor == (0, 0.5)


def test_flips_turn_whole_images_over(images):
    many = images.repeat(8, 1, 1, 1)
    outputs = layers.RandomFlip("horizontal", seed=1)(many)
    flipped, kept = ((outputs == kind).all((1, 2, 3)) for kind in (many.flip(2), many))
    assert torch.equal(flipped, ~kept)
    assert 8 < sum(flipped) < 32


def test_each_image_is_cropped_at_a_place_of_its_own():
    places = torch.arange(120.0).reshape(1, 12, 10, 1).expand(50, -1, -1, -1)
    cropped = layers.RandomCrop(5, 4, seed=1)(places)
    corners = cropped[:, :1, :1]
    window = (10 * torch.arange(5.0)[:, None] + torch.arange(4.0))[None, :, :, None]
    assert torch.equal(cropped, corners + window)
    assert len(corners.unique()) > 20
    assert cropped.is_contiguous()


def test_images_that_are_too_small_are_resized(images, keras):
    expected = keras.preprocessing.image.smart_resize(images.numpy(), (20, 8))
    np.testing.assert_allclose(layers.RandomCrop(20, 8)(images, training=True), expected, atol=1e-6)
    exact = layers.RandomCrop(12, 10)
    assert torch.equal(exact(images, training=True), images)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("fit", [None, "crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("size", [(5, 7), (31, 6), (12, 10), (4, 20)])
def test_resizing_is_keras_resizing(interpolation, antialias, fit, size, images, keras):
    given = {"interpolation": interpolation, "antialias": antialias, "fill_value": 0.5, **({fit: True} if fit else {})}
    layer, theirs = layers.Resizing(*size, **given), keras.layers.Resizing(*size, **given)
    whole = (images * 40 + 100).clamp(0, 255).to(torch.uint8)
    torch.testing.assert_close(layer(images), theirs(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(images[0]), theirs(images[0]), rtol=1e-5, atol=1e-5)
    ours, expected = layer(whole), theirs(whole)
    assert ours.dtype is expected.dtype is torch.uint8
    assert torch.equal(ours, expected)
    assert torch.equal(layer(images, training=True), layer(images, training=False))


@pytest.mark.parametrize("size", [(24, 25), (12, 10), (5, 4)])
def test_lanczos_is_pillows(size, images):
    image = pytest.importorskip("PIL.Image")
    layer = layers.Resizing(*size, interpolation="lanczos3", antialias=True)
    channel = images[0, :, :, 0].numpy()
    expected = np.asarray(image.fromarray(channel).resize(size[::-1], image.Resampling.LANCZOS))
    np.testing.assert_allclose(layer(images)[0, :, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["lanczos3", "lanczos5"])
def test_lanczos_keeps_what_is_even(interpolation):
    slope = torch.arange(40.0, dtype=torch.float64)[None, :, None, None].expand(1, 40, 3, 2)
    halved = resize(slope, 20, 3, interpolation, antialias=True)
    torch.testing.assert_close(halved[:, 5:-5, 0, 0], slope[:, 10:-10:2, 0, 0] + 0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(resize(torch.ones(1, 7, 9, 1), 5, 30, interpolation), torch.ones(1, 5, 30, 1))


def test_integers_are_saturated_and_large_ones_kept():
    edges = torch.tensor([0, 0, 0, 127, 127, 127], dtype=torch.int8)[None, :, None, None].expand(1, 6, 6, 1)
    resized = layers.Resizing(24, 6, interpolation="bicubic")(edges)
    assert resized.min() < 0  # beyond the edge
    assert resized.max() == 127
    large = torch.tensor([[2**40 + 1, 3]])[None, :, :, None]
    assert layers.Resizing(2, 4, interpolation="nearest")(large)[0, 0, :, 0].tolist() == [2**40 + 1] * 2 + [3, 3]


@pytest.mark.parametrize("size", [(5, 4), (12, 10), (4, 13), (30, 20)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_center_crop_is_keras_center_crop(size, data_format, images, keras):
    inputs = images if data_format == "channels_last" else first(images)
    layer, theirs = (library.CenterCrop(*size, data_format=data_format) for library in (layers, keras.layers))
    torch.testing.assert_close(layer(inputs), theirs(inputs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(inputs[0]), theirs(inputs[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_labels_are_mixed_as_keras_mixes_them(name, images, keras):
    layer, theirs = make((name, {})), make((name, {}), keras.layers)
    drawn = theirs.get_random_transformation(images)
    labels = torch.nn.functional.one_hot(torch.arange(5)).float()
    torch.testing.assert_close(layer.transform_labels(labels, drawn), theirs.transform_labels(labels, drawn))
    assert torch.equal(layer.transform_labels(labels, drawn, training=False), labels)
    outputs = layer({"images": images, "labels": labels.long()})
    torch.testing.assert_close(outputs["labels"].sum(1), torch.ones(5))
    one_number = layer.transform_labels(labels[:, 0], drawn)
    torch.testing.assert_close(one_number, layer.transform_labels(labels, drawn)[:, 0])


def test_mix_up_weighs_images_and_labels_alike():
    count = 400
    own = torch.arange(float(count))
    outputs = layers.MixUp(0.4, seed=1)({"images": own.reshape(-1, 1, 1, 1), "labels": torch.eye(count)})
    torch.testing.assert_close(outputs["images"].flatten(), outputs["labels"] @ own, rtol=1e-4, atol=1e-3)
    assert not torch.equal(outputs["images"].flatten(), own)


def test_cut_mix_labels_are_areas():
    count, side = 40, 60
    own = torch.arange(float(count)).reshape(-1, 1, 1, 1).expand(-1, side, side, 1)
    outputs = layers.CutMix(seed=1)({"images": own, "labels": torch.eye(count)})
    areas = torch.stack([(outputs["images"] == number).float().mean((1, 2, 3)) for number in range(count)], 1)
    torch.testing.assert_close(outputs["labels"], areas, rtol=0, atol=0.05)
    assert (areas > 0).sum(1).max() == 2


@pytest.mark.parametrize("alpha", [1e-6, 0.2, 1.0, 50.0])
def test_weights_are_of_the_beta_distribution(alpha):
    weights = layers.MixUp(alpha, seed=1).get_random_transformation(torch.zeros(20000, 1, 1, 1))["mix_weight"]
    assert weights.isfinite().all()
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weights.var()) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.05)


def test_erased_boxes_have_the_sizes_asked_for():
    images = torch.zeros(500, 40, 50, 3)
    erased = layers.RandomErasing((1, 1), (0.04, 0.25), fill_value=(1, 2, 3), seed=1)(images)
    is_erased = erased[..., 0] > 0
    assert torch.equal(erased, is_erased.unsqueeze(-1) * torch.tensor([1.0, 2.0, 3.0]))
    heights, widths = is_erased.any(2).sum(1), is_erased.any(1).sum(1)
    assert (heights * widths == is_erased.sum((1, 2))).all()
    assert (heights.min(), heights.max()) == (8, 20)
    assert (widths.min(), widths.max()) == (10, 25)
    noisy = layers.RandomErasing((1, 1), (1, 1), value_range=(0, 0.5))(images[:20])
    assert (noisy.min(), noisy.max()) == (0, 0.5)
    assert float(noisy.mean()) == pytest.approx(0.5 * 0.3161, abs=0.01)  # of a normal number clipped to 0 and 1 σ


def test_boxes_in_dicts_are_refused_and_what_else_they_hold_is_kept(images):
    layer = layers.RandomFlip()
    given = {"images": images, "labels": torch.arange(5), "weights": torch.ones(5), "names": "abcde"}
    outputs = layer(given)
    assert outputs["labels"] is given["labels"]
    assert outputs["names"] == "abcde"
    assert outputs.keys() == given.keys()
    assert not torch.equal(outputs["images"], images)
    assert torch.equal(given["images"], images)
    for wrong in ({"images": images, "bounding_boxes": images}, {"labels": images}):
        with pytest.raises(ValueError, match=r"takes a dict with 'images'.*Received: \['"):
            layer(wrong)
    for name in ("MixUp", "CutMix"):
        with pytest.raises(ValueError, match="a number for each class"):
            make((name, {}))({"images": images, "labels": torch.arange(5)})


@pytest.mark.parametrize("row", [*_EVERY_KIND.items(), *_FIXED], ids=told)
def test_configs_are_keras_configs(row, keras):
    extra = {} if row in _FIXED else {"seed": 3}
    layer, theirs = make(row, name="mine", **extra), make(row, keras.layers, name="mine", **extra)
    config, keras_config = as_json(layer.get_config()), as_json(theirs.get_config())
    if row[0] == "RandomShear":  # its numbers as they were given, since Keras refuses the ones that it writes
        assert keras_config.pop("x_factor") == [-config["x_factor"], config.pop("x_factor")]
        assert keras_config.pop("y_factor") == [-config["y_factor"], config.pop("y_factor")]
    assert config == keras_config
    opened = keras.layers.deserialize(file_form(layer))
    assert as_json(opened.get_config()) == as_json(theirs.get_config())
    ours = deserialize_keras_object(as_json(keras.layers.serialize(theirs)))
    assert type(ours) is type(layer)
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    assert repr(layer).startswith(row[0])


def augmenting(library):
    """A model with a layer of each kind, but for those that Keras cannot open, or leaves out in inference."""
    kinds = [make(row, library.layers) for row in _EVERY_KIND.items() if row[0] not in ("RandomShear", "RandomCrop")]
    some = library.layers.Pipeline([library.layers.RandomBrightness(0.1), library.layers.CenterCrop(8, 7)])
    ending = [library.layers.Resizing(6, 5), library.layers.Flatten(), library.layers.Dense(2)]
    return library.Sequential([library.Input((12, 10, 3)), *kinds, some, *ending])


@pytest.mark.filterwarnings("ignore:`build..` was called on layer 'pipeline':UserWarning")  # Keras's own
@pytest.mark.parametrize("direction", ["triarch to Keras", "Keras to triarch", "triarch to triarch"])
def test_models_are_saved_with_them(direction, images, keras, tmp_path):
    libraries = {"triarch": triarch, "Keras": keras}
    writer, reader = (libraries[name] for name in direction.split(" to "))
    model = augmenting(writer)
    path = tmp_path / "model.keras"
    model.save(path)
    opened = saving.load_model(path) if reader is triarch else keras.models.load_model(path)
    torch.testing.assert_close(opened(images, training=False), model(images, training=False), rtol=1e-5, atol=1e-5)
    written, read = ([type(layer).__name__ for layer in own.layers] for own in (model, opened))
    assert written == read


def test_a_pipeline_is_its_layers(images):
    def some():
        return [
            layers.RandomFlip(seed=1),
            layers.RandomRotation(0.2, seed=2),
            layers.Resizing(6, 5),
            layers.Dropout(0.5, seed=3),
        ]

    pipeline, alone = layers.Pipeline(some()), some()
    expected = images
    for layer in alone:
        expected = layer(expected, training=True)
    assert torch.equal(pipeline(images), expected)
    assert torch.equal(pipeline(images, training=False), layers.Resizing(6, 5)(images))
    assert not any(layer.training for layer in (pipeline, *pipeline.layers))
    outputs = layers.Pipeline([layers.RandomFlip(), layers.MixUp()])({"images": images, "labels": torch.eye(5)})
    assert outputs["labels"].shape == (5, 5)
    assert pipeline.compute_output_shape((None, 12, 10, 3)) == (None, 6, 5, 3)
    copy = deserialize_keras_object(file_form(pipeline))
    assert file_form(copy) == file_form(pipeline)
    for wrong in ([], layers.RandomFlip(), [3]):
        with pytest.raises(ValueError, match="`layers` is a list of layers"):
            layers.Pipeline(wrong)


def test_a_pipeline_builds_its_layers():
    pipeline = layers.Pipeline([layers.Resizing(4, 4), layers.Flatten(), layers.Dense(3)])
    symbol = pipeline(triarch.Input((9, 9, 2)))
    assert symbol.shape == (None, 3)
    assert [tuple(weight.shape) for weight in pipeline.weights] == [(32, 3), (3,)]


@pytest.mark.parametrize("row", [*_EVERY_KIND.items(), *_FIXED], ids=told)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_symbols_foretell_shapes_and_types(row, dtype, images):
    layer = make(row)
    inputs = {"images": triarch.Input((12, 10, 3), dtype=dtype), "labels": triarch.Input((5,), dtype="int32")}
    symbols = layer(inputs)
    labels = torch.eye(5, dtype=torch.int32)
    for training in (True, False):
        outputs = layer({"images": images.to(getattr(torch, dtype)), "labels": labels}, training=training)
        for name in ("images", "labels"):
            assert symbols[name].shape == (None, *outputs[name].shape[1:])
            if training:
                assert symbols[name].dtype == str(outputs[name].dtype).removeprefix("torch.")
    assert symbols["images"].dtype == (dtype if row[0] == "Resizing" else "float32")


@every_kind
def test_types_follow_the_policy(row, images):
    whole = (images * 40 + 100).clamp(0, 255).to(torch.uint8)
    ranges = {"value_range": (0, 255)} if "value_range" in row[1] else {}
    made = {
        dtype: make((row[0], {**row[1], **ranges}), seed=3, dtype=dtype)
        for dtype in ("float32", "float64", "mixed_bfloat16", "uint8")
    }
    outputs = {dtype: layer(whole) for dtype, layer in made.items()}
    assert [output.dtype for output in outputs.values()] == [torch.float32, torch.float64, torch.bfloat16, torch.uint8]
    torch.testing.assert_close(outputs["mixed_bfloat16"].float(), outputs["float32"], rtol=0.02, atol=0.5)
    torch.testing.assert_close(outputs["uint8"].float(), outputs["float32"].round().clamp(0, 255), rtol=0, atol=1.01)
    assert made["float32"](whole, training=False).dtype is torch.float32


def test_half_precision_finds_its_pixels():
    wide = torch.arange(600.0).remainder(7).reshape(1, 1, 600, 1)
    layer = layers.RandomTranslation(0, (1 / 3, 1 / 3), "constant", "nearest", dtype="mixed_bfloat16")
    moved = layer(wide).float()
    assert torch.equal(moved[:, :, 200:], wide[:, :, :400])


def test_gradients_pass_through(rng):
    inputs = torch.from_numpy(rng.normal(size=(2, 4, 5, 2))).requires_grad_()
    for layer in (
        layers.RandomRotation(0.2, dtype="float64"),
        layers.RandomContrast(0.2, (-9, 9), dtype="float64"),
        layers.MixUp(dtype="float64"),
    ):
        drawn = layer.get_random_transformation(inputs)
        assert torch.autograd.gradcheck(lambda x, layer=layer, drawn=drawn: layer.transform_images(x, drawn), inputs)


def test_untilted_images_stay_to_the_last_bit_and_tilted_ones_are_finite(images):
    assert torch.equal(layers.RandomPerspective((0, 0))(images, training=True), images)
    many = images.repeat(100, 1, 1, 1)
    assert layers.RandomPerspective((1, 1), seed=1)(many).isfinite().all()


def matrices(layer, images):
    """The 3 x 3 matrices of a layer's draws, from output places to input places."""
    drawn = layer._matrix(layer.get_random_transformation(images), images.shape[1:3])[:, :6].unflatten(1, (2, 3))
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(images), 1, 3)
    return torch.cat([drawn, last], 1).double()


def test_random_affine_is_the_chain_of_layers(images):
    turn, zoom, move, shear = (0.13, 0.13), (0.4, 0.4), (0.2, 0.2), (0.3, 0.3)
    affine = layers.RandomAffine(rotation=turn, zoom=zoom, translation=move)
    chain = [layers.RandomRotation(turn), layers.RandomZoom(zoom), layers.RandomTranslation(move, move)]
    rotation, scaling, shift = (matrices(layer, images) for layer in chain)
    torch.testing.assert_close(matrices(affine, images), rotation @ scaling @ shift, atol=1e-4, rtol=1e-4)
    about = torch.tensor([[1, 0, 4.5], [0, 1, 5.5], [0, 0, 1]], dtype=torch.float64)
    tilt = about @ torch.tensor([[1, 0.3, 0], [0.3, 1, 0], [0, 0, 1]], dtype=torch.float64) @ about.inverse()
    whole = matrices(layers.RandomAffine(None, turn, shear, zoom, move), images)
    torch.testing.assert_close(whole, rotation @ tilt @ scaling @ shift, atol=1e-4, rtol=1e-4)
    for layer, one in (
        (layers.RandomAffine(rotation=turn), chain[0]),
        (layers.RandomAffine(zoom=zoom), chain[1]),
        (layers.RandomAffine(translation=move), chain[2]),
    ):
        torch.testing.assert_close(layer(images), one(images), rtol=1e-4, atol=1e-4)


def test_random_affine_flips_each_axis_by_itself():
    image = torch.arange(24.0).reshape(1, 4, 6, 1)
    outputs = layers.RandomAffine("horizontal_and_vertical", seed=1)(image.expand(200, -1, -1, -1))
    kinds = {axes: image.flip(axes)[0] for axes in ((), (1,), (2,), (1, 2))}
    counts = {axes: sum(torch.equal(output, kind) for output in outputs) for axes, kind in kinds.items()}
    assert sum(counts.values()) == 200
    assert min(counts.values()) > 25
    only = layers.RandomAffine("vertical", seed=1)(image.expand(50, -1, -1, -1))
    assert {tuple(output[0, :2, 0].tolist()) for output in only} == {(0.0, 1.0), (18.0, 19.0)}


def test_random_affine_is_saved_and_does_nothing_by_default(images, tmp_path):
    layer = layers.RandomAffine("horizontal", 0.1, 0.2, (0.1, 0.3), 0.2, "constant", "nearest", 4, 0.5, name="mine")
    copy = deserialize_keras_object(file_form(layer))
    assert file_form(copy) == file_form(layer)
    assert torch.equal(copy(images), layers.RandomAffine.from_config(layer.get_config())(images))
    assert torch.equal(layers.RandomAffine()(images, training=True), images)
    model = triarch.Sequential([triarch.Input((12, 10, 3)), layer])
    model.save(tmp_path / "model.keras")
    assert json.dumps(file_form(saving.load_model(tmp_path / "model.keras").layers[0])) == json.dumps(file_form(layer))


def test_threads_share_a_layer():
    layer, images = layers.RandomBrightness((0.5, 0.5)), torch.zeros(2, 3, 3, 1)

    def is_right(number):
        return bool((layer(images, training=number % 2 == 0) == (127.5 if number % 2 == 0 else 0)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, range(400)))


def test_a_model_learns_with_them(rng):
    x = rng.normal(size=(48, 8, 8, 1)).astype(np.float32)
    y = (x[:, :, :, 0].mean((1, 2)) > 0).astype(np.int64)
    model = triarch.Sequential(
        [
            triarch.Input((8, 8, 1)),
            layers.RandomFlip(seed=1),
            layers.RandomAffine(rotation=0.1, zoom=0.1, seed=2),
            layers.RandomTranslation(0.1, 0.1, seed=3),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    losses = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert np.array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("Resizing", {"height": 0, "width": 3}, "`height` must be a positive integer"),
        ("Resizing", {"height": 3, "width": 3, "interpolation": "area"}, "`interpolation` is one of 'bilinear'"),
        ("Resizing", {"height": 3, "width": 3, "fill_mode": "wrap"}, "`fill_mode` is one of 'constant'"),
        (
            "Resizing",
            {"height": 3, "width": 3, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True},
            "One of `crop_to_aspect_ratio`",
        ),
        ("CenterCrop", {"height": 3, "width": -1}, "`width` must be a positive integer"),
        ("RandomCrop", {"height": 3.5, "width": 1}, "`height` must be a positive integer"),
        ("RandomFlip", {"mode": "diagonal"}, "`mode` is one of 'horizontal'"),
        ("RandomRotation", {"factor": 1.5}, "`factor` is a number from -1 to 1"),
        ("RandomRotation", {"factor": (0.1, 0.2, 0.3)}, "`factor` is a number"),
        ("RandomRotation", {"factor": "half"}, "`factor` is a number"),
        ("RandomRotation", {"factor": 0.1, "fill_mode": "mirror"}, "`fill_mode` is one of 'reflect'"),
        ("RandomRotation", {"factor": 0.1, "interpolation": "bicubic"}, "`interpolation` is one of 'nearest'"),
        ("RandomTranslation", {"height_factor": 0.1, "width_factor": (-2, 0)}, "`width_factor` is a number from -1"),
        ("RandomZoom", {"height_factor": -1.0}, "`height_factor` is above -1"),
        ("RandomZoom", {"height_factor": 0.1, "width_factor": 2}, "`width_factor` is a number"),
        ("RandomShear", {"x_factor": 1.1}, "`x_factor` is a number"),
        ("RandomPerspective", {"scale": 2}, "`scale` is a number from 0 to 1"),
        ("RandomPerspective", {"factor": -0.5}, "`factor` is a number from 0 to 1"),
        ("RandomContrast", {"factor": 2.0}, "`factor` is a number from 0 to 1"),
        ("RandomBrightness", {"factor": 0.1, "value_range": 255}, "`value_range` is a pair"),
        ("RandomErasing", {"scale": (-0.1, 0.2)}, "`scale` is a number from 0 to 1"),
        ("MixUp", {"alpha": 0}, "`alpha` is a positive number"),
        ("CutMix", {"factor": (2, 3)}, "`factor` is a number from 0 to 1"),
        ("RandomAffine", {"flip": "both"}, "`flip` is one of None, 'horizontal'"),
        ("RandomAffine", {"zoom": (-1, 0)}, "`zoom` is above -1"),
        ("RandomFlip", {"data_format": "NHWC"}, "data_format must be one of"),
    ],
)
def test_wrong_arguments_are_explained(name, given, message):
    with pytest.raises(ValueError, match=message) as raised:
        make((name, given))
    assert "Received: " in str(raised.value)


def test_wrong_inputs_are_explained(images):
    for layer in (layers.RandomFlip(), layers.Resizing(3, 3), layers.MixUp()):
        with pytest.raises(ValueError, match=r"takes images of 3 axes, or of 4.*Received: shape \(12, 10\)"):
            layer(images[0, :, :, 0])
    with pytest.raises(ValueError, match=r"at least 2 x 2 pixels\. Received: height 1, width 5"):
        layers.RandomPerspective()(torch.zeros(2, 1, 5, 1))
    with pytest.raises(ValueError, match=r"one for each of 3 channels\. Received: fill_value=\(1, 2\)"):
        layers.RandomErasing(fill_value=(1, 2))(images)
