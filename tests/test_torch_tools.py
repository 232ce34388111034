"""torch's tools on models: export, trace, compile, `torch.func`, copies and files; other sizes come after them."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import Model, Sequential, layers, ops


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def functional(build: Callable[[Any], Any], shape: Any, **kwargs: Any) -> Model:
    inputs = triarch.Input(shape, **kwargs)
    return Model(inputs, build(inputs))


def images(inputs: Any) -> Any:
    first = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    second = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(first))
    outputs = layers.ReLU()(layers.Add()([first, second]))
    return layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(outputs))


def series(inputs: Any) -> Any:
    outputs = layers.LSTM(4, return_sequences=True)(inputs)
    outputs = layers.Bidirectional(layers.GRU(3, return_sequences=True))(outputs)
    return layers.Dense(2)(outputs)


class Blocks(Model):
    """Layers in lists and dicts, one of which is a method's name."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.heads = [layers.Dense(4, "relu"), layers.Dense(3)], {"type": layers.Dense(2)}

    def call(self, inputs: Any) -> Any:
        for block in self.blocks:
            inputs = block(inputs)
        return self.heads["type"](inputs)


class Weights(layers.Layer):
    """Weights in lists and dicts."""

    def build(self, input_shape: Any) -> None:
        self.parts = [self.add_weight((input_shape[-1], 3)), {"bias": self.add_weight((3,), "ones")}]

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, self.parts[0]) + self.parts[1]["bias"]


SMALL, IMAGES, SERIES, WORDS = (5,), (8, 8, 2), (6, 3), (6,)
MODELS: dict[str, tuple[tuple[int, ...], Callable[[], Model]]] = {
    "dense": (
        SMALL,
        lambda: Sequential(
            [layers.Input(SMALL), layers.Dense(4, "relu"), layers.Dropout(0.5), layers.Dense(3, "softmax")]
        ),
    ),
    "convolution": (
        IMAGES,
        lambda: Sequential(
            [
                layers.Input(IMAGES),
                layers.Conv2D(4, 3, padding="same", activation="relu"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.MaxPooling2D(),
                layers.Conv2DTranspose(3, 2),
                layers.Reshape((-1, 3)),
                layers.Flatten(),
                layers.Dense(3),
            ]
        ),
    ),
    "residual graph": (IMAGES, lambda: functional(images, IMAGES)),
    "residual layer": (
        IMAGES,
        lambda: Sequential(
            [
                layers.Input(IMAGES),
                layers.Residual([layers.Conv2D(2, 3, padding="same"), layers.BatchNormalization()], activation="relu"),
            ]
        ),
    ),
    "recurrent graph": (SERIES, lambda: functional(series, (None, 3))),
    "recurrent": (SERIES, lambda: Sequential([layers.Input(SERIES), layers.SimpleRNN(4), layers.Dense(2)])),
    "masked": (
        WORDS,
        lambda: Sequential(
            [layers.Input(WORDS, dtype="int32"), layers.Embedding(20, 4, mask_zero=True), layers.LSTM(4)]
        ),
    ),
    "in steps": (
        SERIES,
        lambda: Sequential(
            [layers.Input(SERIES), layers.TimeDistributed(layers.Dense(3)), layers.GlobalMaxPooling1D()]
        ),
    ),
    "causal": (
        SERIES,
        lambda: Sequential([layers.Input(SERIES), layers.Conv1D(4, 3, padding="causal"), layers.LayerNormalization()]),
    ),
    "spatial transformer": (
        IMAGES,
        lambda: Sequential(
            [layers.Input(IMAGES), layers.SpatialTransformer(), layers.AveragePooling2D(), layers.Flatten()]
        ),
    ),
    "own model": (SMALL, Blocks),
    "own layer": (SMALL, lambda: Sequential([layers.Input(SMALL), Weights()])),
    "half precision": (
        SMALL,
        lambda: Sequential(
            [layers.Input(SMALL), layers.Dense(4, dtype="mixed_bfloat16"), Weights(dtype="mixed_bfloat16")]
        ),
    ),
}


def batch(shape: tuple[int, ...], size: int) -> torch.Tensor:
    rng = np.random.default_rng(size)
    if shape == WORDS:
        return torch.from_numpy(rng.integers(0, 20, (size, *shape)).astype("int32"))
    return torch.from_numpy(rng.normal(size=(size, *shape)).astype("float32"))


def made(name: str) -> tuple[Model, Callable[[int], torch.Tensor]]:
    shape, make = MODELS[name]
    model = make()
    model(batch(shape, 4))
    return model, lambda size: batch(shape, size)


def exported(model: Model, x: torch.Tensor) -> Any:
    return torch.export.export(model, (x,)).module()


def exported_for_any_batch(model: Model, x: torch.Tensor) -> Any:
    return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2, max=64)},)).module()


