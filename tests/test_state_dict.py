"""`state_dict`: names that do not depend on what was made before, tensors that files take, and all of it or nothing."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triarch
from triarch import layers, saving

Make = Callable[[], Any]


def sequential() -> Any:
    return triarch.Sequential([triarch.Input((8,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2)])


def functional() -> Any:
    inputs = triarch.Input((8,))
    x = layers.BatchNormalization()(layers.Dense(4)(inputs))
    return triarch.Model(inputs, layers.Add()([layers.Dense(2)(x), layers.Dense(2)(inputs)]))


def nested() -> Any:
    inputs = triarch.Input((8,))
    inner = triarch.Sequential([triarch.Input((8,)), layers.Dense(3), layers.Dense(3)])
    other = triarch.Input((8,))
    graph = triarch.Model(other, layers.Dense(3)(layers.Dense(5)(other)))
    return triarch.Model(inputs, layers.Concatenate()([inner(inputs), graph(inputs), graph(inputs)]))


def in_sequential() -> Any:
    return triarch.Sequential([triarch.Input((8,)), functional(), layers.Dense(3), nested_of(2)])


def nested_of(size: int) -> Any:
    inputs = triarch.Input((3,))
    return triarch.Model(inputs, layers.Dense(size)(layers.Dense(3)(inputs)))


def shared() -> Any:
    first, second = triarch.Input((4,)), triarch.Input((4,))
    layer = layers.Dense(3)
    joined = layers.Concatenate()([layer(first), layer(second)])
    inputs = triarch.Input((8,))
    model = triarch.Model([first, second], layers.Dense(1)(joined))
    return triarch.Model(inputs, model([inputs[:, :4], inputs[:, 4:]]))


def recurrent() -> Any:
    inputs = triarch.Input((8,))
    x = layers.Reshape((4, 2))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    x = layers.RNN([layers.GRUCell(2), layers.LSTMCell(2)])(x)
    return triarch.Model(inputs, layers.Dense(1)(x))


def with_containers() -> Any:
    class Branches(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.branches = [layers.Dense(2), layers.Dense(2)]
            self.by_name = {"left": layers.Dense(2), "right": layers.Dense(2)}

        def call(self, inputs: torch.Tensor) -> torch.Tensor:
            return sum(layer(inputs) for layer in [*self.branches, *self.by_name.values()])

    inputs = triarch.Input((8,))
    return triarch.Model(inputs, layers.Dense(1)(Branches()(Branches()(inputs))))


def of_torch() -> Any:
    inputs = triarch.Input((8,))
    x = layers.TorchModuleWrapper(torch.nn.Linear(8, 3))(inputs)
    return triarch.Model(inputs, layers.TorchModuleWrapper(torch.nn.Linear(3, 3))(torch.relu(x)))


def residual() -> Any:
    inputs = triarch.Input((8,))
    return triarch.Model(inputs, layers.Dense(1)(layers.Residual([layers.Dense(4), layers.Dense(8)])(inputs)))


def partly_named() -> Any:
    inputs = triarch.Input((8,))
    x = layers.Dense(4, name="dense_70")(inputs)  # looks like an automatic name, and is none
    x = layers.Dense(4, name="block.1/conv")(layers.Dense(4)(x))
    return triarch.Model(inputs, layers.Dense(2, name="output")(layers.Dense(4)(x)))


def convolutional() -> Any:
    inputs = triarch.Input((8,))
    x = layers.Reshape((2, 2, 2))(inputs)
    for layer in (
        layers.Conv2D(3, 2, padding="same"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(2, padding="same"),
        layers.SeparableConv2D(3, 2, padding="same"),
        layers.Conv2DTranspose(2, 2),
        layers.Flatten(),
    ):
        x = layer(x)
    return triarch.Model(inputs, layers.Dense(2)(x))


MAKERS: tuple[Make, ...] = (
    sequential,
    functional,
    nested,
    in_sequential,
    shared,
    recurrent,
    with_containers,
    of_torch,
    residual,
    partly_named,
    convolutional,
)
X = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_function_gives_the_same_names(make: Make) -> None:
    first = make()
    layers.Dense(1), layers.BatchNormalization(), triarch.Sequential(), functional()  # others are made meanwhile
    second = make()
    assert list(first.state_dict()) == list(second.state_dict())
    assert [name for name, _ in first.named_modules()] == [name for name, _ in second.named_modules()]
    second.load_state_dict(first.state_dict(), strict=True)
    np.testing.assert_array_equal(second.predict(X, verbose=0), first.predict(X, verbose=0))


@pytest.mark.parametrize("make", [make for make in MAKERS if make not in (of_torch, with_containers)])
def test_names_out_of_a_file(make: Make, tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "m.keras")
    assert list(saving.load_model(tmp_path / "m.keras").state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("make", [make for make in MAKERS if make not in (of_torch, with_containers)])
def test_names_of_copies(make: Make) -> None:
    model = make()
    names = list(model.state_dict())
    assert list(copy.deepcopy(model).state_dict()) == names
    assert list(pickle.loads(pickle.dumps(model)).state_dict()) == names
    assert list(triarch.models.clone_model(model).state_dict()) == names


@pytest.mark.parametrize("make", MAKERS)
def test_names_lead_to_their_tensors(make: Make) -> None:
    model = make()
    found = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    assert set(model.state_dict()) == set(found)
    for name, tensor in model.state_dict().items():
        owner, _, own = name.rpartition(".")
        assert getattr(model.get_submodule(owner), own) is found[name]
        assert torch.equal(tensor, found[name])
    for name, module in model.named_modules():
        assert model.get_submodule(name) is module


def test_given_names_are_kept() -> None:
    model = partly_named()
    assert {name.rpartition(".")[0] for name in model.state_dict()} == {
        "dense_70", "dense", "block_1/conv", "dense_1", "output"
    }  # fmt: skip
    assert model.get_submodule("dense_70") is model.get_layer("dense_70")
    assert model.get_submodule("output") is model.get_layer("output")


def test_names_that_points_would_make_alike() -> None:
    inputs = triarch.Input((2,))
    x = layers.Dense(2, name="conv_1")(layers.Dense(2, name="conv.1")(inputs))
    model = triarch.Model(inputs, x)
    assert len(model.state_dict()) == 4
    assert len(list(model.parameters())) == 4


def test_networks_known_by_name_within_others() -> None:
    def make() -> Any:
        inputs = triarch.Input((32, 32, 3))
        backbone = triarch.applications.ResNet20(include_top=False, weights=None, input_shape=(32, 32, 3))
        return triarch.Model(inputs, layers.GlobalAveragePooling2D()(backbone(inputs)))

    assert list(make().state_dict()) == list(make().state_dict())


# Tensors.


@pytest.mark.parametrize("make", MAKERS)
def test_files_of_safetensors(make: Make, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model, other, third = make(), make(), make()
    expected = model.predict(X, verbose=0)
    safetensors.save_file(model.state_dict(), tmp_path / "w.safetensors")
    other.load_state_dict(safetensors.load_file(tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(other.predict(X, verbose=0), expected)
    safetensors.save_model(model, str(tmp_path / "m.safetensors"))
    safetensors.load_model(third, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(third.predict(X, verbose=0), expected)


@pytest.mark.parametrize("make", MAKERS)
def test_files_of_torch(make: Make) -> None:
    model, other, stream = make(), make(), io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    other.load_state_dict(torch.load(stream, weights_only=True))
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.fixture
def kernel() -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A model, its first kernel, and what `state_dict` shows of it."""
    model = convolutional()
    layer = model.layers[2]
    assert not layer.kernel.is_contiguous()  # else nothing is shown here
    return model, layer.kernel, model.state_dict()["conv2d.kernel"]


