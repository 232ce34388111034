"""What every test may use: real Keras on torch as a judge, fixed seeds, the folder of original data sets."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from pathlib import Path

# Keras chooses its backend at its first import, so this stands before any.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["TRIARCH_DEVICE"] = "cpu"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"

import numpy as np
import pytest
import torch
from hypothesis import settings

from triarch import config, mixed_precision, registry
from triarch.random import set_random_seed

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random programs are compared with Keras, and from which seed on."""
    parser.addoption("--programs", type=int, default=40)
    parser.addoption("--first-program", type=int, default=0)


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Every test starts from the same seed, names and settings."""
    set_random_seed(7)
    registry.reset_names()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    mixed_precision.set_dtype_policy(None)


@pytest.fixture(scope="session")
def keras() -> types.ModuleType:
    """Real Keras 3, computing with torch."""
    return pytest.importorskip("keras")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers for test data."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with original data-set files; tests that need it are skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TRIARCH_DATASETS", beside))
    if not folder.is_dir():
        pytest.skip(f"no original data sets: neither TRIARCH_DATASETS nor {beside}")
    return folder


@pytest.fixture
def float64() -> None:
    """New weights and data in double precision."""
    config.set_floatx("float64")


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True, scope="module")
def _threads_as_before() -> Iterator[None]:
    """The command sets torch's threads, for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
