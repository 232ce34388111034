"""Layers of several tensors, masks, and layers of layers, beside Keras's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conformance import file_form

from triarch import Input, Model, Sequential, layers
from triarch.serialization import deserialize_keras_object

_SHAPES = [((3, 4), (3, 4)), ((3, 4), (1, 4)), ((3, 4), (4,)), ((5,), (5,))]
_ELEMENTWISE = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]


def parts_of(shapes, rng):
    return [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("shapes", _SHAPES, ids=str)
@pytest.mark.parametrize("name", _ELEMENTWISE)
def test_elementwise_merges_are_keras_merges(name, shapes, rng, keras):
    tensors = [torch.from_numpy(part).requires_grad_() for part in parts_of(shapes, rng)]
    ours, theirs = (getattr(module, name)()(tensors) for module in (layers, keras.layers))
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours.square().sum(), tensors),
        torch.autograd.grad(theirs.square().sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    symbols = [Input(shape) for shape in shapes]
    assert getattr(layers, name)()(symbols).shape == (None, *ours.shape[1:])
    function = getattr(layers, name.lower())
    torch.testing.assert_close(function(tensors), ours)


@pytest.mark.parametrize(
    ("name", "arguments", "shapes"),
    [
        ("Concatenate", {}, ((3, 4), (3, 2), (3, 1))),
        ("Concatenate", {"axis": 1}, ((3, 4), (2, 4))),
        ("Dot", {"axes": 1}, ((3, 4), (3, 2))),
        ("Dot", {"axes": (2, 1)}, ((3, 4), (4, 2))),
        ("Dot", {"axes": -1, "normalize": True}, ((4,), (4,))),
        ("Dot", {"axes": 2}, ((3, 4), (5, 4))),
    ],
)
def test_joins_are_keras_joins(name, arguments, shapes, rng, keras):
    tensors = [torch.from_numpy(part) for part in parts_of(shapes, rng)]
    layer = getattr(layers, name)(**arguments)
    ours = layer(tensors)
    torch.testing.assert_close(ours, getattr(keras.layers, name)(**arguments)(tensors))
    assert layer([Input(shape) for shape in shapes]).shape == (None, *ours.shape[1:])
    assert file_form(deserialize_keras_object(file_form(layer))) == file_form(layer)
    assert layer.get_config().keys() == getattr(keras.layers, name)(**arguments).get_config().keys()


@pytest.mark.parametrize("name", [*_ELEMENTWISE, "Concatenate"])
@pytest.mark.parametrize("masked", [(True, True), (True, False)])
def test_masks_go_through_merges_as_in_keras(name, masked, keras):
    numbers = [torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[0, 2, 5], [3, 1, 0]])]
    vectors = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    results = []
    for library in (layers, keras.layers):
        embeddings = [library.Embedding(6, 3, mask_zero=has_mask) for has_mask in masked]
        for embedding in embeddings:
            embedding.build((None, 3))
            embedding.set_weights([vectors])
        outputs = getattr(library, name)()([e(x) for e, x in zip(embeddings, numbers, strict=True)])
        results.append((outputs, getattr(outputs, "_keras_mask", None)))
    (ours, our_mask), (theirs, their_mask) = results
    torch.testing.assert_close(ours, theirs)
    assert (our_mask is None) == (their_mask is None)
    if our_mask is not None:
        torch.testing.assert_close(our_mask, their_mask)


def test_masks_pass_layers_that_keep_steps():
    numbers = torch.tensor([[1, 2, 0], [3, 0, 0]])
    x = layers.Embedding(6, 3, mask_zero=True)(numbers)
    x = layers.Dropout(0.5)(layers.Dense(4, activation="relu")(x))
    assert x._keras_mask.tolist() == (numbers != 0).tolist()
    with pytest.warns(UserWarning, match=r"Layer 'flatten.*' \(of type Flatten\) .* destroy the mask"):
        assert not hasattr(layers.Flatten()(x), "_keras_mask")
    series = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    assert layers.Masking()(series)._keras_mask.tolist() == [[True, False]]


def test_batch_statistics_are_those_of_steps_that_count(keras, rng):
    numbers = torch.tensor([[1, 2, 0], [3, 0, 0]])
    vectors = rng.normal(size=(6, 3)).astype(np.float32)
    results = []
    for library in (layers, keras.layers):
        embedding, normalization = library.Embedding(6, 3, mask_zero=True), library.BatchNormalization()
        embedding.build((None, 3))
        embedding.set_weights([vectors])
        outputs = normalization(embedding(numbers), training=True)
        results.append((outputs, *(np.asarray(w) for w in normalization.get_weights())))
    torch.testing.assert_close(results[0][0], results[1][0])
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"momentum": 0.8, "scale": False}, {"renorm": True}, {"axis": 1}], ids=str)
def test_moving_statistics_after_five_steps_are_keras_statistics(arguments, rng, keras):
    batches = rng.normal(2.0, 3.0, size=(5, 8, 4, 6)).astype(np.float32)
    found = []
    for library in (layers, keras.layers):
        layer = library.BatchNormalization(**arguments)
        outputs = [layer(torch.from_numpy(batch), training=True).detach() for batch in batches]
        outputs.append(layer(torch.from_numpy(batches[0]), training=False).detach())
        found.append((torch.stack(outputs), layer.get_weights()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_frozen_normalisation_infers(rng):
    layer = layers.BatchNormalization()
    x = torch.from_numpy(rng.normal(5.0, size=(16, 3)).astype(np.float32))
    layer.build((None, 3))
    layer.trainable = False
    torch.testing.assert_close(layer(x, training=True), layer(x, training=False))
    assert layer.moving_mean.abs().sum() == 0


def test_normalisation_over_other_axes_is_its_definition(rng):
    x = torch.from_numpy(rng.normal(size=(2, 4, 5, 3)).astype(np.float32))
    layer = layers.LayerNormalization(axis=[1, 2], epsilon=1e-3)
    expected = (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), correction=0, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(layer(x), expected)
    rms = layers.RMSNormalization(axis=[1, 3])
    torch.testing.assert_close(rms(x), x / (x.square().mean((1, 3), keepdim=True) + 1e-6).sqrt())


@pytest.mark.parametrize("kind", ["Dense", "Conv2D"])
def test_spectral_normalisation_is_keras_normalisation(kind, rng, keras):
    shape, arguments = ((6,), {"units": 4}) if kind == "Dense" else ((5, 5, 2), {"filters": 3, "kernel_size": 2})
    x = torch.from_numpy(rng.normal(size=(2, *shape)).astype(np.float32))
    found = []
    for library in (layers, keras.layers):
        layer = library.SpectralNormalization(getattr(library, kind)(**arguments), power_iterations=3)
        layer.build((None, *shape))
        order = {tuple(weight.shape): weight for weight in layer.weights}
        values = {s: np.random.default_rng(len(s)).normal(size=s).astype(np.float32) for s in order}
        layer.set_weights([values[tuple(weight.shape)] for weight in layer.weights])
        outputs = [layer(x, training=True).detach() for _ in range(2)]
        found.append(torch.stack([*outputs, layer(x).detach()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_spectral_normalisation_refuses():
    with pytest.raises(ValueError, match="positive integer"):
        layers.SpectralNormalization(layers.Dense(3), power_iterations=0)
    with pytest.raises(ValueError, match="with a `kernel` or `embeddings`"):
        layers.SpectralNormalization(layers.ReLU()).build((None, 3))


def test_what_merges_refuse():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="takes a list"):
        layers.Add()(x)
    with pytest.raises(ValueError, match="takes 2 tensors"):
        layers.Subtract()([x, x, x])
    with pytest.raises(ValueError, match="axis of the samples"):
        layers.Dot(axes=0)
    with pytest.raises(ValueError, match="sums over axes of one size"):
        layers.Dot(axes=1)([x, torch.zeros(2, 4)])
    with pytest.raises(ValueError, match="vectors for the numbers 0 to 4"):
        layers.Embedding(5, 2)(torch.tensor([7]))


def test_torch_modules_are_layers_of_graphs(rng):
    inputs = Input((4, 4, 3))
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    model = Model(inputs, layers.TorchModuleWrapper(module)(inputs))
    assert len(model.trainable_weights) == 2
    x = rng.normal(size=(5, 4, 4, 3)).astype(np.float32)
    model.compile("sgd", "mse")
    before = module[1].weight.detach().clone()
    model.fit(x, np.ones((5, 2)), epochs=1, verbose=0)
    assert not torch.equal(before, module[1].weight)
    with pytest.raises(ValueError, match="cannot be written to a file"):
        model.get_config()


class TestResidual:
    def test_is_its_equation(self, rng):
        block = Sequential(
            [layers.Conv2D(6, 3, padding="same", activation="relu"), layers.Conv2D(4, 3, padding="same")]
        )
        layer = layers.Residual(block, activation="relu")
        x = torch.from_numpy(rng.normal(size=(2, 8, 8, 4)).astype(np.float32))
        torch.testing.assert_close(layer(x), torch.relu(block(x) + x))
        assert layer.projection is None

    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_projects_where_shapes_ask_for_it(self, stride, rng):
        layer = layers.Residual(layers.Conv2D(5, 3, strides=stride, padding="same"))
        x = torch.from_numpy(rng.normal(size=(2, 7, 8, 4)).astype(np.float32))
        projected = x[:, ::stride, ::stride] @ layer(x).new_tensor(layer.projection.kernel.detach()[0, 0])
        torch.testing.assert_close(layer(x), layer.block(x) + projected, rtol=1e-4, atol=1e-5)
        assert layer(Input((None, None, 4))).shape == (None, None, None, 5)

    def test_adds_zeros(self, rng):
        layer = layers.Residual(layers.Conv2D(6, 3, strides=2, padding="same"), shortcut="zero_pad")
        x = torch.from_numpy(rng.normal(size=(2, 8, 8, 4)).astype(np.float32))
        shortcut = torch.nn.functional.pad(x[:, ::2, ::2], (0, 2))
        torch.testing.assert_close(layer(x), layer.block(x) + shortcut)
        assert len(layer.weights) == 2

    def test_takes_layers_lists_and_modules(self, rng):
        x = torch.from_numpy(rng.normal(size=(2, 4)).astype(np.float32))
        own = layers.Dense(3, use_bias=False)
        layer = layers.Residual([layers.Dense(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)], shortcut=own, scale=0.1)
        dense, tanh, linear = layer.block
        torch.testing.assert_close(layer(x), 0.1 * linear(tanh(dense(x))) + own(x))
        assert len(layer.trainable_weights) == 5

    def test_begins_as_its_shortcut(self, rng):
        x = torch.from_numpy(rng.normal(size=(2, 4)).astype(np.float32))
        for arguments in ({"zero_init_last": True}, {"scale": "rezero"}):
            layer = layers.Residual([layers.Dense(4, activation="relu"), layers.Dense(4)], **arguments)
            torch.testing.assert_close(layer(x), x)

    def test_leaves_samples_out_in_training_only(self):
        layer = layers.Residual(layers.Dense(4, kernel_initializer="ones"), drop_path=0.25, seed=3)
        x = torch.ones(4000, 4)
        outputs = layer(x, training=True)
        dropped = (outputs == 1).all(1).float().mean()
        assert abs(dropped - 0.25) < 0.03
        assert torch.allclose(outputs.unique(), torch.tensor([1.0, 1 + 4 / 0.75]))
        assert torch.equal(layer(x), torch.full_like(x, 5.0))

    def test_saves_and_loads(self, rng, tmp_path):
        from triarch import models

        inputs = Input((8, 8, 3))
        block = [layers.Conv2D(4, 3, strides=2, padding="same"), layers.BatchNormalization()]
        outputs = layers.Residual(block, activation="relu", drop_path=0.1, zero_init_last=True)(inputs)
        model = Model(inputs, outputs)
        model.weights[0].data.normal_()
        model.save(tmp_path / "model.keras")
        x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
        torch.testing.assert_close(models.load_model(tmp_path / "model.keras")(x), model(x))

    def test_what_is_refused(self):
        x = torch.zeros(2, 8, 8, 4)
        with pytest.raises(ValueError, match="needs a block that keeps the shape"):
            layers.Residual(layers.Conv2D(5, 3, padding="same"), shortcut="identity")(x)
        with pytest.raises(ValueError, match="not taken away"):
            layers.Residual(layers.Conv2D(3, 3, padding="same"), shortcut="zero_pad")(x)
        with pytest.raises(ValueError, match="no stride of the shortcut"):
            layers.Residual(layers.Conv2D(4, 4))(x)
        with pytest.raises(ValueError, match="`shortcut` is a layer or one of"):
            layers.Residual(layers.Dense(3), shortcut="skip")
        with pytest.raises(ValueError, match="`block` is a layer"):
            layers.Residual([])


def test_strided_products_at_single_places_are_safe(rng):
    layer = layers.Conv2D(4, 1, strides=2)
    for channels in (1, 2, 3, 5):
        shaped = layers.Conv2D(4, 1, strides=2)
        for _ in range(60):
            x = torch.from_numpy(rng.normal(size=(3, 9, 9, channels)).astype(np.float32)).requires_grad_()
            shaped(x).square().sum().backward()
            assert x.grad[:, 1::2].abs().sum() == 0
    assert layer(torch.zeros(1, 9, 8, 3)).shape == (1, 5, 4, 4)