TOOLS: dict[str, tuple[Callable[[Model, torch.Tensor], Any], tuple[int, ...]]] = {
    "export": (exported, (4,)),
    "export for any batch": (exported_for_any_batch, (4, 2, 7)),
    "trace": (lambda model, x: torch.jit.trace(model, (x,)), (4, 2, 7)),
    "compile": (lambda model, x: torch.compile(model, backend="eager", fullgraph=True), (4, 2, 7)),
    "compile for any sizes": (lambda model, x: torch.compile(model, backend="aot_eager", dynamic=True), (4, 7)),
}


SLOW = {  # by what takes long to compile; the layers are in other models, too
    "compile": {"spatial transformer", "recurrent graph"},
    "compile for any sizes": MODELS.keys() - {"dense", "recurrent", "own model", "own layer"},
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize(
    ("name", "tool"),
    [(name, tool) for name in MODELS for tool in TOOLS if name not in SLOW.get(tool, ())],
)
def test_what_a_tool_makes_gives_what_the_model_gives(name: str, tool: str) -> None:
    model, data = made(name)
    use, sizes = TOOLS[tool]
    with torch.no_grad():
        other = use(model, data(4))
        for size in sizes:
            torch.testing.assert_close(other(data(size)), model(data(size)), rtol=1e-4, atol=1e-5)
    assert {weight.dtype for weight in model.weights} == {torch.float32}
    assert not model.training


def test_series_of_any_length_can_be_exported() -> None:
    def build(inputs: Any) -> Any:
        return layers.GlobalAveragePooling1D()(layers.Conv1D(2, 3, padding="causal")(layers.Dense(4)(inputs)))

    model = functional(build, (None, 3))
    sizes = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=4)}
    other = torch.export.export(model, (batch(SERIES, 4),), dynamic_shapes=(sizes,)).module()
    with torch.no_grad():
        for length in (6, 9, 4):
            x = batch((length, 3), 3)
            torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-5)


def test_inputs_have_their_names_in_exported_programs() -> None:
    model = Sequential([layers.Input(SMALL), layers.Dense(2)])
    sizes = {"inputs": {0: torch.export.Dim("batch", min=2)}}
    program = torch.export.export(model, (batch(SMALL, 4),), dynamic_shapes=sizes)
    assert program.graph_signature.user_inputs == ("inputs",)


@pytest.mark.parametrize("name", MODELS)
def test_functional_calls(name: str) -> None:
    """Gradients of a function of the weights are those of the model, and zeros in their place are seen."""
    model, data = made(name)
    x = data(4)
    weights = dict(model.named_parameters())
    learnt = {name: weight.detach() for name, weight in weights.items() if weight.requires_grad}
    kept = {name: weight.detach() for name, weight in weights.items() if not weight.requires_grad}

    def loss(learnt: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(model, {**learnt, **kept}, (x,)).float().square().sum()

    found = torch.func.grad(loss)(learnt)
    model(x).float().square().sum().backward()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, weights[key].grad, rtol=1e-3, atol=1e-4)
    assert all(model.get_parameter(key) is weight for key, weight in weights.items())


@pytest.mark.parametrize("name", ["dense", "convolution", "recurrent", "own layer", "half precision"])
def test_one_sample_at_a_time_by_vmap(name: str) -> None:
    model, data = made(name)
    x = data(3)
    with torch.no_grad():
        found = torch.func.vmap(lambda sample: model(sample[None])[0])(x)
        torch.testing.assert_close(found, model(x), rtol=1e-2 if name == "half precision" else 1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "convolution", "recurrent graph", "residual layer"])
def test_derivatives_forward(name: str) -> None:
    model, data = made(name)
    x = data(3)
    direction = torch.ones_like(x)
    with torch.autograd.forward_ad.dual_level():
        dual = model(torch.autograd.forward_ad.make_dual(x, direction))
        found = torch.autograd.forward_ad.unpack_dual(dual).tangent
    exact = copy.deepcopy(model).double()
    step = 1e-6 * direction.double()
    with torch.no_grad():
        right = (_in_double(exact, x.double() + step) - _in_double(exact, x.double() - step)) / 2e-6
    torch.testing.assert_close(found.double(), right, rtol=1e-3, atol=1e-4)


def _in_double(model: Model, x: torch.Tensor) -> torch.Tensor:
    for layer in model.layers:  # not through the entrance, which has a type of its own
        if isinstance(layer, layers.InputLayer):
            layer.dtype_policy = "float64"
    if getattr(model, "input_layer", None) is not None:
        model.input_layer.dtype_policy = "float64"
    return model(x)


def _through_a_file(model: Model) -> Model:
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("name", MODELS)
def test_copies_give_the_same_and_are_others(name: str, way: str) -> None:
    model, data = made(name)
    copied = {
        "deepcopy": copy.deepcopy,
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
        "torch.save": _through_a_file,
    }
    other = copied[way](model)
    x = data(4)
    torch.testing.assert_close(other(x), model(x))
    with torch.no_grad():
        for weight in other.weights:
            weight.zero_()
    assert model(x).any()
    assert len(other.weights) == len(model.weights)
    assert list(other.state_dict()) == list(model.state_dict())