IN_PLACE: dict[str, Callable[[torch.Tensor], Any]] = {
    "fill_": lambda shown: shown.fill_(7),
    "copy_": lambda shown: shown.copy_(torch.full_like(shown, 7)),
    "setitem": lambda shown: shown.__setitem__(slice(None), 7.0),
    "part": lambda shown: [part.fill_(7) for part in shown],
    "part of a part": lambda shown: [shown[place].view(-1).fill_(7) for place in range(len(shown))],
    "permuted": lambda shown: shown.permute(3, 2, 1, 0).fill_(7),
    "detached": lambda shown: shown.detach().fill_(7),
    "data": lambda shown: shown.data.fill_(7),
    "operator": lambda shown: shown.mul_(0).__iadd__(7),
    "out": lambda shown: torch.full(shown.shape, 7.0, out=shown),
    "foreach": lambda shown: (torch._foreach_zero_([shown]), torch._foreach_add_([shown], 7.0)),
    "initializer": lambda shown: torch.nn.init.constant_(shown, 7.0),
}


@pytest.mark.parametrize("way", IN_PLACE)
def test_what_is_shown_is_written_through(way: str, kernel: tuple[Any, torch.Tensor, torch.Tensor]) -> None:
    _, weight, shown = kernel
    IN_PLACE[way](shown)
    assert (weight == 7).all()
    assert (shown == 7).all()


READ: dict[str, Callable[[torch.Tensor], Any]] = {
    "numpy": lambda shown: shown.numpy(),
    "array": lambda shown: np.asarray(shown),
    "list": lambda shown: shown.tolist(),
    "clone": lambda shown: shown.clone(),
    "sum": lambda shown: shown + 0,
    "part": lambda shown: torch.stack(list(shown)),
    "deepcopy": lambda shown: copy.deepcopy(shown),
    "pickle": lambda shown: pickle.loads(pickle.dumps(shown)),
}


