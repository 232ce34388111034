"""Models that are graphs: made, cut, called, trained, saved, copied; with torch's functions; and what is refused."""

from __future__ import annotations

import copy
import io
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from triarch import Input, Model, Sequential, layers, models, ops, optimizers, registry, utils
from triarch.graph import SymbolicTensor


def two_inputs() -> Model:
    """A shared encoder."""
    first, second = Input((4,), name="first"), Input((4,), name="second")
    encoder = layers.Dense(3, activation="relu", name="encoder")
    both = layers.Concatenate()([encoder(first), encoder(second)])
    return Model([first, second], layers.Dense(1, name="score")(both), name="siamese")


def two_outputs() -> Model:
    """Outputs in a dict."""
    image = Input((8, 8, 3), name="image")
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    kind = layers.Dense(3, activation="softmax", name="kind")(features)
    return Model(image, {"kind": kind, "size": layers.Dense(1, name="size")(features)})


def skips() -> Model:
    """Down and up again, with a skip at each size."""
    image = Input((None, None, 1), name="image")
    wide = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    small = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(wide))
    up = layers.Conv2DTranspose(4, 2, strides=2)(small)
    joined = layers.Concatenate()([up, wide])
    return Model(image, layers.Conv2D(2, 1, activation="softmax")(joined))


def mixed() -> Model:
    """Layers and functions of torch."""
    inputs = Input((6, 4))
    x = layers.Dense(5)(inputs)
    x = F.gelu(x) + 0.5 * torch.tanh(x)
    x = torch.cat([x.mean(dim=1), x.amax(1), x[:, 0]], dim=-1)
    x = torch.where(x > 0, x, 0.1 * x)
    return Model(inputs, layers.Dense(2)(x.to(torch.float32)))


GRAPHS = {"inputs": two_inputs, "outputs": two_outputs, "skips": skips, "mixed": mixed}


