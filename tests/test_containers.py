"""Layers and weights in lists, tuples and dicts, nested, with keys of any kind."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import Model, layers, ops

KEYS: dict[str, list[Any]] = {
    "plain": ["age", "sex"],
    "methods of modules": ["type", "train", "call", "forward", "half", "to"],
    "methods of dicts": ["keys", "items", "source", "_modules", "_parameters", "training"],
    "dots": ["conv.1", "conv_1", "conv__1", "conv.1.", "."],
    "numbers": [0, 1, "1", 2.5, "2_5", -1, True],
    "tuples": [(0, 1), (1, 0), "(0, 1)"],
    "empty": ["", "_", None],
    "many words": ["a b", "ä", "a/b", "a\\b"],
}


def net_of(library: Any) -> type:
    """A model with layers in containers, for `triarch` or for Keras."""

    class Net(library.Model):  # type: ignore[misc]
        def __init__(self, keys: Any = (), **kwargs: Any) -> None:
            super().__init__(**kwargs)

            def dense() -> Any:
                return library.layers.Dense(2, use_bias=False)

            self.keys = list(keys)
            self.grid = [[dense() for _ in range(2)] for _ in range(2)]
            self.heads = {key: dense() for key in self.keys}
            self.deep = {"a": [dense(), {"b": dense()}], "pair": (dense(), None, 3)}

        def all_layers(self) -> list[Any]:
            deep = [self.deep["a"][0], self.deep["a"][1]["b"], self.deep["pair"][0]]
            return [*self.grid[0], *self.grid[1], *deep, *self.heads.values()]

        def build(self, input_shape: Any) -> None:
            for layer in self.all_layers():
                layer.build((None, 2))
            self.built = True

        def call(self, inputs: Any) -> Any:
            for layer in self.all_layers()[:7]:
                inputs = layer(inputs)
            return library.ops.concatenate([head(inputs) for head in self.heads.values()], -1)

        def get_config(self) -> dict[str, Any]:
            return {"keys": self.keys, "name": self.name}

    return Net


Net = triarch.saving.register_keras_serializable("containers")(net_of(triarch))


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(4, 2)).astype("float32")


@pytest.mark.parametrize("kind", KEYS)
def test_layers_are_found_and_learn_whatever_the_keys_are(kind: str, x: np.ndarray) -> None:
    keys = KEYS[kind]
    model = Net(keys)
    heads = len(model.heads)
    model.compile("sgd", "mse")
    model.build((None, 2))
    assert len(model.trainable_weights) == len(model.layers) == 7 + heads
    assert len(dict(model.named_parameters())) == len(model.state_dict()) == 7 + heads
    before = model.get_weights()
    model.fit(x, np.ones((4, 2 * heads), "float32"), verbose=0)
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.trainable = False
    assert not model.trainable_weights
    assert {weight.dtype for weight in model.double().weights} == {torch.float64}


@pytest.mark.parametrize("kind", KEYS)
def test_files_and_states_hold_them(kind: str, x: np.ndarray, tmp_path: Path) -> None:
    model = Net(KEYS[kind])
    model.build((None, 2))
    right = model(x).detach()
    others = [Net(KEYS[kind]) for _ in range(3)]
    for other in others:
        other.build((None, 2))
    others[0].load_state_dict(model.state_dict())
    model.save_weights(tmp_path / "net.weights.h5")
    others[1].load_weights(tmp_path / "net.weights.h5")
    others[2].set_weights(model.get_weights())
    found = [*others, copy.deepcopy(model)]
    if all(isinstance(key, str) for key in model.keys):  # JSON knows no others
        model.save(tmp_path / "net.keras")
        found = [*found, triarch.saving.load_model(tmp_path / "net.keras")]
    for other in found:
        torch.testing.assert_close(other(x).detach(), right)


@pytest.mark.parametrize("kind", ["plain", "dots", "many words"])
def test_files_are_laid_out_as_keras_lays_them_out(kind: str, x: np.ndarray, tmp_path: Path, keras: Any) -> None:
    model, theirs = Net(KEYS[kind]), net_of(keras)(KEYS[kind])
    model.build((None, 2))
    theirs.build((None, 2))
    model.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    right = keras.ops.convert_to_numpy(theirs(x))
    np.testing.assert_allclose(model(x).detach().numpy(), right, rtol=1e-5, atol=1e-6)


def test_names_in_states_stay_as_they_are() -> None:
    model = Net(["age", "conv.1", "type"])
    model.build((None, 2))
    names = set(model.state_dict())
    assert {"grid.1.0.kernel", "deep.a.1.b.kernel", "deep.pair.0.kernel", "heads.age.kernel"} <= names
    assert {"heads.conv_1.kernel", "heads.type_.kernel"} <= names
    for name in names:
        assert model.get_submodule(name.rpartition(".")[0]).kernel is model.get_parameter(name)


def test_what_is_put_in_later_is_found(x: np.ndarray) -> None:
    class Growing(Model):
        def __init__(self) -> None:
            super().__init__()
            self.blocks: list[Any] = []
            self.named: dict[str, Any] = {"first": layers.Dense(2)}

        def call(self, inputs: Any) -> Any:
            for block in [*self.blocks, *self.named.values()]:
                inputs = block(inputs)
            return inputs

    model = Growing()
    model(x)
    assert len(model.weights) == 2
    model.blocks.append(layers.Dense(2))
    model.named["second"] = layers.Dense(2)
    model(x)
    assert len(model.weights) == 6
    assert {"blocks.0.kernel", "named.second.bias"} <= set(model.state_dict())
    del model.named["first"]
    model.blocks[0] = layers.Dense(2, use_bias=False)
    model(x)
    assert len(model.weights) == 3
    model.blocks = []
    assert len(model.weights) == 2
    assert model.blocks == []
    model.named = None
    assert model.named is None
    assert model.weights == []
    model.blocks.append(layers.Dense(2))
    del model.blocks
    assert not hasattr(model, "blocks")
    assert model.weights == []


def test_a_layer_that_is_there_twice_counts_once(x: np.ndarray) -> None:
    class Twice(Model):
        def __init__(self) -> None:
            super().__init__()
            shared = layers.Dense(2)
            self.parts = [shared, shared]
            self.again = {"shared": shared}

        def call(self, inputs: Any) -> Any:
            return self.again["shared"](self.parts[1](self.parts[0](inputs)))

    model = Twice()
    model(x)
    assert len(model.weights) == len(dict(model.named_parameters())) == 2
    assert len(model.layers) == 1


def test_lists_stay_the_lists_that_they_are() -> None:
    own = [layers.Dense(2)]

    class Holds(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.parts = own
            self.pair = (layers.Dense(1), "text")
            self.sizes = [3, 4]

    layer = Holds()
    assert layer.parts is own
    assert layer.pair[1] == "text"
    assert layer.sizes == [3, 4]
    assert {"parts", "pair", "sizes"} <= set(dir(layer))


def test_registration_hooks_hear_of_layers_in_lists() -> None:
    heard: list[str] = []
    registering = torch.nn.modules.module
    handles = [
        registering.register_module_module_registration_hook(lambda module, name, child: heard.append(name)),
        registering.register_module_parameter_registration_hook(lambda module, name, weight: heard.append(name)),
    ]
    try:

        class Holds(layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.parts = {"one": layers.Dense(2), "two": self.add_weight((1,))}

        Holds().state_dict()
    finally:
        for handle in handles:
            handle.remove()
    assert {"one", "two"} <= set(heard)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_weights_in_lists_take_part_in_functional_calls(policy: str, x: np.ndarray) -> None:
    class Own(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.parts = [self.add_weight((2, 2), "ones"), {"b": [self.add_weight((2,), "ones")]}]

        def call(self, inputs: Any) -> Any:
            return ops.matmul(inputs, self.parts[0]) + self.parts[1]["b"][0]

    layer = Own(dtype=policy)
    layer(x)
    zeros = {name: torch.zeros_like(weight) for name, weight in layer.named_parameters()}
    assert not torch.func.functional_call(layer, zeros, (torch.from_numpy(x),)).any()
    assert layer(x).any()
