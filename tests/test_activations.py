"""Activations against real Keras: values, gradients, names and errors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from triarch import activations, registry
from triarch.activations import get

NAMES = sorted({function.__name__ for function in registry.family_members("keras.activations").values()})
NOT_KERAS_3 = ("hard_sigmoid_of_keras_2",)
CASES = [(name, {}) for name in NAMES if name not in ("threshold", "sparsemax", *NOT_KERAS_3)] + [
    ("relu", {"negative_slope": 0.3}),
    ("relu", {"max_value": 1.5}),
    ("relu", {"max_value": 6}),
    ("relu", {"threshold": 0.5}),
    ("relu", {"negative_slope": 0.3, "max_value": 1.0, "threshold": 0.4}),
    ("leaky_relu", {"negative_slope": 0.05}),
    ("elu", {"alpha": 0.7}),
    ("celu", {"alpha": 0.7}),
    ("gelu", {"approximate": True}),
    ("glu", {"axis": 0}),
    ("squareplus", {"b": 2}),
    ("soft_shrink", {"threshold": 0.2}),
    ("hard_shrink", {"threshold": 0.2}),
    ("threshold", {"threshold": 0.2, "default_value": -1.0}),
    ("softmax", {"axis": 0}),
    ("softmax", {"axis": None}),
    ("log_softmax", {"axis": 0}),
    ("log_softmax", {"axis": None}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_values_and_gradients_are_those_of_keras(name, options, keras, rng):
    x = rng.normal(0, 2, (4, 6, 8)).astype("float32")
    upstream = torch.tensor(rng.normal(size=(4, 6, 8)).astype("float32"))
    results = []
    for module in (activations, keras.activations):
        leaf = torch.tensor(x, requires_grad=True)
        out = getattr(module, name)(leaf, **options)
        (out * upstream[: out.shape[0], :, : out.shape[2]]).sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)


def test_every_activation_of_keras_is_here_with_its_arguments(keras):
    for name in sorted(set(dir(keras.activations)) - {"deserialize", "get", "serialize"}):
        if name.startswith("_"):
            continue
        ours, theirs = getattr(activations, name), getattr(keras.activations, name)
        assert get(name) is ours
        arguments = {k: p.default for k, p in inspect.signature(theirs).parameters.items()}
        assert {k: p.default for k, p in inspect.signature(ours).parameters.items()} == arguments, name


def test_the_hard_sigmoid_of_keras_2(rng):
    x = rng.normal(0, 4, (4, 6)).astype("float32")
    found = activations.hard_sigmoid_of_keras_2(torch.tensor(x))
    np.testing.assert_allclose(found, np.clip(0.2 * x + 0.5, 0, 1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_serialized_activation_is_its_name_and_comes_back(name):
    function = get(name)
    assert activations.serialize(function) == name
    assert activations.deserialize(name) is function


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sparsemax_is_the_nearest_point_of_the_simplex(axis):
    x = torch.randn(5, 6, 7, dtype=torch.float64)
    out = activations.sparsemax(x, axis)
    assert (out >= 0).all()
    assert (out == 0).any()
    torch.testing.assert_close(out.sum(axis), torch.ones_like(out.sum(axis)))
    # Where the result is positive it differs from x by one number, and nowhere else does x lie above that shift.
    shift = (x - out).masked_fill(out == 0, -torch.inf).amax(axis, keepdim=True)
    torch.testing.assert_close(out, (x - shift).clamp(min=0))


def test_logits_are_remembered_where_losses_may_use_them():
    x = torch.randn(3, 4)
    assert activations.softmax(x)._logits is x
    assert activations.softmax(x, axis=1)._logits is x
    assert not hasattr(activations.softmax(x, axis=0), "_logits")
    assert activations.sigmoid(x)._logits is x


def test_arrays_lists_and_numbers_are_accepted():
    assert activations.relu([-10, -5, 0.0, 5, 10]).tolist() == [0, 0, 0, 5, 10]
    assert activations.relu(np.array([-1, 2])).tolist() == [0, 2]
    assert activations.softmax([[1, 1]]).tolist() == [[0.5, 0.5]]


def test_get_takes_none_functions_and_refuses_the_unknown():
    assert get(None) is activations.linear
    assert get(torch.relu) is torch.relu
    with pytest.raises(ValueError, match=r"Unknown activation 'rellu'.*'relu'"):
        get("rellu")
    with pytest.raises(TypeError, match=r"Received: 3"):
        get(3)


def test_custom_objects_are_found_by_name():
    def double(x):
        return 2 * x

    assert activations.deserialize("double", {"double": double}) is double
