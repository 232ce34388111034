"""Spatial transformers: layers that learn how their inputs have to be moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from triarch import Sequential, kernels, layers, saving
from triarch.layers.spatial.transformations import NAMES, transformation
from triarch.models import Functional
from triarch.optimizers import Adam

every_transform = pytest.mark.parametrize("transform", NAMES)


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((3, 12, 10, 2)).astype(np.float32)


class Constant(layers.Layer):
    """The same parameters for every image."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape):
        self.values = self.add_weight((self.count,), "ones", name="values")

    def call(self, inputs):
        return self.values.expand(len(inputs), -1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.count)


def told(parameters, images, **options):
    """A transformer that does what it is told."""
    layer = layers.SpatialTransformer(Constant(len(parameters)), **options)
    layer.build(images.shape)
    layer.localization.values.assign(parameters)
    return layer


@every_transform
@pytest.mark.parametrize("localization", ["cnn", "dense"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
def test_it_begins_as_the_identity_to_the_last_bit(images, transform, localization, interpolation):
    layer = layers.SpatialTransformer(localization, transform, interpolation=interpolation)
    outputs = layer(images)
    assert torch.equal(outputs, torch.from_numpy(images))
    theta = layer.theta(torch.from_numpy(images))
    if transform == "tps":
        assert theta.shape == (3, 16, 2)
        assert theta[0, 0].tolist() == [-1, -1]
        assert theta[0, 3].tolist() == [1, -1]
    else:
        assert torch.equal(theta, torch.eye(3)[: theta.shape[1]].expand_as(theta))


def test_a_larger_output_shows_the_same_image(images):
    layer = layers.SpatialTransformer("dense", output_size=(24, 20), padding="border")
    expected = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (24, 20), mode="bilinear")
    torch.testing.assert_close(layer(images), expected.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    assert layer.compute_output_shape((None, 12, 10, 2)) == (None, 24, 20, 2)


@pytest.mark.parametrize("size", [(12, 10), (5, 7)])
def test_affine_transformers_are_torchs_grid_and_sample(images, size):
    parameters = 0.3 * np.random.default_rng(1).standard_normal(6)
    layer = told(parameters, images, transform="affine", output_size=size)
    x = torch.from_numpy(images)
    theta = torch.eye(2, 3) + torch.from_numpy(parameters).float().reshape(2, 3)
    torch.testing.assert_close(layer.theta(x), theta.expand(3, 2, 3))
    grid = F.affine_grid(theta.expand(3, 2, 3), [3, 2, *size], align_corners=False)
    expected = F.grid_sample(x.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-5)


def test_projective_and_thin_plate_transformers_are_their_grids(images):
    rng = np.random.default_rng(2)
    x = torch.from_numpy(images)
    for transform, count, grid_of in (
        ("projective", 8, kernels.projective_grid),
        ("tps", 32, kernels.tps_grid),
    ):
        layer = told(0.1 * rng.standard_normal(count), images, transform=transform)
        expected = kernels.grid_sample(x, grid_of(layer.theta(x), (12, 10)))
        torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-5)


def test_similar_transformations_turn_pixels_and_keep_their_distances():
    turn = np.deg2rad(90)
    wide = np.zeros((1, 12, 10, 1), np.float32)
    layer = told([np.cos(turn) - 1, np.sin(turn), 0, 0], wide, transform="similarity")
    frame = layer.frames(torch.from_numpy(wide))[0]
    centre = torch.tensor([4.5, 5.5])
    corners = frame[[0, 9, 20, 29]] - centre
    torch.testing.assert_close(corners.norm(dim=1), torch.full((4,), 0.5 * float(np.hypot(9, 11))), atol=1e-4, rtol=0)
    torch.testing.assert_close(corners[0], torch.tensor([5.5, -4.5]), atol=1e-4, rtol=0)


def test_translations_and_attention(images):
    moved = told([2 * 3 / 10, 2 * -2 / 12], images, transform="translation")(images)
    torch.testing.assert_close(moved[:, 2:, :7], torch.from_numpy(images)[:, :10, 3:], rtol=1e-4, atol=1e-5)
    assert not moved[:, :2].any()
    half = told([-0.5, 0.5, 0.0], images, transform="attention")
    frame = half.frames(torch.from_numpy(images))[0]
    assert frame[:, 0].min() > 4.4  # the right half


@every_transform
def test_gradients_reach_parameters_and_images(transform):
    family = transformation(transform, (3, 3))
    parameters = (0.05 * torch.randn(2, family.count, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda own: family.displace(own, (4, 6), (3, 5)), parameters)
    assert torch.autograd.gradcheck(lambda own: family.matrix(own, (4, 6)), parameters)


@every_transform
def test_a_transformer_learns(transform):
    """Images of a square that is somewhere: with the right move, one template fits them all."""
    rng = np.random.default_rng(0)
    x = np.zeros((64, 16, 16, 1), np.float32)
    for image, (row, column) in zip(x, rng.integers(1, 10, (64, 2)), strict=True):
        image[row : row + 5, column : column + 5] = 1
    y = np.zeros((64, 16, 16, 1), np.float32)
    y[:, 5:10, 5:10] = 1
    count = transformation(transform, (4, 4)).count
    members = [layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dense(count)]
    model = Sequential([layers.Input((16, 16, 1)), layers.SpatialTransformer(Sequential(members), transform)])
    model.compile(Adam(3e-3), "mse")
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, batch_size=16, epochs=40, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.6 * before


def test_in_series_in_parallel_and_on_feature_maps(tmp_path):
    inputs = layers.Input((16, 16, 3))
    first = layers.SpatialTransformer("dense", "attention", output_size=(8, 8))(inputs)
    second = layers.SpatialTransformer("dense", "translation", output_size=8, name="second")(inputs)
    features = layers.Conv2D(4, 3, padding="same")(layers.Concatenate()([first, second]))
    deep = layers.SpatialTransformer("cnn", "tps", control_points=(3, 3), regularization=1e-3)(features)
    deeper = layers.SpatialTransformer(Sequential([layers.Flatten(), layers.Dense(6)]))(deep)
    model = Functional(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(deeper)))
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 16, 16, 3)).astype(np.float32), rng.integers(0, 3, 20)
    model.fit(x, y, epochs=2, batch_size=5, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    again = saving.load_model(path)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.get_layer("second").output_size == (8, 8)


def test_the_price_of_a_transformation(images):
    layer = told([0.5, -1.0], images, transform="translation", regularization=0.1)
    layer(images)
    assert [float(loss) for loss in layer.losses] == pytest.approx([0.1 * 1.25])
    layer = told([0.5, -1.0], images, transform="translation", regularization="l1")
    layer(images)
    assert [float(loss) for loss in layer.losses] == pytest.approx([0.01 * 1.5])


def test_the_localisation_may_learn_more_slowly(images):
    layer = layers.SpatialTransformer("cnn", learning_rate_factor=0.1)
    layer(images)
    assert {weight.learning_rate_factor for weight in layer.weights} == {0.1}
    assert layers.SpatialTransformer.from_config(layer.get_config()).learning_rate_factor == 0.1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "mixed_bfloat16"])
