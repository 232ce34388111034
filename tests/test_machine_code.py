"""Machine code: compiled once, kept, loaded without Numba; and where that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, torch
from triarch import kernels, layers
from triarch.kernels.native import allocator
layer = layers.Conv2D(8, 3, activation="relu")
layer.build((None, 9, 10, 8))
torch.manual_seed(1)
with kernels.use("patches"), torch.no_grad():
    layer.kernel.copy_(torch.randn(3, 3, 8, 8))
    print(repr(layer(torch.randn(2, 9, 10, 8)).double().sum().item()))
print("numba" in sys.modules)
"""


def run(home: Path, **environment: str) -> tuple[list[str], str]:
    """Lines of the program's output, and what it said on the error stream."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TRIARCH_")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env=settings | {"TRIARCH_HOME": str(home)} | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split(), done.stderr


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, list[str], str]:
    """A home in which the program has run once."""
    home = tmp_path_factory.mktemp("home")
    return home, *run(home)


def test_the_first_use_compiles_and_says_so(kept):
    home, (_, is_numba_loaded), said = kept
    assert is_numba_loaded == "True"
    assert said.count("triarch: compiling kernels for this machine, once") == 1
    assert str(home / "kernels") in said
    assert {path.suffix for path in (home / "kernels").iterdir()} == {".o"}


def test_later_processes_load_it_without_numba(kept):
    home, (number, _), _ = kept
    assert run(home) == ([number, "False"], "")


def test_what_is_damaged_is_compiled_anew(kept):
    home, (number, _), _ = kept
    for path in (home / "kernels").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    (found, is_numba_loaded), said = run(home)
    assert (found, is_numba_loaded) == (number, "True")
    assert "compiling" in said
    assert run(home)[0] == [number, "False"]


def test_a_folder_that_cannot_be_written(kept, tmp_path):
    _, (number, _), _ = kept
    (tmp_path / "file").write_text("in the way")
    (found, _), said = run(tmp_path / "file")
    assert found == number
    assert "compiled kernels cannot be kept" in said


def test_a_team_that_is_smaller_than_asked_for(kept):
    home, (number, _), _ = kept
    assert run(home, OMP_THREAD_LIMIT="1", OMP_NUM_THREADS="2")[0][0] == number


def test_memory_settings_of_users_stay(kept):
    home, (number, _), _ = kept
    assert run(home, MALLOC_TRIM_THRESHOLD_="100000")[0] == [number, "False"]


TRAINING = """
import os, torch
from triarch import kernels, layers
from triarch.kernels.native import compiler
compile_here, made = compiler.object_code, []
compiler.object_code = lambda source: made.append(source.function) or compile_here(source)
layer = layers.Conv2D(8, 3)
with kernels.use("patches"):
    layer(torch.ones(2, 9, 10, 8)).sum().backward()
print(layer.kernel.grad.sum().item(), *made)
"""
SECOND = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="a second process needs a second processor"
)


def run_training(home: Path, program: str = TRAINING) -> list[str]:
    settings = os.environ | {"TRIARCH_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", program], env=settings, capture_output=True, text=True, check=True)
    assert done.stderr.count("compiling kernels") == 1
    return done.stdout.split()


@SECOND
def test_what_will_be_needed_is_compiled_by_a_second_process(tmp_path):
    gradient, *made = run_training(tmp_path)
    assert float(gradient) == 2 * 7 * 8 * 9 * 8 * 8
    assert "forward" in made
    assert "backward" not in made
    assert len(list((tmp_path / "kernels").glob("backward-*.o"))) == 1


def test_a_process_that_may_have_no_children_compiles_all_itself(tmp_path):
    program = "import multiprocessing\nmultiprocessing.current_process()._config['daemon'] = True\n" + TRAINING
    _, *made = run_training(tmp_path, program)
    assert {"forward", "backward"} <= set(made)


@SECOND
def test_a_second_process_that_dies_is_not_missed(tmp_path):
    dies = "os.register_at_fork(after_in_child=lambda: setattr(compiler, 'object_code', lambda source: os.abort()))"
    dying = TRAINING.replace("layer = ", f"{dies}\nlayer = ")
    gradient, *made = run_training(tmp_path, dying)
    assert float(gradient) == 2 * 7 * 8 * 9 * 8 * 8
    assert "backward" in made