@pytest.mark.parametrize("way", READ)
def test_what_is_shown_is_up_to_date(way: str, kernel: tuple[Any, torch.Tensor, torch.Tensor]) -> None:
    model, weight, shown = kernel
    model.compile("sgd", "mse")
    model.train_on_batch(X, np.ones((3, 2)))
    found = np.asarray(READ[way](shown))
    np.testing.assert_array_equal(found, weight.detach().numpy())
    with torch.no_grad():
        weight.zero_()
    assert (np.asarray(READ[way](shown)) == 0).all()


def test_results_and_copies_stand_alone(kernel: tuple[Any, torch.Tensor, torch.Tensor]) -> None:
    model, weight, shown = kernel
    before = weight.detach().clone()
    for other in (shown.clone(), copy.deepcopy(shown), shown * 1, copy.deepcopy(model.state_dict())["conv2d.kernel"]):
        assert type(other) is torch.Tensor
        other.fill_(9)
    assert torch.equal(weight, before)
    with pytest.raises(ValueError, match="read-only"):
        shown.numpy()[0] = 9
    assert shown.is_contiguous()
    assert shown.shape == weight.shape
    assert model.state_dict(keep_vars=True)["conv2d.kernel"] is weight


def test_a_moving_average_by_state_dict() -> None:
    model, average = convolutional(), convolutional()
    average.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    for name, tensor in average.state_dict().items():
        tensor.mul_(0.5).add_(model.state_dict()[name], alpha=0.5)
    for one, other in zip(average.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other - 0.5)


@pytest.mark.parametrize("make", MAKERS)
def test_assigned_tensors(make: Make) -> None:
    model, other = make(), make()
    variables = list(other.parameters())
    other.compile("adam", "mse")
    other.load_state_dict(model.state_dict(), assign=True)
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))
    if make is not of_torch:  # torch puts other parameters in the places of its own
        assert all(one is another for one, another in zip(other.parameters(), variables, strict=True))
    before = [weight.detach().clone() for weight in model.parameters()]
    targets = np.ones(other.predict(X, verbose=0).shape)
    other.train_on_batch(X, targets)
    assert any(not torch.equal(one, weight) for one, weight in zip(before, other.parameters(), strict=True))


def test_assigned_types() -> None:
    model = sequential()
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    assert all(weight.dtype is torch.float64 for weight in model.weights)
    assert model.layers[0].kernel.path.endswith("kernel")


# All or nothing.


def other_shape(state: dict[str, Any], key: str) -> None:
    state[key] = torch.zeros(*state[key].shape, 2)


def complex_numbers(state: dict[str, Any], key: str) -> None:
    state[key] = state[key] * 1j


def truth_values(state: dict[str, Any], key: str) -> None:
    state[key] = state[key] > 0


def too_large(state: dict[str, Any], key: str) -> None:
    state[key] = torch.full_like(state[key], 1e300, dtype=torch.float64)


def no_tensor(state: dict[str, Any], key: str) -> None:
    state[key] = "a text"


def missing(state: dict[str, Any], key: str) -> None:
    del state[key]


def unexpected(state: dict[str, Any], key: str) -> None:
    state["more"] = torch.zeros(1)


FAULTS = (other_shape, complex_numbers, truth_values, too_large, no_tensor, missing, unexpected)


@pytest.mark.parametrize(
    ("fault", "assign"),
    [(fault, assign) for fault in FAULTS for assign in (False, True) if not (assign and fault is too_large)],
)
@pytest.mark.parametrize("make", [functional, convolutional, with_containers, of_torch])
def test_all_or_nothing(make: Make, fault: Callable[[dict[str, Any], str], None], assign: bool) -> None:
    model, source = make(), make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    variables = list(model.parameters())
    state = dict(source.state_dict())
    fault(state, list(state)[-1])
    with pytest.raises(RuntimeError, match="Error"):
        model.load_state_dict(state, assign=assign)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(one is other for one, other in zip(model.parameters(), variables, strict=True))


def test_types_that_hold_the_numbers() -> None:
    model, source = convolutional(), convolutional()
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        state = {name: tensor.to(kind) for name, tensor in source.state_dict().items()}
        model.load_state_dict(state)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[name].float())


def test_hooks_may_rename(kernel: tuple[Any, torch.Tensor, torch.Tensor]) -> None:
    model, weight, _ = kernel
    state = {f"old.{name}": torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}

    def rename(module: Any, given: dict[str, Any], prefix: str, *others: Any) -> None:
        for name in list(given):
            given[name.removeprefix("old.")] = given.pop(name)

    model.register_load_state_dict_pre_hook(rename)
    model.load_state_dict(state)
    assert (weight == 0).all()


def test_in_modules_of_torch() -> None:
    def make() -> torch.nn.Module:
        return torch.nn.Sequential(convolutional(), torch.nn.Linear(2, 2))

    first, second = make(), make()
    assert all(tensor.is_contiguous() for tensor in first.state_dict().values())
    for assign in (False, True):
        second.load_state_dict(first.state_dict(), assign=assign)
        inputs = torch.as_tensor(X)
        assert torch.equal(second(inputs), first(inputs))
    assert isinstance(second[0].layers[2].kernel, triarch.Variable)