def test_other_types(images, dtype):
    layer = layers.SpatialTransformer("dense", dtype=dtype)
    outputs = layer(images)
    assert outputs.dtype is layer._compute_torch_dtype
    assert torch.equal(outputs, torch.from_numpy(images).to(outputs.dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_its_own_image_alone(images, bad):
    images[1, 3, 3, 0] = bad
    layer = layers.SpatialTransformer(Sequential([layers.Flatten(), layers.Dense(6)]))
    layer.build(images.shape)
    layer.localization.layers[-1].kernel.assign(0.001 * np.random.default_rng(0).standard_normal((240, 6)))
    x = torch.from_numpy(images).requires_grad_()
    outputs = layer(x)
    assert outputs[1].isnan().all()
    assert outputs[[0, 2]].isfinite().all()
    outputs[[0, 2]].sum().backward()
    assert x.grad[[0, 2]].isfinite().all()


@every_transform
def test_degenerate_transformations(images, transform):
    """No area is left, or the plane is seen from its edge."""
    count = transformation(transform, (4, 4)).count
    for value in (-1.0, 1e6, -1e30):
        outputs = told([value] * count, images, transform=transform)(images)
        assert outputs.shape == images.shape


def test_an_empty_batch(images):
    layer = layers.SpatialTransformer("dense")
    layer.build(images.shape)
    assert layer(images[:0]).shape == (0, 12, 10, 2)


REFUSED = [
    ({"transform": "rigid"}, "`transform` is one of 'affine'"),
    ({"localization": "resnet"}, "`localization` is a layer, a model, or one of 'cnn', 'dense'"),
    ({"localization": 3}, "`localization` is a layer"),
    ({"interpolation": "cubic"}, "`interpolation` is one of"),
    ({"padding": "same"}, "`padding` is one of"),
    ({"output_size": (3, 4, 5)}, "output_size"),
    ({"control_points": (1, 4)}, "at least 2 x 2"),
    ({"learning_rate_factor": -1}, "at least 0"),
    ({"regularization": "l3"}, "l3"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_arguments_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layers.SpatialTransformer(**options)


def test_localisations_that_do_not_fit(images):
    layer = layers.SpatialTransformer(Sequential([layers.Flatten(), layers.Dense(5)]))
    with pytest.raises(ValueError, match=r"6 numbers for an image.*Received: one of shape \(None, 5\)"):
        layer(images)
    layer = layers.SpatialTransformer(Sequential([layers.Flatten(), layers.Dense(6, activation="sigmoid")]))
    with pytest.raises(ValueError, match="gives zeros where its weights are 0"):
        layer(images)
    layer = layers.SpatialTransformer(layers.Lambda(lambda x: x.mean((1, 2)).repeat(1, 3), output_shape=(6,)))
    with pytest.raises(ValueError, match="gives zeros where its weights are 0"):
        layer(images)
    with pytest.raises(ValueError, match="channels"):
        layers.SpatialTransformer()(images[0])


# Its parts.


def test_grid_and_sample_as_layers(images):
    image_inputs, theta_inputs = layers.Input((12, 10, 2)), layers.Input((6,))
    grid = layers.AffineGrid((5, 7))(theta_inputs)
    assert grid.shape == (None, 5, 7, 2)
    sampled = layers.GridSample(padding="border")([image_inputs, grid])
    assert sampled.shape == (None, 5, 7, 2)
    model = Functional([image_inputs, theta_inputs], sampled)
    theta = (np.eye(2, 3) + 0.2 * np.random.default_rng(0).standard_normal((3, 2, 3))).astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(theta), [3, 2, 5, 7], align_corners=False)
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)
    expected = F.grid_sample(channels_first, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    found = model.predict([images, theta.reshape(3, 6)], verbose=0)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    again = Functional.from_config(model.get_config())
    np.testing.assert_array_equal(again.predict([images, theta.reshape(3, 6)], verbose=0), found)


def test_parts_that_are_refused(images):
    with pytest.raises(ValueError, match=r"\(batch, 2, 3\) or \(batch, 6\)"):
        layers.AffineGrid(4)(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"a list \[images, grid\]"):
        layers.GridSample()(images)
    with pytest.raises(ValueError, match="`interpolation` is one of"):
        layers.GridSample("linear")
