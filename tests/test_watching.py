"""Who wants to see layers, operations and gradients sees them: whole steps and fused layers are not taken then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import triarch
from triarch import Model, Sequential, layers, optimizers

STEPS = 5
Watch = Callable[[Model, list[Any]], AbstractContextManager[None]]


def dense() -> Model:
    model = Sequential([layers.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


def recurrent() -> Model:
    model = Sequential([layers.Input((6, 2)), layers.GRU(5), layers.Dense(3, "softmax")])
    model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


MODELS = {"dense": (dense, (6,)), "recurrent": (recurrent, (6, 2))}


def data(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(4 * STEPS, *shape)).astype("float32"), rng.integers(0, 3, 4 * STEPS)


@contextmanager
def _removing(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _global(register: Any) -> Watch:
    return lambda model, seen: _removing(register(lambda *args: seen.append(args[0])))


def _of_layer(name: str) -> Watch:
    return lambda model, seen: _removing(getattr(model.layers[-1], name)(lambda *args: seen.append(args[0])))


def _of_weight(name: str) -> Watch:
    return lambda model, seen: _removing(getattr(model.trainable_weights[-1], name)(lambda part: seen.append(part)))


class _Functions(TorchFunctionMode):
    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("addmm", "linear"):
            self.seen.append(function)
        return function(*args, **(kwargs or {}))


class _Dispatched(TorchDispatchMode):
    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "addmm" in str(function):
            self.seen.append(function)
        return function(*args, **(kwargs or {}))


@contextmanager
def _own_call(model: Model, seen: list[Any]) -> Iterator[None]:
    layer = model.layers[-1]
    original = layer.call
    layer.call = lambda inputs: (seen.append(layer), original(inputs))[1]
    yield
    del layer.call


@contextmanager
def _own_forward(model: Model, seen: list[Any]) -> Iterator[None]:
    layer = model.layers[0]
    original = layer.forward
    layer.forward = lambda *args, **kwargs: (seen.append(layer), original(*args, **kwargs))[1]
    yield
    del layer.forward


@contextmanager
def _own_update(model: Model, seen: list[Any]) -> Iterator[None]:
    original = model.optimizer.apply
    model.optimizer.apply = lambda *args, **kwargs: (seen.append(args), original(*args, **kwargs))[1]
    yield
    del model.optimizer.apply


@contextmanager
def _anomaly(model: Model, seen: list[Any]) -> Iterator[None]:
    with torch.autograd.set_detect_anomaly(True):
        handle = model.layers[-1].register_forward_hook(lambda *args: seen.append(args[0]))
        yield
        handle.remove()


@contextmanager
def _profiled(model: Model, seen: list[Any]) -> Iterator[None]:
    with torch.autograd.profiler.profile() as profile:
        yield
    seen.extend(event for event in profile.function_events if event.name == "aten::addmm")


registering = torch.nn.modules.module
WATCHERS: dict[str, Watch] = {
    "global forward hook": _global(registering.register_module_forward_hook),
    "global forward pre-hook": _global(registering.register_module_forward_pre_hook),
    "global backward hook": _global(registering.register_module_full_backward_hook),
    "global backward pre-hook": _global(registering.register_module_full_backward_pre_hook),
    "forward hook": _of_layer("register_forward_hook"),
    "forward pre-hook": _of_layer("register_forward_pre_hook"),
    "backward hook": _of_layer("register_full_backward_hook"),
    "hook of a weight": _of_weight("register_hook"),
    "hook after a gradient": _of_weight("register_post_accumulate_grad_hook"),
    "function mode": lambda model, seen: _Functions(seen),
    "dispatch mode": lambda model, seen: _Dispatched(seen),
    "saved tensors": lambda model, seen: torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (seen.append(tensor), tensor)[1], lambda tensor: tensor
    ),
    "anomaly": _anomaly,
    "profiler": _profiled,
    "own call": _own_call,
    "own forward": _own_forward,
    "own update": _own_update,
}
_OF_LEARNING = {
    "global backward hook",
    "global backward pre-hook",
    "backward hook",
    "hook of a weight",
    "hook after a gradient",
    "saved tensors",
    "anomaly",
    "own update",
}


def fitted(name: str, watch: Watch | None) -> tuple[list[np.ndarray], list[Any]]:
    make, shape = MODELS[name]
    triarch.utils.set_random_seed(1)
    model, seen = make(), list[Any]()
    x, y = data(shape)
    with triarch.kernels.expecting(10**6):
        assert model.explain_step().startswith("layer by layer, as the first")
        model.fit(x[:4], y[:4], batch_size=4, shuffle=False, verbose=0)
        assert "of compiled code" in model.explain_step(), "else nothing is shown here"
        if watch is None:
            model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        else:
            with watch(model, seen):
                model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return model.get_weights(), seen


@pytest.mark.filterwarnings("ignore:Full backward hook is firing when")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("watcher", WATCHERS)
def test_every_step_of_training_is_seen(watcher: str, name: str) -> None:
    expected, _ = fitted(name, None)
    weights, seen = fitted(name, WATCHERS[watcher])
    assert len(seen) >= STEPS
    for own, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("watcher", [watcher for watcher in WATCHERS if watcher not in _OF_LEARNING])
def test_every_prediction_is_seen(watcher: str, name: str) -> None:
    make, shape = MODELS[name]
    model, seen = make(), list[Any]()
    x, _ = data(shape)
    with triarch.kernels.expecting(10**6):
        right = model.predict(x, batch_size=4, verbose=0)
        for _ in range(9):  # until it is known how
            model.predict_on_batch(x[:4])
        with WATCHERS[watcher](model, seen):
            found = model.predict(x, batch_size=4, verbose=0)
            single = model.predict_on_batch(x[:4])
        assert len(seen) > STEPS
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(single, right[:4], rtol=1e-4, atol=1e-6)
        count = len(seen)
        model.predict_on_batch(x[:4])
        assert len(seen) == count


def test_hooks_that_are_removed_leave_whole_steps() -> None:
    model = dense()
    x, y = data((6,))
    calls: list[Any] = []
    with triarch.kernels.expecting(10**6):
        model.fit(x, y, verbose=0)
        handle = model.trainable_weights[0].register_hook(calls.append)
        handle.remove()
        model.fit(x, y, verbose=0)
        assert "one call" in model.explain_step()
    assert not calls


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("way", ["parametrization", "spectral norm", "weight norm", "pruning"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_that_follow_from_others(name: str, way: str) -> None:
    """They are computed anew in every call, and what they follow from is learnt."""

    class Double(torch.nn.Module):
        def forward(self, kernel: torch.Tensor) -> torch.Tensor:
            return 2 * kernel

    make, shape = MODELS[name]
    model = make()
    x, y = data(shape)
    layer = model.layers[-1]
    with triarch.kernels.expecting(10**6):
        model.fit(x, y, verbose=0)
        before = model.predict(x, verbose=0)
        if way == "parametrization":
            torch.nn.utils.parametrize.register_parametrization(layer, "kernel", Double(), unsafe=True)
            learnt = layer.parametrizations.kernel.original
        elif way == "spectral norm":
            torch.nn.utils.parametrizations.spectral_norm(layer, "kernel")
            learnt = layer.parametrizations.kernel.original
        elif way == "weight norm":
            torch.nn.utils.weight_norm(layer, "kernel")
            learnt = layer.kernel_v
        else:
            prune.l1_unstructured(layer, "kernel", amount=0.5)
            learnt = layer.kernel_orig
        found = model.predict(x, verbose=0)
        np.testing.assert_allclose(found, model(x).detach().numpy(), rtol=1e-4, atol=1e-6)
        assert np.allclose(found, before, atol=1e-5) == (way == "weight norm")
        np.testing.assert_allclose(model.predict_on_batch(x), found, rtol=1e-4, atol=1e-6)
        kept = learnt.detach().clone()
        model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        model.fit(x, y, verbose=0)
        assert not torch.equal(learnt, kept)
        np.testing.assert_allclose(model.predict(x, verbose=0), model(x).detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("watcher", ["global forward hook", "forward hook", "own call"])
def test_fused_layers_are_called_one_by_one(watcher: str) -> None:
    inputs = triarch.Input((6, 6, 2))
    first = layers.Conv2D(3, 3, padding="same")(inputs)
    outputs = layers.ReLU()(
        layers.Add()([first, layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(first))])
    )
    model = Model(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype("float32")
    right = model.predict(x, verbose=0)
    seen: list[Any] = []
    with WATCHERS[watcher](model, seen):
        np.testing.assert_allclose(model.predict(x, verbose=0), right, rtol=1e-4, atol=1e-5)
    assert model.layers[-1] in seen


def test_a_listener_of_a_cell_hears_each_step() -> None:
    layer = layers.LSTM(3)
    x = np.ones((2, 5, 4), "float32")
    right = layer(x).detach()
    heard: list[Any] = []
    handle = layer.cell.register_forward_hook(lambda *args: heard.append(args[0]))
    torch.testing.assert_close(layer(x).detach(), right)
    handle.remove()
    assert len(heard) == 5
