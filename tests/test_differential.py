"""Random small models give what they give in real Keras: outputs, gradients, losses, metrics, histories, files.

`scripts/test tests/test_differential.py --programs 5000 --first-program 1000 --dist load` runs many more than usual.
"""

from __future__ import annotations

import types

import pytest
from differential.comparison import differences
from differential.programs import draw


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first, count = (metafunc.config.getoption(name) for name in ("--first-program", "--programs"))
    metafunc.parametrize("seed", range(first, first + count))


def test_a_random_model_gives_what_keras_gives(seed: int, keras: types.ModuleType) -> None:
    program = draw(seed, keras)
    found = differences(program, keras)
    assert not found, "\n".join([str(program), *found])
