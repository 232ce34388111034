"""Random numbers: series that repeat, and their distributions."""

from __future__ import annotations

import copy
import pickle
import random as python_random

import numpy as np
import pytest
import torch

from triarch import config, random, registry
from triarch.random import SeedGenerator

DRAWS = {
    "normal": lambda seed: random.normal((50,), seed=seed),
    "uniform": lambda seed: random.uniform((50,), seed=seed),
    "truncated_normal": lambda seed: random.truncated_normal((50,), seed=seed),
    "randint": lambda seed: random.randint((50,), 0, 1000, seed=seed),
    "categorical": lambda seed: random.categorical(torch.zeros(2, 100), 20, seed=seed),
    "dropout": lambda seed: random.dropout(torch.ones(50), 0.5, seed=seed),
    "shuffle": lambda seed: random.shuffle(torch.arange(50), seed=seed),
    "gamma": lambda seed: random.gamma((50,), 2.0, seed=seed),
    "beta": lambda seed: random.beta((50,), 2.0, 3.0, seed=seed),
    "binomial": lambda seed: random.binomial((50,), 1000, 0.5, seed=seed),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_seeds(draw):
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    series = SeedGenerator(3)
    first, second = draw(series), draw(series)
    assert not torch.equal(first, second)
    assert torch.equal(first, draw(SeedGenerator(np.int64(3))))
    random.set_random_seed(5)
    first, second = draw(None), draw(None)
    assert not torch.equal(first, second)
    random.set_random_seed(np.int64(5))
    assert torch.equal(first, draw(None))


@pytest.mark.parametrize("wrong", [-1, 2**32, 1.5, None])
def test_a_wrong_seed(wrong):
    with pytest.raises(ValueError, match=r"seed must be an integer.* Received:"):
        random.set_random_seed(wrong)


def test_draws_without_a_seed_leave_pythons_numbers_and_names_alone():
    random.normal((1,))
    state, name = python_random.getstate(), registry.unique_name("seed_generator")
    for _ in range(3):
        random.normal((1,))
    assert python_random.getstate() == state
    assert (name, registry.unique_name("seed_generator")) == ("seed_generator", "seed_generator_1")


def test_a_series_goes_on_under_every_spelling_of_its_device():
    one, other = SeedGenerator(1), SeedGenerator(1)
    spellings = ("cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0))
    drawn = [torch.rand(3, generator=one.on(device)) for device in spellings]
    assert torch.equal(torch.cat(drawn), torch.cat([torch.rand(3, generator=other.on("cpu")) for _ in spellings]))
    assert list(one.get_state()) == ["cpu"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_of_a_series_go_on_from_its_place(duplicate):
    series = SeedGenerator(1)
    random.normal((3,), seed=series)
    twin = duplicate(series)
    assert torch.equal(random.normal((3,), seed=series), random.normal((3,), seed=twin))


@pytest.mark.parametrize("as_parameter", [np.asarray, torch.as_tensor, list])
def test_distributions_take_arrays_of_parameters(as_parameter):
    shape = (20000, 2)
    gamma = random.gamma(shape, as_parameter([1.0, 4.0]), seed=1)
    torch.testing.assert_close(gamma.mean(0), torch.tensor([1.0, 4.0]), rtol=0.05, atol=0)
    beta = random.beta(shape, as_parameter([1.0, 2.0]), as_parameter([1.0, 6.0]), seed=1)
    torch.testing.assert_close(beta.mean(0), torch.tensor([0.5, 0.25]), rtol=0.05, atol=0)
    binomial = random.binomial(shape, as_parameter([10, 20]), as_parameter([0.5, 0.1]), seed=1)
    torch.testing.assert_close(binomial.mean(0), torch.tensor([5.0, 2.0]), rtol=0.05, atol=0)
    assert {gamma.dtype, beta.dtype, binomial.dtype} == {torch.float32}


def test_devices_are_named_as_tensors_name_theirs():
    assert config.numbered("cpu:0") == config.device() == torch.zeros(1).device
    assert config.numbered("cuda:1") == torch.device("cuda", 1)
