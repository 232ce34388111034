"""`Sequential`: with and without an input, changed after it was made, and as a torch module."""

import copy

import numpy as np
import pytest
import torch

import triarch
from triarch import layers


def small(**options):
    return triarch.Sequential(
        [layers.Input((6,)), layers.Dense(4, activation="relu"), layers.Dense(3, activation="softmax")], **options
    )


def test_with_input_the_weights_are_there_at_once():
    model = small()
    assert [tuple(weight.shape) for weight in model.weights] == [(6, 4), (4,), (4, 3), (3,)]
    assert model.input_shape == (None, 6)
    assert model.output_shape == (None, 3)
    assert model.count_params() == 6 * 4 + 4 + 4 * 3 + 3
    assert [layer.name for layer in model.layers] == [layer.name for layer in model._stack]


def test_input_shape_on_the_first_layer_is_an_input():
    model = triarch.Sequential([layers.Dense(4, input_shape=(6,)), layers.Dense(3)])
    assert model.input_shape == (None, 6)
    assert model.built


def test_without_input_the_first_batch_makes_the_weights():
    model = triarch.Sequential([layers.Dense(4), layers.Dense(3)])
    with pytest.raises(ValueError, match="does not know its shapes"):
        _ = model.output_shape
    with pytest.raises(ValueError, match="no weights yet"):
        model.count_params()
    assert model(np.ones((2, 6), "float32")).shape == (2, 3)
    assert model.input_shape == (None, 6)


def test_build_makes_the_weights():
    model = triarch.Sequential([layers.Dense(4), layers.Dense(3)])
    model.build((None, 5))
    assert model.output_shape == (None, 3)


def test_add_and_pop():
    model = small()
    removed = model.pop()
    assert model.output_shape == (None, 4)
    model.add(layers.Dense(7))
    assert model.output_shape == (None, 7)
    assert removed not in model.layers
    assert set(model.state_dict()) == {"0.kernel", "0.bias", "1.kernel", "1.bias"}
    with pytest.raises(ValueError, match="no layer to take off"):
        triarch.Sequential().pop()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "holds layers"),
        ("dense", "holds layers"),
        (layers.Input((3,)), "comes first"),
    ],
)
def test_what_cannot_be_added_is_refused(wrong, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        model.add(wrong)
    assert len(model.layers) == 2


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="names of their own"):
        triarch.Sequential([layers.Dense(2, name="a"), layers.Dense(2, name="a")])


def test_a_torch_module_stands_where_a_layer_stands():
    torch.manual_seed(0)
    model = triarch.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), torch.nn.Linear(64, 5), torch.nn.BatchNorm1d(5), layers.Dense(2)]
    )
    assert model.output_shape == (None, 2)
    assert model.count_params() == 64 * 5 + 5 + 5 * 4 + 1 + 5 * 2 + 2
    model.compile("sgd", "mse")
    before = model.layers[2].running_mean.clone()
    x = np.random.default_rng(0).random((32, 8, 8, 1), dtype="float32")
    model.fit(x, np.ones((32, 2)), verbose=0)
    assert not torch.equal(before, model.layers[2].running_mean)
    inference = model.predict(x[:4], verbose=0)
    np.testing.assert_allclose(inference, model.predict(x, verbose=0)[:4], rtol=1e-5)


def test_models_nest():
    inner = small(name="inner")
    outer = triarch.Sequential([layers.Input((6,)), inner, layers.Dense(2)])
    assert outer.output_shape == (None, 2)
    assert len(outer.weights) == 6
    assert outer.get_layer("inner") is inner


def test_it_is_a_torch_module():
    model = small()
    seen = []
    model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(torch.ones(2, 6))
    assert seen == [(2, 4)]
    other = small()
    other.load_state_dict(model.state_dict())
    x = torch.rand(3, 6)
    torch.testing.assert_close(other(x), model(x))
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(x), model(x))
    assert model.double()(x.double()).dtype == torch.float64
    assert sum(parameter.numel() for parameter in model.parameters()) == model.count_params()


def test_inputs_are_cast_and_take_a_missing_channel_axis():
    model = triarch.Sequential([layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    images = np.arange(32, dtype="uint8").reshape(2, 4, 4)
    torch.testing.assert_close(model(images), model(images[..., None].astype("float32")))


@pytest.mark.parametrize("shape", [(2, 7), (2, 6, 2), (6,)])
def test_inputs_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"(?s)\(None, 6\).*Received"):
        small()(np.zeros(shape, "float32"))


def test_summary_counts_and_shows_shapes():
    lines = []
    model = small(name="tiny")
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    for part in ('Model: "tiny"', "(None, 4)", "(None, 3)", "Total params: 43 (172.00 B)", "Trainable params: 43"):
        assert part in text


def test_summary_of_what_is_not_built(capsys):
    triarch.Sequential([layers.Dense(2)], name="later").summary()
    assert "0 (unbuilt)" in capsys.readouterr().out


def test_summary_shows_trainable_and_nested():
    inner = small(name="inner")
    inner.trainable = False
    outer = triarch.Sequential([layers.Input((6,)), inner, layers.Dense(2, name="head")])
    lines = []
    outer.summary(print_fn=lines.append, expand_nested=True, show_trainable=True, line_length=100)
    text = "\n".join(lines)
    assert "Non-trainable params: 43" in text
    assert text.count("(None, 3)") == 2
    outer.summary(print_fn=lines.append, layer_range=("head", "head"))
    assert "inner" not in lines[-1]
    with pytest.raises(ValueError, match="names no layers"):
        outer.summary(layer_range=("absent", "head"))