def data_for(model: Model, rng: np.random.Generator, batch: int = 4):
    shapes = [symbol.shape for symbol in model.inputs]
    arrays = [rng.normal(size=(batch, *(size or 8 for size in shape[1:]))).astype(np.float32) for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def numbers_of(outputs):
    parts = outputs.values() if isinstance(outputs, dict) else [outputs]
    return [part.detach().numpy() for part in parts]


@pytest.mark.parametrize("name", GRAPHS)
def test_save_and_load(name, rng, tmp_path):
    model = GRAPHS[name]()
    x = data_for(model, rng)
    model.save(tmp_path / "model.keras")
    loaded = models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for one, other in zip(numbers_of(loaded(x)), numbers_of(model(x)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["inputs", "outputs", "skips"])
def test_files_go_both_ways(name, rng, tmp_path, keras):
    model = GRAPHS[name]()
    x = data_for(model, rng)
    model.save(tmp_path / "ours.keras")
    theirs = keras.models.load_model(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    back = models.load_model(tmp_path / "theirs.keras")
    tensors = [torch.from_numpy(part) for part in x] if isinstance(x, list) else torch.from_numpy(x)
    for one, other, third in zip(*map(numbers_of, (model(x), theirs(tensors), back(x))), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(third, one)


def test_keras_operations_are_read_and_written(rng, tmp_path, keras):
    inputs = keras.Input((4, 6), name="x")
    shared = keras.layers.Dense(6, name="shared")
    y = shared(shared(inputs)) * 2 - keras.ops.mean(inputs, axis=1, keepdims=True)
    y = keras.ops.concatenate([y[:, 1:], keras.ops.sqrt(keras.ops.absolute(y))], axis=1)
    y = keras.ops.clip(keras.ops.transpose(y, (0, 2, 1)), -1.0, 2.0)
    inner = keras.Sequential([keras.Input((6, 7)), keras.layers.Dense(2)])
    theirs = keras.Model(inputs, [inner(y), keras.ops.where(y > 0, y, 0.0)])
    theirs.save(tmp_path / "theirs.keras")
    model = models.load_model(tmp_path / "theirs.keras")
    model.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    x = torch.from_numpy(rng.normal(size=(3, 4, 6)).astype(np.float32))
    for one, other, third in zip(theirs(x), model(x), again(x), strict=True):
        torch.testing.assert_close(other, one)
        torch.testing.assert_close(third, one)


def test_layers_come_in_keras_order(keras):
    def graph(library):
        first, second = library.Input((4,), name="b"), library.Input((4,), name="a")
        deep = library.layers.Dense(4, name="d1")(library.layers.Dense(4, name="d2")(second))
        x = library.layers.Add(name="sum")([library.layers.Dense(4, name="d3")(first), deep, first])
        outputs = [library.layers.Dense(1, name="late")(x), library.layers.Dense(1, name="early")(deep)]
        return library.Model({"b": first, "a": second}, outputs)

    class Ours:
        pass

    ours = Ours()
    ours.Input, ours.layers, ours.Model = Input, layers, Model
    assert [layer.name for layer in graph(ours).layers] == [layer.name for layer in graph(keras).layers]


def test_training_lowers_every_loss(rng):
    model = two_outputs()
    x = rng.normal(size=(64, 8, 8, 3)).astype(np.float32)
    y = {"kind": (x.mean((1, 2)).argmax(1)), "size": x.sum((1, 2, 3)) / 50}
    model.compile(
        "adam",
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        loss_weights={"kind": 1.0, "size": 0.5},
        metrics={"kind": ["accuracy"]},
    )
    history = model.fit(x, y, epochs=60, batch_size=8, verbose=0).history
    assert history["kind_loss"][-1] < history["kind_loss"][0]
    assert history["size_loss"][-1] < history["size_loss"][0]
    assert history["kind_accuracy"][-1] > 0.5
    assert set(model.predict(x[:5], verbose=0)) == {"kind", "size"}


def test_segmentation_trains_with_sparse_targets(rng):
    model = skips()
    x = rng.random(size=(16, 16, 16, 1)).astype(np.float32)
    model.compile(optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    history = model.fit(x, (x[..., 0] > 0.5).astype(np.int64), epochs=40, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_inputs_come_as_list_dict_or_by_name(rng):
    model = two_inputs()
    a, b = rng.normal(size=(2, 3, 4)).astype(np.float32)
    expected = model([a, b])
    torch.testing.assert_close(model({"second": b, "first": a}), expected)
    torch.testing.assert_close(model((a, b)), expected)
    with pytest.raises(ValueError, match="has 2 inputs"):
        model([a])
    with pytest.raises(ValueError, match=r"inputs \['first', 'second'\]"):
        model({"first": a})
    with pytest.raises(ValueError, match="expects inputs of shape"):
        model([a, b[:, :3]])


def test_cutting_a_model_shares_its_layers(rng):
    model = skips()
    x = rng.random(size=(2, 8, 8, 1)).astype(np.float32)
    names = [layer.name for layer in model.layers]
    wide = Model(model.inputs, model.get_layer(names[1]).output)
    torch.testing.assert_close(wide(x), model.get_layer(names[1])(x))
    rest = Model([model.layers[-3].output, wide.output], model.output)
    up = Model(model.input, model.layers[-3].output)
    torch.testing.assert_close(rest([up(x), wide(x)]), model(x))
    assert model.layers[-1] in rest.layers


def test_sequential_layers_have_outputs(rng):
    stack = Sequential([Input((5,)), layers.Dense(4, name="hidden"), torch.nn.Linear(4, 3), layers.Dense(2)])
    hidden = Model(stack.inputs, stack.get_layer("hidden").output)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    torch.testing.assert_close(hidden(x), stack.layers[0](x))
    whole = Model(stack.input, [stack.layers[0].output, stack.output])
    torch.testing.assert_close(whole(x)[1], stack(x))


def test_models_are_layers(rng):
    inner = two_inputs()
    left, right = Input((4,)), Input((4,))
    outer = Model([left, right], inner([layers.Dense(4)(left), right]) + 1.0)
    a, b = rng.normal(size=(2, 3, 4)).astype(np.float32)
    torch.testing.assert_close(outer([a, b]), inner([outer.get_layer("dense")(a), torch.from_numpy(b)]) + 1.0)
    assert outer.count_params() == inner.count_params() + 20


def test_copies_and_pickles_compute_the_same(rng):
    model = mixed()
    x = rng.normal(size=(2, 6, 4)).astype(np.float32)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(x), model(x))
    assert all(a is not b for a, b in zip(twin.weights, model.weights, strict=True))
    buffer = io.BytesIO()
    torch.save(two_inputs(), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=False).output_shape == (None, 1)
    features = Model(twin.inputs, twin.layers[1].output)
    torch.testing.assert_close(features(x), twin.layers[1](x))


def test_very_deep_graphs_are_made_copied_and_saved(tmp_path):
    inputs = x = Input((2,))
    for _ in range(700):
        x = x + 1
    model = Model(inputs, layers.Dense(1)(x))
    copy.deepcopy(model)
    model.save(tmp_path / "deep.keras")
    loaded = models.load_model(tmp_path / "deep.keras")
    torch.testing.assert_close(loaded(torch.zeros(1, 2)), model(torch.zeros(1, 2)))


def test_cloning_makes_fresh_layers(rng):
    model = two_inputs()
    twin = models.clone_model(model)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert twin.layers[2] is not model.layers[2]
    doubled = models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_2"})
    )
    assert "encoder_2" in [layer.name for layer in doubled.layers]
    again = models.model_from_json(model.to_json())
    assert again.to_json() == model.to_json()


def test_a_subclass_may_hand_its_graph_to_model(rng):
    @registry.register_keras_serializable("functional_tests")
    class Small(Model):
        def __init__(self, units, **kwargs):
            inputs = Input((3,))
            super().__init__(inputs, layers.Dense(units)(inputs), **kwargs)
            self.units = units

        def get_config(self):
            return {"units": self.units, "name": self.name}

    model = Small(2, name="small")
    assert isinstance(model, Model)
    assert model.output_shape == (None, 2)
    assert model(rng.normal(size=(4, 3))).shape == (4, 2)


def test_summary_shows_connections():
    lines: list[str] = []
    two_inputs().summary(print_fn=lines.append)
    assert "Connected to" in lines[0]
    assert "first[0][0]" in lines[0]
    lines.clear()
    skips().summary(print_fn=lines.append)
    assert "(None, None, None" in lines[0]


def test_unknown_sizes_stay_unknown():
    x = Input((None, None, 3))
    assert x.mean(dim=(1, 2)).shape == (None, 3)
    assert torch.cat([x, x], dim=1).shape == (None, None, None, 3)
    assert x.flatten(1).shape == (None, None)
    assert F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2).shape == (None, 3, None, None)
    assert torch.stack(torch.unbind(x, -1)).shape == (3, None, None, None)
    assert x.max(dim=1).values.shape == (None, None, 3)


def test_drawings_show_layers_functions_and_arrows(tmp_path):
    pytest.importorskip("pydot")
    model = mixed()
    utils.plot_model(
        model, tmp_path / "model.dot", show_shapes=True, show_layer_names=True, show_layer_activations=True
    )
    text = (tmp_path / "model.dot").read_text()
    assert all(operation.name in text for operation in model.operations)
    assert text.count("->") == sum(len(set(model.inputs_of(operation))) for operation in model.operations)
    assert "output: (None, 2)" in text
    left, right = Input((4,)), Input((4,))
    outer = Model([left, right], two_inputs()([left, right]))
    utils.plot_model(outer, tmp_path / "outer.dot", expand_nested=True, show_layer_names=True)
    assert "encoder" in (tmp_path / "outer.dot").read_text()
    stack = Sequential([Input((5,)), layers.Dense(4), layers.Dense(2)])
    assert utils.model_to_dot(stack).to_string().count("->") == 2
    if shutil.which("dot") is None:
        with pytest.raises(FileNotFoundError, match="install Graphviz"):
            utils.plot_model(model, tmp_path / "model.png")
    else:
        utils.plot_model(model, tmp_path / "model.png")
        assert (tmp_path / "model.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="not built"):
        utils.plot_model(Sequential([layers.Dense(3)]), tmp_path / "model.dot")
    with pytest.raises(ValueError, match="`rankdir` is one of"):
        utils.plot_model(model, tmp_path / "model.dot", rankdir="UP")


class TestRefused:
    def test_numbers_of_symbols(self):
        x = Input((3,))
        for read in (bool, float, int, len, list, np.asarray, lambda x: x.item(), lambda x: x.numpy()):
            with pytest.raises(TypeError, match="holds no numbers"):
                read(x)

    def test_changes_and_draws(self):
        x = Input((3,))
        with pytest.raises(TypeError, match="change their arguments"):
            x.add_(1)
        with pytest.raises(TypeError, match="use a layer, such as `Dropout`"):
            F.dropout(x)

    def test_weights_as_constants(self):
        with pytest.raises(ValueError, match="TorchModuleWrapper"):
            torch.nn.Linear(3, 2)(Input((3,)))
        assert layers.TorchModuleWrapper(torch.nn.Linear(3, 2))(Input((3,))).shape == (None, 2)

    def test_functions_that_files_may_not_name(self, tmp_path):
        inputs = Input((3,))
        model = Model(inputs, torch.linalg.pinv(inputs.unsqueeze(-1)))
        with pytest.raises(ValueError, match=r"cannot name: torch\.linalg"):
            model.save(tmp_path / "model.keras")

    def test_disconnected_graphs(self):
        a, b = Input((3,)), Input((3,))
        with pytest.raises(ValueError, match="do not follow from the inputs alone"):
            Model(a, layers.Add()([a, b]))
        with pytest.raises(ValueError, match="holds symbolic tensors"):
            Model(a, torch.zeros(3))
        with pytest.raises(ValueError, match="holds symbolic tensors"):
            Model([], a)

    def test_names_that_are_not_unique(self):
        a = Input((3,))
        x = layers.Dense(3, name="same")(layers.Dense(3, name="same")(a))
        with pytest.raises(ValueError, match="names of their own"):
            Model(a, x)

    def test_cyclic_files(self):
        config = two_inputs().get_config()
        entry = next(entry for entry in config["layers"] if entry["name"] == "encoder")
        entry["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["score", 0, 0]
        with pytest.raises(ValueError, match="cycle"):
            models.Functional.from_config(config)

    def test_shapes_that_conflict(self):
        a, b = Input((3,)), Input((4,))
        with pytest.raises(ValueError, match="shapes are equal or stretch"):
            layers.Add()([a, b])
        with pytest.raises(ValueError, match="sizes are equal but for axis 0"):
            layers.Concatenate(axis=0)([a, b])
        with pytest.raises(ValueError, match="does not take symbolic tensors of these shapes"):
            torch.matmul(a, b)

    def test_outputs_of_layers_never_called(self):
        with pytest.raises(AttributeError, match="output"):
            _ = layers.Dense(3).output


def test_symbols_say_what_they_are():
    x = Input((3,), name="x")
    assert isinstance(x, SymbolicTensor)
    assert repr(x) == "<SymbolicTensor shape=(None, 3), dtype=float32, name=x>"
    assert (x > 0).dtype == "bool"
    assert x.T.shape == (3, None)
    assert (1 - x / 2 ** abs(-x)).shape == (None, 3)
    assert ops.shape(x) == (None, 3)
