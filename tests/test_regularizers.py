"""Regularizers and constraints against real Keras."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from triarch import constraints, regularizers

REGULARIZERS = [
    ("L1", {"l1": 0.3}),
    ("L1", {"l1": None}),
    ("L2", {"l2": 0.3}),
    ("L2", {}),
    ("L1L2", {"l1": 0.3, "l2": 0.2}),
    ("L1L2", {"l2": 0.2}),
    ("L1L2", {}),
    ("OrthogonalRegularizer", {"factor": 0.3}),
    ("OrthogonalRegularizer", {"mode": "columns"}),
]
CONSTRAINTS = [
    ("MaxNorm", {"max_value": 0.7}),
    ("MaxNorm", {"axis": [0, 1]}),
    ("NonNeg", {}),
    ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {"min_value": 2.0, "max_value": 2.5, "rate": 0.6}),
    ("MinMaxNorm", {}),
]


@pytest.mark.parametrize(("name", "options"), REGULARIZERS)
def test_penalty_gradient_and_config_are_those_of_keras(name, options, keras, rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    results = []
    for module in (regularizers, keras.regularizers):
        leaf = torch.tensor(x, requires_grad=True)
        penalty = getattr(module, name)(**options)(leaf)
        assert penalty.shape == ()
        gradient = torch.autograd.grad(penalty, leaf)[0] if penalty.requires_grad else torch.zeros_like(leaf)
        results.append((penalty.detach(), gradient))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    _check_config(regularizers, keras.regularizers, name, options)


@pytest.mark.parametrize(("name", "options"), CONSTRAINTS)
def test_constrained_weight_and_config_are_those_of_keras(name, options, keras, rng):
    w = rng.normal(size=(5, 4, 3)).astype("float32")
    ours = getattr(constraints, name)(**options)(torch.tensor(w))
    torch.testing.assert_close(ours, getattr(keras.constraints, name)(**options)(w), rtol=1e-5, atol=1e-6)
    _check_config(constraints, keras.constraints, name, options)


def _check_config(ours, theirs, name, options):
    made, expected = getattr(ours, name)(**options), getattr(theirs, name)(**options).get_config()
    data = ours.serialize(made)
    again = ours.deserialize(data).get_config(), theirs.deserialize(data).get_config()
    for config in (made.get_config(), *again):
        assert list(config) == list(expected)
        for key, value in expected.items():
            # Keras has rounded some numbers to float32.
            assert config[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


@pytest.mark.parametrize("family", ["regularizers", "constraints"])
def test_every_spelling_of_keras(family, keras):
    import importlib

    ours = {"regularizers": regularizers, "constraints": constraints}[family]
    objects = importlib.import_module(f"keras.src.{family}").ALL_OBJECTS_DICT
    for spelling, cls in objects.items():
        assert type(ours.get(spelling)).__name__ == cls.__name__, spelling
    for name in dir(getattr(keras, family)):
        assert name.startswith("_") or hasattr(ours, name), name
    assert isinstance(regularizers.get("l1_l2"), regularizers.L1L2)
    assert ours.get(None) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regularizers.L1(-1), r"l1 must be a non-negative number. Received: -1"),
        (lambda: regularizers.L2(np.inf), r"l2 .*Received: inf"),
        (lambda: regularizers.L1L2(l2="a"), r"l2 .*Received: 'a'"),
        (lambda: regularizers.OrthogonalRegularizer(mode="all"), r"Received: 'all'"),
        (lambda: regularizers.OrthogonalRegularizer()(torch.ones(3)), r"Received: shape \(3,\)"),
        (lambda: regularizers.get("l3"), r"Unknown regularizer 'l3'"),
        (lambda: constraints.get("max"), r"Unknown constraint 'max'"),
    ],
)
def test_errors_name_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()
