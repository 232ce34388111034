"""Initializers: distributions, seeds, configs equal to Keras's, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from triarch import config, initializers, registry
from triarch.random import SeedGenerator

CLASSES = set(registry.family_members("keras.initializers").values()) - {initializers.Initializer}
RANDOM = sorted((cls for cls in CLASSES if issubclass(cls, initializers.RandomInitializer)), key=lambda c: c.__name__)
FAN_IN, FAN_OUT = 3 * 3 * 8, 3 * 3 * 40
SHAPE = (3, 3, 8, 40)

TRUNCATED = stats.truncnorm(-2, 2)
DISTRIBUTIONS = [
    ("random_normal", {"mean": 1.0, "stddev": 0.5}, stats.norm(1.0, 0.5)),
    ("random_uniform", {"minval": -2.0, "maxval": 3.0}, stats.uniform(-2.0, 5.0)),
    ("truncated_normal", {"mean": 1.0, "stddev": 0.5}, stats.truncnorm(-2, 2, 1.0, 0.5)),
    ("glorot_uniform", {}, math.sqrt(6 / (FAN_IN + FAN_OUT))),
    ("glorot_normal", {}, stats.truncnorm(-2, 2, 0, math.sqrt(2 / (FAN_IN + FAN_OUT)) / TRUNCATED.std())),
    ("he_uniform", {}, math.sqrt(6 / FAN_IN)),
    ("he_normal", {}, stats.truncnorm(-2, 2, 0, math.sqrt(2 / FAN_IN) / TRUNCATED.std())),
    ("lecun_uniform", {}, math.sqrt(3 / FAN_IN)),
    ("lecun_normal", {}, stats.truncnorm(-2, 2, 0, math.sqrt(1 / FAN_IN) / TRUNCATED.std())),
    (
        "variance_scaling",
        {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"},
        stats.norm(0, math.sqrt(3 / FAN_OUT)),
    ),
    ("variance_scaling", {"mode": "fan_in", "distribution": "uniform", "input_axes": [3], "output_axes": [2]}, None),
]


@pytest.mark.parametrize(("name", "options", "expected"), DISTRIBUTIONS)
def test_numbers_follow_the_distribution(name, options, expected):
    if expected is None:
        expected = math.sqrt(3 / SHAPE[3])
    if isinstance(expected, float):
        expected = stats.uniform(-expected, 2 * expected)
    values = getattr(initializers, name)(seed=11, **options)(SHAPE)
    assert values.shape == SHAPE
    assert stats.kstest(values.numpy().ravel(), expected.cdf).pvalue > 0.01


CONFIGS = [
    ("Zeros", {}),
    ("Ones", {}),
    ("Constant", {"value": 2.5}),
    ("Identity", {}),
    ("STFT", {}),
    ("STFT", {"side": "imag", "window": None, "scaling": None, "periodic": True}),
    ("Orthogonal", {"gain": 2.0, "seed": 3}),
    ("VarianceScaling", {"scale": 2.0, "mode": "fan_out", "distribution": "normal", "seed": 3}),
    *[(cls.__name__, {}) for cls in RANDOM],
    *[(cls.__name__, {"seed": 5}) for cls in RANDOM],
]


@pytest.mark.parametrize(("name", "options"), CONFIGS)
def test_config_is_that_of_keras_and_goes_round(name, options, keras):
    ours, theirs = getattr(initializers, name)(**options), getattr(keras.initializers, name)(**options)
    assert ours.get_config() == theirs.get_config()
    again = initializers.deserialize(initializers.serialize(ours))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()
    assert keras.initializers.deserialize(initializers.serialize(ours)).get_config() == theirs.get_config()


def test_gain_of_the_identity_is_saved_where_it_is_not_one(keras):
    data = initializers.serialize(initializers.Identity(gain=2.0))
    assert initializers.deserialize(data).gain == 2.0
    assert keras.initializers.deserialize(data).gain == 2.0


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("Zeros", {}, (2, 3)),
        ("Ones", {}, ()),
        ("Constant", {"value": 2.5}, (4,)),
        ("Identity", {"gain": 2.0}, (3, 5)),
        ("STFT", {}, (16, 1, 9)),
        ("STFT", {"side": "imag", "window": "hamming", "scaling": "spectrum", "periodic": True}, (16, 1, 9)),
        ("STFT", {"window": None}, (16, 1, 9)),
    ],
)
def test_fixed_values_are_those_of_keras(name, options, shape, keras):
    ours = getattr(initializers, name)(**options)(shape, dtype="float32")
    theirs = getattr(keras.initializers, name)(**options)(shape, dtype="float32")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", RANDOM)
def test_seed_rules(cls):
    unseeded = cls()
    assert torch.equal(unseeded((4, 5)), unseeded((4, 5)))
    assert not torch.equal(unseeded((4, 5)), cls()((4, 5)))
    assert torch.equal(cls(seed=3)((4, 5)), cls(seed=3)((4, 5)))
    series = cls(seed=SeedGenerator(3))
    assert not torch.equal(series((4, 5)), series((4, 5)))
    assert isinstance(series.clone().seed, SeedGenerator)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (3, 2, 2, 4), (1, 7), (4, 4)])
def test_orthogonal_matrices_are_orthogonal(shape):
    matrix = initializers.Orthogonal(gain=2.0, seed=1)(shape, dtype="float64").reshape(-1, shape[-1]) / 2.0
    product = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_orthogonal_half_floats_are_rounded_single_ones(dtype):
    halves, singles = (initializers.Orthogonal(seed=3)((4, 6), of) for of in (dtype, "float32"))
    torch.testing.assert_close(halves, singles.to(getattr(torch, dtype)), rtol=0, atol=0)


def test_every_spelling_of_keras(keras):
    from keras.src.initializers import ALL_OBJECTS_DICT

    for spelling, cls in ALL_OBJECTS_DICT.items():
        assert type(initializers.get(spelling)).__name__ == cls.__name__, spelling
    for name in dir(keras.initializers):
        assert name.startswith("_") or hasattr(initializers, name), name


def test_get_takes_instances_classes_configs_functions_and_arrays():
    zeros = initializers.Zeros()
    assert initializers.get(None) is None
    assert initializers.get(zeros) is zeros
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    assert isinstance(initializers.get({"class_name": "Ones", "config": {}}), initializers.Ones)
    assert initializers.get(torch.zeros) is torch.zeros
    values = np.arange(6.0).reshape(2, 3)
    fixed = initializers.get(values)
    np.testing.assert_array_equal(fixed((2, 3)), values)
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*Received: shape=\(3, 2\)"):
        fixed((3, 2))


def test_type_and_device_are_the_configured_ones():
    assert initializers.GlorotUniform()((2, 2)).dtype is torch.float32
    config.set_floatx("float64")
    assert initializers.GlorotUniform()((2, 2)).dtype is torch.float64
    assert initializers.Zeros()((2,), dtype="int32").dtype is torch.int32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.Identity()((2, 2, 2)), r"two axes. Received: shape=\(2, 2, 2\)"),
        (lambda: initializers.Orthogonal()((3,)), r"at least two axes. Received: shape=\(3,\)"),
        (lambda: initializers.VarianceScaling(scale=0), r"positive number. Received: 0"),
        (lambda: initializers.VarianceScaling(mode="fan"), r"Received: 'fan'"),
        (lambda: initializers.VarianceScaling(distribution="cauchy"), r"Received: 'cauchy'"),
        (lambda: initializers.RandomNormal(seed="a"), r"Received: 'a'"),
        (lambda: initializers.STFT(side="left"), r"Received: 'left'"),
        (lambda: initializers.STFT(scaling="none"), r"Received: 'none'"),
        (lambda: initializers.STFT(window=[1.0, 2.0])((3, 1, 2)), r"3 values.*Received: shape \(2,\)"),
        (lambda: initializers.get("glorot"), r"Unknown initializer 'glorot'"),
    ],
)
def test_errors_name_what_came(make, message):
    with pytest.raises(ValueError, match=message):
        make()
