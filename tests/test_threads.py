"""Threads that call one model at once: each gets its own value, and none changes what the others see."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import Model, Sequential, layers, optimizers, registry

TURNS = 8


@pytest.fixture(autouse=True)
def _often() -> Iterator[None]:
    """Threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each function gives, or the error that it raised, all called in threads of their own."""
    found: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = works[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in found:
        if isinstance(error, Exception):
            raise error
    return found


def functional() -> Model:
    inputs = triarch.Input((6, 6, 2))
    first = layers.Conv2D(3, 3, padding="same")(inputs)
    second = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(first)))
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Add()([first, second])))
    return Model(inputs, outputs)


def dense(policy: str = "float32") -> Model:
    return Sequential(
        [layers.Input((8,)), layers.Dense(8, "relu", dtype=policy), layers.Dropout(0.5), layers.Dense(3, dtype=policy)]
    )


MODELS: dict[str, tuple[Callable[[], Model], tuple[int, ...]]] = {
    "dense": (dense, (8,)),
    "functional": (functional, (6, 6, 2)),
    "convolution": (
        lambda: Sequential(
            [layers.Input((6, 6, 2)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
        ),
        (6, 6, 2),
    ),
    "recurrent": (
        lambda: Sequential(
            [layers.Input((5, 3)), layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(2)]
        ),
        (5, 3),
    ),
    "both ways": (lambda: Sequential([layers.Input((5, 3)), layers.Bidirectional(layers.SimpleRNN(3))]), (5, 3)),
    "embedding": (
        lambda: Sequential([layers.Input((4,)), layers.Embedding(50, 3, mask_zero=True), layers.LSTM(2)]),
        (4,),
    ),
    "torch": (lambda: Sequential([layers.Input((8,)), torch.nn.Linear(8, 3), layers.Dense(2)]), (8,)),
    "float16": (lambda: dense("mixed_float16"), (8,)),
    "bfloat16": (lambda: dense("mixed_bfloat16"), (8,)),
    "bfloat16 in steps": (
        lambda: Sequential([layers.Input((5, 3)), layers.GRU(4, dtype="mixed_bfloat16"), layers.Dense(2)]),
        (5, 3),
    ),
    "float64": (lambda: dense("float64"), (8,)),
}


def batch(shape: tuple[int, ...], number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    if shape == (4,):
        return rng.integers(0, 50, (4 + number % 2, *shape)).astype("int32")
    return rng.normal(size=(4 + number % 2, *shape)).astype("float32")


WAYS: dict[str, Callable[[Model, np.ndarray], Any]] = {
    "call": lambda model, x: model(x).detach(),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "evaluate": lambda model, x: model.evaluate(x, np.zeros((len(x), *model.output_shape[1:])), verbose=0),
}


def as_floats(value: Any) -> np.ndarray:
    return np.asarray(value.float() if isinstance(value, torch.Tensor) else value, "float32")


def state(model: Model) -> list[tuple[Any, ...]]:
    return [(weight.dtype, weight.requires_grad, weight.detach().double().tolist()) for weight in model.weights]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_each_thread_gets_its_own_value(name: str, way: str) -> None:
    make, shape = MODELS[name]
    model = make()
    scale = 2.0 if name == "float16" else None
    model.compile(optimizers.SGD(loss_scale_factor=scale), "mse", metrics=["mae"])
    data = [batch(shape, number) for number in range(4)]
    right = [as_floats(WAYS[way](model, x)) for x in data]
    before = state(model)

    def work(x: np.ndarray) -> list[np.ndarray]:
        return [as_floats(WAYS[way](model, x)) for _ in range(TURNS)]

    found = at_once(*(lambda x=x: work(x) for x in data))
    for own, expected in zip(found, right, strict=True):
        for value in own:
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    assert state(model) == before


@pytest.mark.parametrize("way", ["call", "predict", "predict_on_batch"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_predictions_while_another_thread_trains(way: str, policy: str) -> None:
    """Training drops out and adds losses; predictions do neither, and leave training what it has collected."""
    model = Sequential(
        [
            layers.Input((8,)),
            layers.Dense(8, "relu", activity_regularizer="l2", dtype=policy),
            layers.Dropout(0.5),
            layers.Dense(1, dtype=policy, kernel_initializer="zeros"),
        ]
    )
    model.compile(optimizers.SGD(0.0), "mse")  # weights stay as they are
    x, y = batch((8,), 0), np.ones((4, 1), "float32")
    (expected,) = set(model.fit(x, y, epochs=1, verbose=0).history["loss"])
    right = as_floats(WAYS[way](model, x))
    done = threading.Event()

    def train() -> list[float]:
        try:
            return model.fit(x, y, batch_size=4, epochs=15, verbose=0).history["loss"]
        finally:
            done.set()

    def predict() -> list[np.ndarray]:
        found = []
        while not done.is_set():
            found.append(as_floats(WAYS[way](model, x)))
        return found

    history, *predictions = at_once(train, predict, predict)
    assert history == pytest.approx([expected] * 15, rel=1e-5)
    for value in (value for own in predictions for value in own):
        np.testing.assert_array_equal(value, right)
    assert not model.training


def test_modes_belong_to_a_thread() -> None:
    layer = layers.Dropout(0.5)
    ones = torch.ones(1000)
    inside, seen = threading.Event(), threading.Event()

    def train() -> bool:
        with layer.mode(True):
            inside.set()
            assert seen.wait(10)
            return bool((layer(ones) == 0).any())

    def infer() -> bool:
        assert inside.wait(10)
        try:
            return bool((layer(ones) == 0).any()) or layer.training
        finally:
            seen.set()

    assert at_once(train, infer) == [True, False]


@pytest.mark.parametrize("kind", ["stack", "own model", "own layer"])
def test_threads_that_call_a_new_model_make_its_weights_once(kind: str) -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [layers.Dense(5, "relu"), layers.Dense(2)]

        def call(self, inputs: Any) -> Any:
            for part in self.parts:
                inputs = part(inputs)
            return inputs

    class Slow(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.kernels = [self.add_weight((input_shape[-1], 40)) for _ in range(20)]

        def call(self, inputs: Any) -> Any:
            return sum(inputs @ kernel for kernel in self.kernels)

    make: dict[str, Callable[[], Any]] = {
        "stack": lambda: Sequential([layers.Dense(5, "relu"), layers.Dense(2)]),
        "own model": Own,
        "own layer": Slow,
    }
    x = batch((8,), 1)
    for _ in range(5):
        model = make[kind]()
        found = at_once(*[lambda model=model: model(x).detach()] * 4)
        for value in found:
            torch.testing.assert_close(value, model(x).detach())


def test_names_are_given_once() -> None:
    found = at_once(*[lambda: [registry.unique_name("thread") for _ in range(200)]] * 4)
    names = [name for own in found for name in own]
    assert len(set(names)) == len(names)


def test_counting_while_another_thread_trains_is_refused() -> None:
    model = dense()
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = batch((8,), 0), np.zeros((4, 3), "float32")
    refused: list[str] = []

    class Ask(triarch.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            for method in ("evaluate", "test_on_batch", "train_on_batch", "fit"):
                with pytest.raises(RuntimeError, match=f"`{method}` counts in the metrics of model '{model.name}'"):
                    at_once(lambda method=method: getattr(model, method)(x, y))
                refused.append(method)
            model.evaluate(x, y, verbose=0)  # in the thread of `fit`
            at_once(lambda: copy.deepcopy(model).evaluate(x, y, verbose=0))

    model.fit(x, y, verbose=0, callbacks=[Ask()])
    assert len(refused) == 4
    model.evaluate(x, y, verbose=0)


def test_what_belongs_to_threads_is_not_copied() -> None:
    model = dense()
    model.compile("sgd", "mse")
    with model.mode(True):
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert not other.training
            other.fit(batch((8,), 0), np.zeros((4, 3), "float32"), verbose=0)


@pytest.mark.parametrize("way", ["predict", "predict_on_batch", "evaluate"])
@pytest.mark.parametrize("name", ["dense", "functional", "recurrent", "both ways"])
def test_compiled_code_of_several_threads(name: str, way: str) -> None:
    """As after many calls, when compiled code has earned its start; its memory is kept from one call to the next."""
    make, shape = MODELS[name]
    model = make()
    model.compile("sgd", "mse")
    data = [batch(shape, number) for number in range(3)]
    right = [as_floats(WAYS[way](model, x)) for x in data]

    def work(x: np.ndarray) -> list[np.ndarray]:
        with triarch.kernels.expecting(10**6):
            return [as_floats(WAYS[way](model, x)) for _ in range(3 * TURNS)]

    found = at_once(*(lambda x=x: work(x) for x in data))
    for own, expected in zip(found, right, strict=True):
        for value in own:
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
