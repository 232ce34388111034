"""Layers that take texts, within models: graphs, stacks, loops, files."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import triarch
from triarch import layers, saving

WORDS = np.array([["cat"], ["dog"], ["äh"], [""], ["cat"]])
SENTENCES = np.array(["the cat sat", "a dog", "", "zebra zebra the", "mat"])


def graph(shape: tuple[int, ...], dtype: str, *stack: Any) -> Any:
    inputs = x = triarch.Input(shape, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return triarch.Model(inputs, x)


def lookup(mode: str) -> tuple[Any, np.ndarray]:
    settings: dict[str, Any] = {"idf_weights": [1.0, 2.0]} if mode == "tf_idf" else {}
    layer = layers.StringLookup(vocabulary=["cat", "dog"], output_mode=mode, **settings)
    rest = [layers.Embedding(3, 2)] if mode == "int" else [layers.Dense(2)]
    return graph((1,), "string", layer, *rest), WORDS


def sentences(mode: str) -> tuple[Any, np.ndarray]:
    layer = layers.TextVectorization(output_mode=mode, output_sequence_length=4 if mode == "int" else None)
    layer.adapt(["the cat sat", "the mat"])
    rest = [layers.Embedding(9, 2, mask_zero=True), layers.LSTM(2)] if mode == "int" else [layers.Dense(2)]
    return triarch.Sequential([triarch.Input((1,), dtype="string"), layer, *rest]), SENTENCES


def hashed(dtype: str) -> tuple[Any, np.ndarray]:
    data = WORDS if dtype == "string" else np.array([[3], [4], [5], [3], [0]])
    return graph((1,), dtype, layers.Hashing(4, output_mode="one_hot"), layers.Dense(2)), data


def integers() -> tuple[Any, np.ndarray]:
    first, second = layers.IntegerLookup(vocabulary=[7, 9]), layers.IntegerLookup(vocabulary=[7, 9], invert=True)
    return graph((2,), "int64", first, second), np.array([[7, 9], [8, 7], [9, 9], [1, 1], [7, 7]])


def of_two() -> tuple[Any, dict[str, np.ndarray]]:
    text, number = triarch.Input((1,), dtype="string", name="text"), triarch.Input((2,), name="number")
    x = layers.StringLookup(vocabulary=["cat", "dog"], output_mode="one_hot")(text)
    model = triarch.Model({"text": text, "number": number}, layers.Dense(2)(layers.Concatenate()([x, number])))
    return model, {"text": WORDS, "number": np.ones((5, 2), "float32")}


MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    **{f"StringLookup {mode}": lambda mode=mode: lookup(mode) for mode in MODES},
    **{f"TextVectorization {mode}": lambda mode=mode: sentences(mode) for mode in MODES if mode != "one_hot"},
    **{f"Hashing {dtype}": lambda dtype=dtype: hashed(dtype) for dtype in ("string", "int64")},
    "IntegerLookup": integers,
    "two inputs": of_two,
}


def step_by_step(model: Any, data: np.ndarray) -> np.ndarray:
    """What the layers give, called one after the other."""
    values: Any = data
    for layer in model.layers:
        values = values if isinstance(layer, layers.InputLayer) else layer(values)
    return np.asarray(values.detach())


@pytest.mark.parametrize("name", [name for name in MODELS if name != "two inputs"])
def test_a_model_does_what_its_layers_do(name: str) -> None:
    model, data = MODELS[name]()
    np.testing.assert_allclose(model.predict(data, verbose=0), step_by_step(model, data), rtol=1e-6)
    assert model.output_shape[0] is None


@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_asking(name: str, tmp_path: Path) -> None:
    model, data = MODELS[name]()
    expected = model.predict(data, verbose=0)
    model.save(tmp_path / "m.keras")
    others = [saving.load_model(tmp_path / "m.keras"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in (model, *others):
        for batch_size in (1, 2, 5):
            np.testing.assert_allclose(other.predict(data, batch_size=batch_size, verbose=0), expected, atol=1e-6)
        np.testing.assert_allclose(other.predict_on_batch(data), expected, atol=1e-6)
        np.testing.assert_allclose(other(data).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "IntegerLookup"])
def test_training(name: str) -> None:
    model, data = MODELS[name]()
    model.compile("adam", "mse")
    targets = np.ones((5, *model.output_shape[1:]), "float32")
    before = model.evaluate(data, targets, verbose=0)
    model.fit(data, targets, epochs=30, batch_size=3, validation_data=(data, targets), verbose=0)
    model.train_on_batch(data, targets)
    assert model.test_on_batch(data, targets) < before


FORMS = (np.asarray, list, lambda data: data.astype(object), lambda data: np.char.encode(data, "utf-8"))


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_texts(form: Callable[[np.ndarray], Any]) -> None:
    model, data = sentences("int")
    np.testing.assert_array_equal(model.predict(form(data), verbose=0), model.predict(data, verbose=0))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda text, model: layers.Dense(2)(text), "takes numbers: let a layer such as"),
        (lambda text, model: layers.StringLookup(vocabulary=["x"], invert=True)(triarch.Input((1,))), "gives strings"),
        (lambda text, model: model.predict(np.ones((2, 1)), verbose=0), "expects strings"),
        (lambda text, model: model(np.array([["a", "b"]])), "expects strings of shape"),
        (lambda text, model: triarch.Sequential([triarch.Input((1,)), layers.Dense(1)])(WORDS), "takes numbers"),
        (
            lambda text, model: graph((1,), "string", layers.StringLookup()).predict(WORDS, verbose=0),
            "has no vocabulary",
        ),
    ],
)
def test_what_is_refused(use: Callable[[Any, Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        use(triarch.Input((1,), dtype="string"), lookup("int")[0])


class OfUsers(triarch.Model):
    """Texts in a model whose `call` says what becomes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.lookup, self.table = layers.StringLookup(vocabulary=["cat", "dog"]), layers.Embedding(3, 2)

    def call(self, inputs: Any) -> Any:
        return self.table(self.lookup(inputs))


def test_in_a_model_of_users() -> None:
    model = OfUsers()
    expected = model(WORDS).detach().numpy()
    assert expected.shape == (5, 1, 2)
    np.testing.assert_array_equal(expected[0], expected[4])
    np.testing.assert_array_equal(model.predict(WORDS, batch_size=2, verbose=0), expected)
    model.compile("adam", "mse")
    model.fit(WORDS, np.ones((5, 1, 2)), verbose=0)
    assert not np.array_equal(model.predict_on_batch(WORDS), expected)
    with pytest.raises(ValueError, match="takes numbers"):
        layers.Dense(2)(layers.texts.encoded(WORDS))
