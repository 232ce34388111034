"""Learning-rate schedules: equal to Keras's over many steps, and their exact values where a formula gives them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from triarch.optimizers import schedules

CASES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10, 12], "values": [1.0, 0.5, 0.25, 0.1]}),
    ("PiecewiseConstantDecay", {"boundaries": [5], "values": [0.1, 0.01]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 20}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "end_learning_rate": 0.01, "power": 0.5}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 9, "power": 2.0, "cycle": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6, "staircase": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 30}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 30, "alpha": 0.1}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 30, "warmup_target": 0.2, "warmup_steps": 11}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5.5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 8, "t_mul": 1.0, "m_mul": 0.8}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4.1, "t_mul": 1.5, "alpha": 0.2}),
]


def case_id(case: tuple[str, dict[str, Any]]) -> str:
    return f"{case[0]}({', '.join(f'{key}={value}' for key, value in case[1].items())})"


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_values_equal_keras(keras, case):
    name, arguments = case
    ours = getattr(schedules, name)(**arguments)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    steps = range(60)
    expected = np.array([float(theirs(step)) for step in steps])
    values = [ours(step) for step in steps]
    assert all(type(value) is float for value in values)
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-7)
    by_hand = ours(torch.arange(60))
    assert by_hand.shape == (60,)
    np.testing.assert_allclose(by_hand.numpy(), values, rtol=1e-6)
    assert ours(torch.tensor(7)).shape == ()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_configs_are_keras_s(keras, case):
    name, arguments = case
    ours, theirs = getattr(schedules, name)(**arguments), getattr(keras.optimizers.schedules, name)(**arguments)
    assert ours.get_config() == theirs.get_config()
    data = json.loads(json.dumps(schedules.serialize(ours)))
    assert data == json.loads(json.dumps(keras.optimizers.schedules.serialize(theirs)))
    again = schedules.deserialize(data)
    assert type(again) is type(ours)
    assert again(17) == ours(17)
    assert schedules.get(ours) is ours


@pytest.mark.parametrize(
    ("t_mul", "starts"), [(1.0, [0, 10, 20, 30]), (2.0, [0, 10, 30, 70]), (10.0, [0, 10, 110, 1110])]
)
def test_restarts_begin_at_the_top_exactly(t_mul, starts):
    schedule = schedules.CosineDecayRestarts(1.0, 10, t_mul=t_mul, m_mul=0.5)
    for number, step in enumerate(starts):
        assert schedule(step) == pytest.approx(0.5**number)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps must be greater than 0"),
        (lambda: schedules.CosineDecay(0.1, -1), "decay_steps must be greater than 0"),
        (lambda: schedules.CosineDecayRestarts(0.1, 0), "first_decay_steps must be greater than 0"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5), "t_mul"),
        (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "one value more than boundaries"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_own_schedules_are_given_the_step_count():
    class Halving(schedules.LearningRateSchedule):
        def __init__(self, start: float) -> None:
            self.start = start

        def __call__(self, step: Any) -> Any:
            return self.start / (1 + step)

    schedule = Halving(4.0)
    assert schedule.value_at(torch.tensor(3)) == 1.0
    assert schedule.get_config() == {"start": 4.0}
    with pytest.raises(NotImplementedError, match="must override"):
        schedules.LearningRateSchedule()(0)
